package raftnode

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

func TestCommandsThatComeTogetherShareAnEntry(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		held := &fsm.InventoryReported{Session: id.Session(c.must(m, term, session(1)).Index), First: true, Last: true}
		before := m.Stats()
		const commands = 1000
		var all sync.WaitGroup
		var mu sync.Mutex
		seen := map[uint64]int{}
		for range commands {
			all.Go(func() {
				r := c.must(m, term, held)
				if got := m.View().Index(); got < r.Index {
					t.Errorf("the view is of index %d when the answer says %d", got, r.Index)
				}
				mu.Lock()
				defer mu.Unlock()
				seen[r.Index]++
			})
		}
		all.Wait()
		after := m.Stats()
		entries := after.Entries - before.Entries
		if after.Commands-before.Commands != commands || entries > commands/10 || int(entries) != len(seen) {
			t.Errorf("%d commands made %d entries at %d indexes, expected fewer than %d",
				after.Commands-before.Commands, entries, len(seen), commands/10)
		}
		for _, n := range seen {
			if n > MaxBatch {
				t.Errorf("an entry has %d commands, at most %d are allowed", n, MaxBatch)
			}
		}
		c.agree()
	})
}

// Rule 1: whoever is deposed cannot act, and what it tried has an unknown outcome.
func TestADeposedLeaderLearnsThatItsProposalsAreUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, oldTerm := c.three().lead()
		name := old.config.ID
		c.net.Isolate(name + ":1")
		answer := propose(old, oldTerm, session(1))
		next, term := c.lead(name)
		if term <= oldTerm {
			t.Errorf("the next term is %d, expected more than %d", term, oldTerm)
		}
		if err := <-answer; !errors.Is(err, ErrUnknown) || errors.Is(err, ErrNotLeader) {
			t.Errorf("the deposed leader's proposal ended with %v, expected an unknown outcome", err)
		}
		if _, err := old.Propose(context.Background(), oldTerm, session(2)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a proposal after that ended with %v, expected that it was not made", err)
		}
		if _, err := old.Linearizable(context.Background()); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a read at the deposed leader ended with %v", err)
		}
		c.must(next, term, session(1))
		c.net.Join(name + ":1")
		c.agree()
		until(t, "the old one knows the new one", func() bool { l, a := old.Leader(); return l == next.config.ID && a == next.config.Addr })
		var hint *NotLeaderError
		_, err := old.Propose(context.Background(), oldTerm, session(2))
		if !errors.As(err, &hint) || hint.Addr != next.config.Addr {
			t.Errorf("the error is %v, expected a hint to %s", err, next.config.Addr)
		}
	})
}

// Rule 1: envelopes of another term than the epoch's are refused by the state machine, on every node.
func TestACommandCarriesItsProposersTerm(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().leader()
		r, err := m.Propose(t.Context(), term, session(1))
		if err != nil || r.Outcome != fsm.Refused {
			t.Errorf("before its epoch a command is answered %+v, %v; expected a refusal", r, err)
		}
		if _, err := m.Propose(t.Context(), term-1, session(1)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("in a term that is over a proposal ends with %v", err)
		}
		c.lead()
		c.must(m, term, session(1))
		c.agree()
	})
}

func TestLeadershipThatIsLostAndRegainedIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		first, term := c.three().lead()
		want := id.Leadership{Leader: true, Term: term}
		if got := <-first.Leadership(); got != want {
			t.Fatalf("the first change is %+v, expected %+v", got, want)
		}
		for _, ok := first.leading(); ok; _, ok = first.leading() {
			if err := first.Transfer(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for back := false; !back; _, back = first.leading() {
			m, _ := c.leader()
			if m != first {
				_ = m.Transfer(t.Context()) // may go to the third one
			}
		}
		// Nobody took the changes in between: the newest one shows that the old leadership is over.
		var last id.Leadership
		until(t, "the news", func() bool {
			select {
			case last = <-first.Leadership():
			default:
			}
			return last.Leader
		})
		if last.Term <= term || !first.IsLeader(last.Term) {
			t.Errorf("the last change is %+v, expected a term above %d", last, term)
		}
		if _, err := first.Propose(t.Context(), term, session(1)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a proposal of the old term ends with %v", err)
		}
	})
}

func TestAFullQueueRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		for _, name := range []string{"n1", "n2", "n3"} {
			c.start(name, NewMemoryDisk(), func(c *Config) { c.QueueSize = 16; c.WriteDeadline = time.Hour })
		}
		m, term := c.lead()
		release := m.disk.Hang()
		const callers = InFlight + 2 + 16 + 100 // in raft, held by the committer, queued, and too many
		answers := make(chan error, callers)
		for i := range callers {
			go func() {
				_, err := m.Propose(context.Background(), term, session(i))
				answers <- err
			}()
			synctest.Wait() // one after the other, so that entries are not shared
		}
		var refused int
		for range callers - InFlight - 2 - 16 {
			if err := <-answers; errors.Is(err, ErrOverloaded) {
				refused++
			}
		}
		if refused < 90 {
			t.Errorf("%d proposals are refused, expected about 100", refused)
		}
		if got := m.Stats(); got.Queued > 16 || got.InFlight > InFlight {
			t.Errorf("%d are queued and %d in flight, expected at most 16 and %d", got.Queued, got.InFlight, InFlight)
		}
		release()
		for range callers - (callers - InFlight - 2 - 16) {
			<-answers // answered one way or the other: the leadership may be lost meanwhile
		}
	})
}

