package driver_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

// Rule 5: an inventory is made of parts in order, and blocks are reported in order. A request that an executor made on
// its old link must not be proposed between those that it makes on the new one.
func TestNewLinkWaitsForTheRequestsOfTheOldOne(t *testing.T) {
	for name, closes := range map[string]bool{"while the old link is open": false, "after the old link was closed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started, release := make(chan struct{}), make(chan struct{})
				r := drivertest.Start(t, nil, func(*drivertest.Rig) []driver.Duty { return nil })
				r.Raft.Before = func(ctx context.Context, step any) error {
					if c, ok := step.(*fsm.InventoryReported); ok && len(c.Blocks) == 1 {
						close(started)
						<-ctx.Done() // the caller gives up, the proposal waits in the queue still
						<-release
					}
					return nil
				}
				r.Lead()
				hello := job.Hello{Store: "s", Generation: 1, Name: "a"}
				old, err := r.Hub.Dial(t.Context(), hello)
				if err != nil {
					t.Fatal(err)
				}
				late := make(chan error, 1)
				go func() {
					_, err := old.Request(t.Context(), job.ControlLane, &job.Inventory{First: true, Blocks: make([]id.Block, 1)})
					late <- err
				}()
				<-started
				if closes {
					if err := old.Close(); err != nil {
						t.Error(err)
					}
				}
				welcome := make(chan error, 1)
				go func() {
					link, err := r.Hub.Dial(t.Context(), hello)
					if err == nil {
						_, err = link.Request(t.Context(), job.ControlLane, &job.Inventory{First: true, Last: true})
					}
					welcome <- err
				}()
				synctest.Wait()
				if len(welcome) > 0 {
					t.Error("the new link was welcomed while a request of the old one was on its way")
				}
				close(release)
				if err := <-welcome; err != nil {
					t.Fatal(err)
				}
				<-late
				var parts []int
				for _, c := range r.Raft.Applied() {
					if c, ok := c.(*fsm.InventoryReported); ok {
						parts = append(parts, len(c.Blocks))
					}
				}
				if len(parts) != 2 || parts[0] != 1 {
					t.Errorf("inventory parts of %v blocks were applied, expected the old one of 1 first", parts)
				}
			})
		})
	}
}

// A dial that gives up waiting leaves no connection behind that is dead and looks alive.
func TestDialThatGivesUpWaitingLeavesNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, release := make(chan struct{}), make(chan struct{})
		r := drivertest.Start(t, nil, func(*drivertest.Rig) []driver.Duty { return nil })
		r.Raft.Before = func(_ context.Context, step any) error {
			if _, ok := step.(*fsm.InventoryReported); ok {
				close(started)
				<-release
			}
			return nil
		}
		r.Lead()
		hello := job.Hello{Store: "s", Generation: 1, Name: "a"}
		old, err := r.Hub.Dial(t.Context(), hello)
		if err != nil {
			t.Fatal(err)
		}
		left := make(chan struct{})
		go func() {
			defer close(left)
			_, _ = old.Request(t.Context(), job.ControlLane, &job.Inventory{First: true}) // its outcome is not the matter
		}()
		<-started
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Hub.Dial(ctx, hello); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if all := r.Hub.All(); len(all) != 0 {
			t.Errorf("%d connections, expected none", len(all))
		}
		close(release)
		<-left
		if _, err := r.Hub.Dial(t.Context(), hello); err != nil {
			t.Errorf("dial again: %v", err)
		}
	})
}
