package raftnode

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// kill cuts a node off as its death does, and gives when that was.
func (c *cluster) kill(m *member) time.Time {
	c.net.Isolate(m.config.Addr)
	return time.Now()
}

// told lets the followers given know, at once, that a server is dead.
func (c *cluster) told(dead *member, lost time.Time, all ...*member) (outcomes []Outcome) {
	outcomes = make([]Outcome, len(all))
	var told sync.WaitGroup
	for i, m := range all {
		told.Go(func() {
			outcomes[i] = m.Succeed(c.t.Context(), dead.config.ID, lost, func(s string) bool { return s != dead.config.ID })
		})
	}
	told.Wait()
	return outcomes
}

// followers are the nodes but one, in order of their ids.
func (c *cluster) followers(leader *member) (all []*member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.nodes {
		if m != leader {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *member) int { return strings.Compare(a.config.ID, b.config.ID) })
	return all
}

// settle waits until every node knows the leader: then raft's own timers have nothing to do.
func (c *cluster) settle(leader *member) {
	c.t.Helper()
	until(c.t, "all know the leader", func() bool {
		for _, m := range c.followers(nil) {
			if l, _ := m.Leader(); l != leader.config.ID || m.View().Index() != leader.View().Index() {
				return false
			}
		}
		return true
	})
}

func TestFollowersElectAtOnceWhenTheLeaderIsDead(t *testing.T) {
	for _, size := range []int{3, 5} {
		bubble(t, func(t *testing.T, c *cluster) {
			for _, name := range []string{"n1", "n2", "n3", "n4", "n5"}[:size] {
				c.start(name, NewMemoryDisk(), func(c *Config) { c.Expect = size })
			}
			old, term := c.lead()
			c.settle(old)
			lost := c.kill(old)
			outcomes := c.told(old, lost, c.followers(old)...)
			next, now := c.leader(old.config.ID)
			if took := time.Since(lost); took > 50*time.Millisecond || now != term+1 {
				t.Errorf("of %d: %s leads after %v with term %d, expected less than 50 ms and term %d", size, next.config.ID, took, now, term+1)
			}
			if next != c.followers(old)[0] || outcomes[0] != Stood || slices.Contains(outcomes[1:], Stood) {
				t.Errorf("of %d: %s leads, outcomes %v, expected that the first one alone stood", size, next.config.ID, outcomes)
			}
		})
	}
}

// The follower with the lowest id may not win: then the one that must refuse its vote stands, without waiting.
func TestLongerLogStandsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, term := c.three().lead()
		c.settle(old)
		behind, ahead := c.followers(old)[0], c.followers(old)[1]
		c.net.Isolate(behind.config.Addr)
		c.must(old, term, session(1))
		lost := c.kill(old)
		c.net.Join(behind.config.Addr)
		c.told(old, lost, behind, ahead)
		next, _ := c.leader(old.config.ID)
		if took := time.Since(lost); next != ahead || took >= rankStep {
			t.Errorf("%s leads after %v, expected %s in less than %v", next.config.ID, took, ahead.config.ID, rankStep)
		}
	})
}

func TestOnlyTheDeathOfTheLeaderCounts(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, term := c.three().lead()
		c.settle(old)
		first, second := c.followers(old)[0], c.followers(old)[1]
		before := time.Now()
		all := func(string) bool { return true }
		for what, got := range map[string]Outcome{
			"a follower's death":            first.Succeed(t.Context(), second.config.ID, before, all),
			"the leader's own":              old.Succeed(t.Context(), old.config.ID, before, all),
			"a death told to the leader":    old.Succeed(t.Context(), first.config.ID, before, all),
			"a process before this tenure":  first.Succeed(t.Context(), old.config.ID, before.Add(-time.Hour), all),
			"somebody's who is not a voter": first.Succeed(t.Context(), "stranger", before, all),
		} {
			if got != NotLed {
				t.Errorf("%s: %v, expected that nothing is done", what, got)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if got := first.Succeed(ended, old.config.ID, before, all); got == Stood {
			t.Error("a node stands for a caller that has gone")
		}
		time.Sleep(time.Minute)
		if !old.IsLeader(term) {
			t.Error("there was an election")
		}
	})
}

// A wrong call costs an election and nothing else.
func TestLivingLeaderThatIsTakenForDeadIsReplacedInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, term := c.three().lead()
		c.settle(old)
		c.told(old, time.Now(), c.followers(old)...)
		next, now := c.lead(old.config.ID)
		if now != term+1 {
			t.Errorf("term is %d, expected %d", now, term+1)
		}
		c.must(next, now, session(1))
		c.agree()
	})
}

// Without any word raft's own timeouts elect, as ever.
func TestTimeoutsElectWithoutTheWatch(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, _ := c.three().lead()
		c.settle(old)
		lost := c.kill(old)
		c.lead(old.config.ID)
		if took := time.Since(lost); took < 500*time.Millisecond || took > 5*time.Second {
			t.Errorf("it took %v, expected what the timeouts say", took)
		}
	})
}

func TestWhoHasVotedYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := func() { time.Sleep(time.Millisecond) }
		s := newSuccession()
		s.led("a")
		step()
		lost := time.Now()
		if led, refused, granted := s.begin("a", lost); !led || refused || granted {
			t.Errorf("led %v, refused %v, granted %v", led, refused, granted)
		}
		s.asked(false)
		if _, refused, granted := s.begin("a", lost); refused || !granted {
			t.Errorf("after a vote: refused %v, granted %v", refused, granted)
		}
		s.asked(true)
		if _, refused, _ := s.begin("a", lost); !refused {
			t.Error("after a refusal it is not known")
		}
		step()
		s.led("b") // what came before is of the past
		if led, refused, granted := s.begin("b", time.Now()); !led || refused || granted {
			t.Errorf("under the next leader: led %v, refused %v, granted %v", led, refused, granted)
		}
		if led, _, _ := s.begin("b", lost); led {
			t.Error("a death before it took the lead counts")
		}
		step()
		s.asked(false)
		time.Sleep(recall)
		if _, _, granted := s.begin("b", time.Now()); granted {
			t.Error("a vote of long ago counts")
		}
	})
}

func TestNonVoterDoesNotStand(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, _ := c.three().lead()
		c.settle(old)
		lost := c.kill(old)
		follower := c.followers(old)[0]
		n := &Node{config: follower.config, raft: follower.raft}
		n.config.ID = "learner"
		if _, votes := n.rank(old.config.ID, func(string) bool { return true }); votes {
			t.Error("a server without a vote would stand")
		}
		if rank, votes := follower.rank(old.config.ID, func(string) bool { return false }); rank != 0 || !votes {
			t.Errorf("rank is %d, votes %v, expected 0 among the dead", rank, votes)
		}
		c.told(old, lost, c.followers(old)...)
		c.lead(old.config.ID)
	})
}

func TestLeaderIsNotRemovedByItself(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, _ := c.three().lead()
		c.settle(old)
		gone := c.followers(old)[1]
		if err := old.RemoveServer(t.Context(), old.config.ID); !errors.Is(err, ErrSelf) {
			t.Errorf("removing itself ended with %v", err)
		}
		if err := c.followers(old)[0].RemoveServer(t.Context(), gone.config.ID); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower's removal ended with %v", err)
		}
		if err := old.RemoveServer(t.Context(), "stranger"); err != nil {
			t.Errorf("removing who is no member ended with %v", err)
		}
		c.stop(gone.config.ID)
		if err := old.RemoveServer(t.Context(), gone.config.ID); err != nil {
			t.Fatal(err)
		}
		if got := old.Configuration(); len(got) != 2 {
			t.Errorf("members are %+v, expected two", got)
		}
	})
}

func TestLeadershipGoesToWhoIsNamed(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, term := c.three().lead()
		c.settle(old)
		for _, to := range c.followers(old) {
			if err := old.TransferTo(t.Context(), to.config.ID); err != nil {
				t.Fatal(err)
			}
			if next, now := c.lead(old.config.ID); next != to || now <= term {
				t.Errorf("%s leads with term %d, expected %s", next.config.ID, now, to.config.ID)
			}
			if err := old.TransferTo(t.Context(), to.config.ID); !errors.Is(err, ErrNotLeader) {
				t.Errorf("a second transfer ended with %v", err)
			}
			c.settle(to)
			if err := to.TransferTo(t.Context(), old.config.ID); err != nil {
				t.Fatal(err)
			}
			_, term = c.lead(to.config.ID)
			c.settle(old)
		}
		if err := old.TransferTo(t.Context(), "stranger"); !errors.Is(err, ErrNoVoter) {
			t.Errorf("a transfer to a stranger ended with %v", err)
		}
		if err := old.TransferTo(t.Context(), old.config.ID); err != nil {
			t.Errorf("a transfer to itself ended with %v", err)
		}
	})
}

// What others ask of raft still reaches it in order, and ends with the transport.
func TestTransportHandsOnUntilItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := NewMemoryNetwork()
		config := func(name string) *Config {
			c := &Config{ID: name, Addr: name + ":1", Stream: net.Stream(name + ":1")}
			c.setDefaults()
			return c
		}
		var asked []uint64
		nothing := &known{snapshots: &snapshots{}, log: raft.NewInmemStore(), voters: func() []string { return nil }}
		tr := newTransport(config("a"), func(q *raft.RequestVoteRequest) { asked = append(asked, q.Term) }, nil, nothing)
		other := newTransport(config("b"), func(*raft.RequestVoteRequest) {}, nil, nothing)
		done := make(chan error, 3)
		go func() {
			for term := range uint64(3) {
				done <- other.RequestVote("a", "a:1", &raft.RequestVoteRequest{Term: term}, new(raft.RequestVoteResponse))
			}
		}()
		for range 3 {
			rpc := <-tr.Consumer()
			rpc.Respond(&raft.RequestVoteResponse{}, nil)
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if !slices.Equal(asked, []uint64{0, 1, 2}) {
			t.Errorf("vote requests %v were seen, expected 0, 1 and 2", asked)
		}
		for _, x := range []*transport{tr, other, tr} {
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
	})
}
