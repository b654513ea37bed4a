package cluster

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program is run in place of nodes: what it does when it is asked to leave is in a file beside its data.
const program = `#!/bin/sh
how=$(cat "$3.how")
case $how in
deaf) ;;
never) trap '' TERM ;;
*) trap "exit $how" TERM ;;
esac
[ -n "$how" ] && : > "$3.up"
while :; do sleep 0.02; done
`

// nodes starts one node for each way of leaving, and hears how they ended.
func nodes(t *testing.T, hows ...string) (c *Cluster, left, ended func() map[string]int) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "node")
	var mu sync.Mutex
	told := [2]map[string]int{{}, {}}
	tell := func(of int) func(string, int) {
		return func(node string, status int) {
			mu.Lock()
			defer mu.Unlock()
			told[of][node] = status
		}
	}
	get := func(of int) func() map[string]int {
		return func() map[string]int {
			mu.Lock()
			defer mu.Unlock()
			return maps.Clone(told[of])
		}
	}
	if err := os.WriteFile(binary, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Binary: binary, Nodes: len(hows), Dir: dir, Left: tell(0), Ended: tell(1), Grace: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, how := range hows {
		if err := os.WriteFile(c.Dir(Names(7)[i])+".how", []byte(how), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.StartAll(); err != nil {
		t.Fatal(err)
	}
	await(t, "up", func() bool {
		for _, n := range c.Names() {
			if _, err := os.Stat(c.Dir(n) + ".up"); err != nil {
				return false
			}
		}
		return true
	})
	return c, get(0), get(1)
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := Await(ctx, what, func(context.Context) error {
		if !is() {
			return fmt.Errorf("not %s", what)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestHowNodesLeaveIsToldWhenTheClusterIsClosed(t *testing.T) {
	c, left, ended := nodes(t, "0", "3", "never", "deaf")
	if err := c.Kill("n1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Start("n1"); err != nil {
		t.Fatal(err)
	}
	await(t, "up again", func() bool { return c.Up("n1") })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	got := left()
	delete(got, "n1") // it may not have come so far that it hears
	if want := map[string]int{"n2": 3, "n3": -1}; !maps.Equal(got, want) {
		t.Errorf("left %v, expected %v", got, want)
	}
	if len(ended()) != 0 {
		t.Errorf("ended by themselves: %v", ended())
	}
}

// Who starts a node again at once does not keep its end from being told.
func TestHowANodeLeavesIsToldThoughItIsStartedAgain(t *testing.T) {
	c, left, ended := nodes(t, "3", "0")
	for _, n := range c.Names() {
		if err := c.Terminate(n); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.Names() {
		<-c.Exited(n)
		if err := c.Start(n); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "told", func() bool { return len(left()) == 2 })
	if want := map[string]int{"n1": 3, "n2": 0}; !maps.Equal(left(), want) || len(ended()) != 0 {
		t.Errorf("left %v, expected %v; ended by themselves: %v", left(), want, ended())
	}
}
