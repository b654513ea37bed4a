package driver_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
)

// unhurried is a duty that takes a second to end.
type unhurried struct{ note func(string) }

func (unhurried) Name() string { return "unhurried" }

func (s unhurried) Run(ctx context.Context, l driver.Ledger) error {
	s.note(fmt.Sprintf("begins in epoch %d", l.Epoch()))
	<-ctx.Done()
	time.Sleep(time.Second)
	s.note(fmt.Sprintf("ends in epoch %d", l.Epoch()))
	return nil
}

// Rule 1: a leadership begins when nothing of the one before runs any more, however fast it was won again.
func TestLeadershipBeginsWhenTheOneBeforeHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string // written by one duty at a time, or the test fails under the race detector
		n := &node{T: t, raft: drivertest.NewRaft(), done: make(chan error, 1)}
		n.hub = driver.NewHub(n.raft, quiet)
		n.driver = driver.New(driver.Config{
			Raft: n.raft, Hub: n.hub, Node: drivertest.Node, Name: "n1", Addr: "127.0.0.1:1", Logger: quiet,
			Duties: []driver.Duty{unhurried{func(s string) { log = append(log, s) }}},
		})
		ctx, cancel := context.WithCancel(t.Context())
		n.cancel = cancel
		go func() { n.done <- n.driver.Run(ctx) }()
		n.raft.Gain()
		synctest.Wait()
		n.raft.Lose()
		synctest.Wait()
		n.raft.Gain()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		n.stop()
		want := []string{"begins in epoch 1", "ends in epoch 1", "begins in epoch 3", "ends in epoch 3"}
		if !slices.Equal(log, want) {
			t.Errorf("got %q, want %q", log, want)
		}
	})
}
