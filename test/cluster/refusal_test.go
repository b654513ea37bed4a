package cluster

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Bad input to commands gets exit status 1 (2 for wrong usage), a first line that names the thing and what was
// expected, and changes nothing.
func TestCommandsRefuseBadInput(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newCluster(t, 1)
	c.must("submit", "wordcount", "--name", "taken", "--param", "source=ingest", "--param", "out="+filepath.Join(c.dir, "out"))
	cases := []struct {
		name   string
		args   []string
		status int
		says   []string // each in the first line on stderr
	}{
		{"unknown application", []string{"submit", "nosuch"}, 1, []string{"nosuch", "wordcount"}},
		{"unknown parameter", []string{"submit", "wordcount", "--param", "source=ingest", "--param", "colour=red"}, 1, []string{"wordcount", "colour"}},
		{"missing parameter", []string{"submit", "wordcount", "--name", "m"}, 1, []string{"wordcount", "source"}},
		{"wrong type", []string{"submit", "wordcount", "--param", "source=ingest", "--param", "running=maybe"}, 1, []string{"running", "maybe", "bool"}},
		{"unknown source", []string{"submit", "wordcount", "--param", "source=tape:1"}, 1, []string{"source", "tape:1", "ingest"}},
		{"bad pattern", []string{"submit", "grep", "--param", "source=ingest", "--param", "pattern=("}, 1, []string{"pattern"}},
		{"interval too short", []string{"submit", "wordcount", "--batch", "5ms", "--param", "source=ingest"}, 1, []string{"5", "10"}},
		{"interval that is none", []string{"submit", "wordcount", "--batch", "soon", "--param", "source=ingest"}, 2, []string{"batch", "soon"}},
		{"name taken", []string{"submit", "wordcount", "--name", "taken", "--param", "source=ingest"}, 1, []string{"taken"}},
		{"no such name to stop", []string{"stop", "nobody"}, 1, []string{"nobody"}},
		{"no such name to show", []string{"app", "nobody"}, 1, []string{"nobody"}},
		{"nothing to resume", []string{"resume", "taken"}, 1, []string{"taken"}},
		{"unknown flag", []string{"apps", "--colour"}, 2, []string{"colour"}},
		{"unknown command", []string{"dance"}, 2, []string{"dance"}},
		{"ingest without an application", []string{"ingest", "nobody", "--producer", "p"}, 1, []string{"nobody"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			r := c.command(ctx, nil, tc.args...)
			refused(t, r, tc.status, tc.says...)
		})
	}
	var apps struct{ Apps []app }
	if !c.read(&apps, "apps") || len(apps.Apps) != 1 {
		t.Errorf("after all refusals there are applications %+v, expected only %q", apps.Apps, "taken")
	}
}

func refused(t *testing.T, r result, status int, says ...string) {
	t.Helper()
	first, _, _ := strings.Cut(r.stderr, "\n")
	if r.status != status {
		t.Errorf("exit status %d, expected %d; stderr:\n%s", r.status, status, r.stderr)
	}
	for _, s := range says {
		if !strings.Contains(first, s) {
			t.Errorf("first line %q does not name %q", first, s)
		}
	}
}

// A request id that was used is answered with the application that it made.
func TestRepeatedRequestIDSubmitsOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newCluster(t, 1)
	submit := []string{"-o", "json", "submit", "wordcount", "--name", "once", "--request-id", "r1", "--param", "source=ingest"}
	first, second := c.must(submit...), c.must(submit...)
	if first != second {
		t.Errorf("the first answer was %q, the second %q", first, second)
	}
}

// With a minority left, commands end with status 3 within their timeout; nothing is acknowledged.
func TestMinorityAnswersNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newCluster(t, 3)
	for _, n := range c.nodes[:2] {
		if err := n.proc.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r := c.command(ctx, nil, "--timeout", "3s", "submit", "wordcount", "--name", "x", "--param", "source=ingest")
	if r.status != 3 {
		t.Errorf("submit to a minority: exit status %d, expected 3; stderr:\n%s", r.status, r.stderr)
	}
	for _, n := range c.nodes[:2] {
		c.start(n)
	}
	c.waitLeader(60 * time.Second)
}

// What makes a node refuse to start: status 1, a first line that names the thing, and the directory as it was.
func TestStartRefusesWhatIsNotItsOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	a := newCluster(t, 1)
	n := a.nodes[0]
	start := func(t *testing.T, args ...string) result {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		return command(ctx, nil, append([]string{"start", "--bind", "127.0.0.1", "--bootstrap-expect", "1"}, args...)...)
	}
	flags := func(dir string, ports []int) []string {
		return []string{"--data", dir, "--name", "x", "--rpc-port", fmt.Sprint(ports[0]), "--gossip-port", fmt.Sprint(ports[1]), "--http-port", fmt.Sprint(ports[2])}
	}
	t.Run("port in use", func(t *testing.T) {
		ports := freePorts(t, 3)
		ports[0] = n.rpc
		refused(t, start(t, flags(t.TempDir(), ports)...), 1, fmt.Sprint(n.rpc), "in use")
	})
	t.Run("data directory in use", func(t *testing.T) {
		refused(t, start(t, flags(n.dir, freePorts(t, 3))...), 1, n.dir, "in use")
	})
	a.must("submit", "wordcount", "--name", "wc", "--param", "source=ingest", "--param", "out="+filepath.Join(a.dir, "out"))
	a.feed("wc", "p", text(t, 2000), time.Second).wait(t, 30*time.Second)
	if err := n.proc.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Run("data directory of another node", func(t *testing.T) {
		r := start(t, flags(n.dir, freePorts(t, 3))...)
		refused(t, r, 1, n.dir, n.name)
	})
	t.Run("raft directory wiped", func(t *testing.T) { // rule 2: never the old voter
		dir := copyOf(t, n.dir)
		if err := os.RemoveAll(filepath.Join(dir, "raft")); err != nil {
			t.Fatal(err)
		}
		args := flags(dir, freePorts(t, 3))
		args[3] = n.name
		refused(t, start(t, args...), 1, filepath.Join(dir, "raft"), "new member")
	})
	damage := []struct {
		name, glob, says string
	}{
		{"damaged identity", "identity", "identity"},
		{"damaged raft.db", "raft/raft.db", "raft.db"},
		{"damaged wal", "wal/*", "wal"},
	}
	for _, d := range damage {
		t.Run(d.name, func(t *testing.T) {
			dir := copyOf(t, n.dir)
			files, err := filepath.Glob(filepath.Join(dir, d.glob))
			if err != nil || len(files) == 0 {
				t.Fatalf("no file %s: %v", d.glob, err)
			}
			flipAll(t, files[0])
			before := listing(t, dir)
			args := flags(dir, freePorts(t, 3))
			args[3] = n.name
			refused(t, start(t, args...), 1, d.says)
			if after := listing(t, dir); after != before {
				t.Errorf("the refused directory changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// copyOf copies a data directory.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// flipAll flips a bit in every 97th byte of a file, the head included.
func flipAll(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 97 {
		b[i] ^= 4
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// listing lists the files of a directory with their sizes, locks left out.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&s, strings.TrimPrefix(path, dir), info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// A node whose directory belongs to one cluster does not join another one.
func TestNodeOfAnotherClusterIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	a, b := newCluster(t, 1), newCluster(t, 1)
	stray := b.nodes[0]
	stray.proc.Stop(10 * time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	args := append(b.startArgs(stray), "--join", fmt.Sprintf("127.0.0.1:%d", a.nodes[0].gossip))
	refused(t, command(ctx, nil, args...), 1, stray.dir, "cluster")
}
