package driver_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

// scripted is a Ledger whose proposals end as the test says.
type scripted struct {
	driver.Raft
	propose func(fsm.Command) (fsm.Result, error)
}

func (scripted) Epoch() id.Epoch { return 1 }

func (s scripted) Propose(_ context.Context, c fsm.Command) (fsm.Result, error) { return s.propose(c) }

func TestRefusedProposalsAreHeldBackLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome := fsm.Refused
		var made []time.Duration
		began := time.Now()
		l := scripted{propose: func(fsm.Command) (fsm.Result, error) {
			made = append(made, time.Since(began))
			return fsm.Result{Outcome: outcome}, nil
		}}
		p := driver.NewProposals[string](quiet)
		make1 := func() time.Duration {
			again, err := p.Make(t.Context(), l, map[string]fsm.Command{"a": &fsm.SessionClosed{}})
			if err != nil {
				t.Fatal(err)
			}
			return again
		}
		for range 4 {
			again := make1()
			if early := make1(); early != again {
				t.Errorf("held back for %v, then for %v at the same moment", again, early)
			}
			time.Sleep(again)
		}
		want := []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond}
		for i, at := range want {
			if i >= len(made) || made[i] != at {
				t.Fatalf("made at %v, want %v", made, want)
			}
		}
		outcome = fsm.Done
		if again := make1(); again != driver.Idle {
			t.Errorf("again in %v after it was done", again)
		}
		outcome = fsm.Limited
		if again := make1(); again != 100*time.Millisecond {
			t.Errorf("held back for %v after a new refusal, expected it to start over", again)
		}
	})
}

func TestTurnsComeWithChangesTimesAndOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raft := drivertest.NewRaft()
		hub := driver.NewHub(raft, quiet)
		var turns []time.Duration
		began := time.Now()
		broken := errors.New("broken")
		answers := []struct {
			again time.Duration
			err   error
		}{{time.Hour, nil}, {driver.Idle, id.ErrOverloaded}, {driver.Idle, nil}, {driver.Idle, broken}}
		go func() {
			time.Sleep(2 * time.Hour)
			if _, err := raft.Apply(1, &fsm.Epoch{Term: 1}); err != nil {
				t.Error(err)
			}
		}()
		err := driver.Turns(t.Context(), scripted{Raft: raft}, hub, func(context.Context, fsm.View) (time.Duration, error) {
			turns = append(turns, time.Since(began))
			a := answers[len(turns)-1]
			return a.again, a.err
		})
		if !errors.Is(err, broken) {
			t.Errorf("ended with %v, want %v", err, broken)
		}
		want := []time.Duration{0, time.Hour, time.Hour + driver.Soon, 2 * time.Hour}
		for i := range want {
			if turns[i] != want[i] {
				t.Errorf("turns at %v, want %v", turns, want)
				break
			}
		}
	})
}

func TestOrdersAreSentOnceOnEachConnection(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		dial := func() driver.Connection {
			link, err := r.Hub.Dial(r.Context(), job.Hello{Store: "s", Generation: 1, Name: "a"})
			if err != nil {
				t.Fatal(err)
			}
			c, _ := r.Hub.Of(link.Welcome().Session)
			return c
		}
		sent := driver.NewSent[int, string]()
		made := 0
		send := func(c driver.Connection, k int, v string) bool {
			return sent.Send(c, k, v, func() job.ToExecutor { made++; return &job.Peers{} })
		}
		expect := func(n int) {
			t.Helper()
			if made != n {
				t.Errorf("%d orders made, expected %d", made, n)
			}
		}
		c := dial()
		send(c, 1, "x")
		send(c, 1, "x")
		expect(1)
		send(c, 1, "y")
		expect(2)
		next := dial()
		send(next, 1, "y")
		expect(3)
		sent.Keep([]driver.Connection{next}, func(k int) bool { return k != 1 })
		send(next, 1, "y")
		expect(4)
		for k := 2; send(next, k, "z"); k++ {
		}
		if next.Room() == 0 {
			t.Error("no room is left for what must not wait")
		}
		if _, connected := r.Hub.Of(next.Session()); !connected {
			t.Error("the connection was given up although it could be waited for")
		}
	})
}
