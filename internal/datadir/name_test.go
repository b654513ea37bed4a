package datadir_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/datadir"
	"github.com/raftstream/raftstream/internal/vfs"
)

// Rule 2: the directory of another node is refused and nothing of it is changed.
func TestAnotherNodesDirectoryIsRefused(t *testing.T) {
	f := vfs.NewMem()
	d := open(t, f, "/n")
	if err := errors.Join(d.StampName("n1"), d.StampName("n1"), d.StampCluster("c"), d.Close()); err != nil {
		t.Fatal(err)
	}
	d = open(t, f, "/n")
	err := d.StampName("n2")
	other := (*datadir.NameError)(nil)
	if !errors.As(err, &other) || other.Has != "n1" || other.Want != "n2" {
		t.Fatalf("another name: %v", err)
	}
	if d.Name() != "n1" || d.Cluster() != "c" {
		t.Errorf("now it is of node %q, cluster %q", d.Name(), d.Cluster())
	}
	for _, bad := range []string{"", strings.Repeat("x", 129)} {
		if err := d.StampName(bad); err == nil {
			t.Errorf("name %q was taken", bad)
		}
	}
}
