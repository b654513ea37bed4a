package raftnode

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// rankStep is how much later than the voter before it a voter stands: a last resort, since whoever has voted yields
	// and whoever would refuse its vote stands at once. An election takes some milliseconds and ten durable writes, of
	// which three come before the vote is asked for: on a busy disk that takes 100 ms, and to stand then would split the vote.
	rankStep = 150 * time.Millisecond
	// standTime bounds the handing over of the word to stand to raft's main loop.
	standTime = 100 * time.Millisecond
	// recall is how long a vote request that was seen before the death was known still counts.
	recall = 300 * time.Millisecond
	// lookStill is how often it is looked whether there is still reason to stand.
	lookStill = time.Millisecond
)

// Outcome is what became of a death that this node was told of.
type Outcome uint8

const (
	// NotLed says that the dead server did not lead, or that this one has no vote: nothing was done.
	NotLed Outcome = iota + 1
	// Yielded says that this node has just given its vote to another one.
	Yielded
	// StoodDown says that there was no reason left: another one leads, this node stands or leads already, or it ends.
	StoodDown
	// Stood says that this node stands for election.
	Stood
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case NotLed:
		return "it did not lead"
	case Yielded:
		return "voted for another one"
	case StoodDown:
		return "no reason left"
	case Stood:
		return "stands for election"
	}
	return "unknown"
}

// succession lets one follower stand at once when the leader's process is known to be dead. It is an accelerator:
// raft's terms, votes and log checks hold as always, only its waiting is cut short, and raft's timeouts elect whatever
// becomes of it here.
//
// All followers at once would split the vote, which costs an election timeout. So they stand in order of their ids, a
// step apart; who has voted meanwhile yields; and who was asked for a vote that it must refuse, because its log is
// longer, stands at once: nobody else can win.
type succession struct {
	turn  chan struct{} // held by the one death that is dealt with
	kick  chan struct{} // holds one: a vote request was refused
	yield chan struct{} // holds one: a vote request was granted

	mu      sync.Mutex // a leaf
	leader  raft.ServerID
	since   time.Time // leader was last seen to take the lead
	refused time.Time // last vote request that had to be refused
	granted time.Time // last one that was granted
}

func newSuccession() *succession {
	return &succession{turn: make(chan struct{}, 1), kick: make(chan struct{}, 1), yield: make(chan struct{}, 1)}
}

// observe keeps the last leader that was known: a vote request may clear raft's own knowledge of it before its death is
// known here. Raft calls it for every change, on its own goroutines; the observer itself wants nothing.
func (s *succession) observe(o *raft.Observation) bool {
	if l, ok := o.Data.(raft.LeaderObservation); ok && l.LeaderID != "" {
		s.led(l.LeaderID)
	}
	return false
}

func (s *succession) led(leader raft.ServerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader, s.since = leader, time.Now()
}

// asked takes note of a vote request of a candidate that stands for a known reason, after raft got it.
func (s *succession) asked(refuse bool) {
	s.mu.Lock()
	news := s.yield
	if refuse {
		s.refused, news = time.Now(), s.kick
	} else {
		s.granted = time.Now()
	}
	s.mu.Unlock()
	select {
	case news <- struct{}{}:
	default:
	}
}

// begin forgets news of earlier elections. It tells whether dead led last, and until lost, and which vote requests came
// lately, since it took the lead.
func (s *succession) begin(dead raft.ServerID, lost time.Time) (led, refused, granted bool) {
	for _, news := range []chan struct{}{s.kick, s.yield} {
		select {
		case <-news:
		default:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	lately := func(at time.Time) bool { return at.After(s.since) && time.Since(at) < recall }
	return s.leader == dead && !s.since.After(lost), lately(s.refused), lately(s.granted)
}

// voteAsked is told of every request that raft was handed.
func (n *Node) voteAsked(q *raft.RequestVoteRequest) {
	if !q.LeadershipTransfer || !n.running.Load() {
		return
	}
	last := n.raft.LastIndex()
	term, err := strconv.ParseUint(n.raft.Stats()["last_log_term"], 10, 64)
	if err != nil {
		return // never: raft writes a number
	}
	n.succession.asked(term > q.LastLogTerm || term == q.LastLogTerm && last > q.LastLogIndex)
}

// Succeed is told that the process of a server was over at a time: if it led, this node stands for election at once,
// unless another one does. lives tells whose process is known to live; it decides on the order. It returns within
// MaxVoters steps.
//
// Call it for nothing less than the certain death of a process: silence, errors and what gossip believes are for
// raft's timeouts. A wrong call costs a needless election, and nothing else.
func (n *Node) Succeed(ctx context.Context, dead string, lost time.Time, lives func(server string) bool) Outcome {
	s := n.succession
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return StoodDown
	case <-n.stop:
		return StoodDown
	}
	defer func() { <-s.turn }()
	led, refused, granted := s.begin(raft.ServerID(dead), lost)
	rank, votes := n.rank(dead, lives)
	if !led || !votes {
		return NotLed
	}
	switch {
	case granted:
		return Yielded
	case refused:
		rank = 0
	}
	if o := n.waitTurn(ctx, raft.ServerID(dead), time.Duration(rank)*rankStep); o != Stood {
		return o
	}
	n.log.Info("raft: the leader's process is over: standing for election", "leader", dead, "rank", rank)
	return n.stand(ctx, raft.ServerID(dead))
}

// rank is this node's place among the voters that live, in order of their ids; false: it has no vote.
func (n *Node) rank(dead string, lives func(string) bool) (rank int, votes bool) {
	servers := n.Configuration()
	for _, s := range servers {
		if s.Voter && s.ID != dead && s.ID < n.config.ID && lives(s.ID) {
			rank++
		}
	}
	return rank, dead != n.config.ID && slices.ContainsFunc(servers, func(s Server) bool { return s.Voter && s.ID == n.config.ID })
}

// waitTurn waits until it is this node's turn to stand: then the outcome is Stood.
func (n *Node) waitTurn(ctx context.Context, dead raft.ServerID, wait time.Duration) Outcome {
	turn := time.NewTimer(wait)
	defer turn.Stop()
	for {
		look := time.NewTimer(lookStill)
		select {
		case <-turn.C:
			look.Stop()
			return Stood
		case <-n.succession.kick:
			look.Stop()
			return Stood
		case <-n.succession.yield:
			look.Stop()
			return Yielded
		case <-look.C:
		}
		if !n.vacant(ctx, dead) {
			return StoodDown
		}
	}
}

// stand hands raft the word to stand, which it would get from a leader that hands over.
func (n *Node) stand(ctx context.Context, dead raft.ServerID) Outcome {
	word := raft.RPC{
		Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.config.ID), Addr: []byte(n.config.Addr),
		}},
		RespChan: make(chan raft.RPCResponse, 1), // holds the answer, which nobody reads
	}
	end := time.NewTimer(standTime)
	defer end.Stop()
	for n.vacant(ctx, dead) {
		look := time.NewTimer(lookStill)
		select {
		case n.transport.handed <- word:
			look.Stop()
			return Stood
		case <-end.C:
			look.Stop()
			return StoodDown
		case <-look.C:
		}
	}
	return StoodDown
}

// vacant reports whether there is still reason to stand: nobody else leads, and this node follows. The word would make
// a leader step down.
func (n *Node) vacant(ctx context.Context, dead raft.ServerID) bool {
	select {
	case <-n.stop:
		return false
	case <-ctx.Done():
		return false
	default:
	}
	_, leader := n.raft.LeaderWithID()
	return (leader == "" || leader == dead) && n.raft.State() == raft.Follower
}