func TestTheEndOfTheContextLeavesTheOutcomeUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		for name := range c.nodes {
			if name != m.config.ID {
				c.net.Isolate(name + ":1")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := m.Propose(ctx, term, session(1))
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the proposal ended with %v", err)
		}
	})
}

func TestAMinorityDoesNotAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, _ := c.three().lead()
		for name := range c.nodes {
			if name != m.config.ID {
				c.net.Isolate(name + ":1")
			}
		}
		if _, err := m.Linearizable(t.Context()); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a read without a majority ended with %v", err)
		}
		until(t, "stepping down", func() bool { _, ok := m.leading(); return !ok })
	})
}

func TestReadsSeeWhatWasAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		for i := range 100 {
			r := c.must(m, term, session(i))
			v, err := m.Linearizable(t.Context())
			if err != nil || v.Index() < r.Index {
				t.Fatalf("a read gives index %d and %v after %d was acknowledged", v.Index(), err, r.Index)
			}
		}
		// Many at a time share the confirmation.
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				if _, err := m.Linearizable(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

func TestChangedIsClosedWhenTheIndexIsAbove(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		now := m.View().Index()
		next, later := m.Changed(now), m.Changed(now+2)
		select {
		case <-m.Changed(now - 1):
		default:
			t.Error("an index that is passed already is not reported")
		}
		c.must(m, term, session(1))
		<-next
		select {
		case <-later:
			t.Error("an index that is not reached is reported")
		default:
		}
		for i := 2; m.View().Index() <= now+2; i++ {
			c.must(m, term, session(i))
		}
		<-later
	})
}

func TestADiskThatHangsStopsTheNodeAndTheOthersGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		release := m.disk.Hang()
		began := time.Now()
		answer := propose(m, term, session(1))
		t.Log("fatal:", <-m.fatal)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the write was waited for %v, expected 5 s", took)
		}
		next, term := c.lead(m.config.ID)
		c.must(next, term, session(1))
		release()
		c.stop(m.config.ID)
		if err := <-answer; !errors.Is(err, ErrUnknown) {
			t.Errorf("the proposal ended with %v", err)
		}
	})
}

func TestAFailedSyncStopsTheNode(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		broken := errors.New("input/output error")
		m.disk.Fail(broken)
		answer := propose(m, term, session(1))
		if err := <-m.fatal; !errors.Is(err, broken) {
			t.Errorf("the process is stopped with %v, expected %v", err, broken)
		}
		m.disk.Fail(nil) // a retry would now succeed, though what was written is unknown: it must not be made
		if err := m.Node.disk.StoreLogs(nil); !errors.Is(err, broken) {
			t.Errorf("the next write ended with %v, expected the first error again", err)
		}
		c.stop(m.config.ID)
		if err := <-answer; !errors.Is(err, ErrUnknown) {
			t.Errorf("the proposal ended with %v", err)
		}
	})
}

func TestCloseAnswersEverything(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		answers := make(chan error, 500)
		for i := range cap(answers) {
			go func() {
				_, err := m.Propose(context.Background(), term, session(i))
				answers <- err
			}()
		}
		c.stop(m.config.ID)
		for range cap(answers) {
			if err := <-answers; err != nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnknown) {
				t.Error(err)
			}
		}
		if _, err := m.Propose(context.Background(), term, session(1)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a proposal after Close ended with %v", err)
		}
		if err := m.Barrier(context.Background()); err == nil {
			t.Error("a barrier after Close succeeded")
		}
		last := id.Leadership{}
		for l := range m.Leadership() {
			last = l
		}
		if last.Leader {
			t.Error("after Close the node believes that it leads")
		}
	})
}

func TestAllNodesRestartedGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		for i := range 50 {
			c.must(m, term, session(i))
		}
		want := m.View()
		disks := map[string]*MemoryDisk{}
		for name, m := range c.nodes {
			disks[name] = m.disk
		}
		for name := range disks {
			c.stop(name)
		}
		for name, d := range disks {
			if n := c.start(name, d); !n.HasState() {
				t.Errorf("%s says that it has no state", name)
			}
		}
		m, _ = c.leader()
		if err := m.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.View(); got.Index() != want.Index() || got.Hash() != want.Hash() {
			t.Errorf("after the restart the state is of index %d, expected %d with the same hash", got.Index(), want.Index())
		}
	})
}
