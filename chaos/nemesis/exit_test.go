package nemesis

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

// pair is two nodes, of which n2 comes to point a again and again.
type pair struct {
	dir string

	mu   sync.Mutex
	gone []string
}

func (*pair) Names() []string               { return []string{"n1", "n2"} }
func (*pair) Kill(string) error             { return nil }
func (*pair) Pause(string) error            { return nil }
func (*pair) Continue(string) error         { return nil }
func (*pair) Terminate(string) error        { return nil }
func (*pair) Start(string) error            { return nil }
func (*pair) Exited(string) <-chan struct{} { return nil }
func (*pair) Pid(string) int                { return 0 }
func (p *pair) Up(name string) bool         { return p.Status(name) != chaos.ExitFailpoint }

func (p *pair) Status(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.gone, name) {
		return chaos.ExitFailpoint
	}
	if text, _ := os.ReadFile(p.plan(name)); name == "n2" && string(text) == "a=exit@1\n" {
		p.gone = append(p.gone, name)
		return chaos.ExitFailpoint
	}
	return -1
}

func (p *pair) plan(name string) string { return filepath.Join(p.dir, name) }

func TestAnExitAtOnePointIsNoProofOfAnother(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := &pair{dir: dir}
		exits := ExitInjector(p, p.plan)
		var first, second error
		var both sync.WaitGroup
		both.Go(func() {
			_, first = exits.Inject(context.Background(), schedule.Event{ID: 1, Point: "a"}, []string{"n1"})
		})
		timer := time.NewTimer(exitTime - time.Second)
		<-timer.C
		both.Go(func() {
			_, second = exits.Inject(context.Background(), schedule.Event{ID: 2, Point: "b"}, []string{"n2"})
		})
		both.Wait()
		if first != nil {
			t.Errorf("no node ended at a: %v", first)
		}
		if second == nil {
			t.Error("a node is said to have ended at b, to which none comes")
		}
	})
}
