package raftnode

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A snapshot that a leader sent long ago comes out of a connection that was cut, or the leader sends what it has again:
// nothing that was applied is undone, and the leader learns that the follower has it.
func TestSnapshotOfWhatIsAppliedIsNotInstalled(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		leader, term, grow := c.compacting(5, 2)
		grow(10)
		old, data := newestSnapshot(t, leader)
		grow(10)
		follower := c.follower(leader)
		before := follower.View().Index()
		q := &raft.InstallSnapshotRequest{
			RPCHeader: headerFrom(leader), SnapshotVersion: old.Version, Term: term, LastLogIndex: old.Index, LastLogTerm: old.Term,
			Size: int64(len(data)), Configuration: raft.EncodeConfiguration(old.Configuration), ConfigurationIndex: old.ConfigurationIndex,
		}
		for range 10 {
			var answer raft.InstallSnapshotResponse
			id, addr := raft.ServerID(follower.config.ID), raft.ServerAddress(follower.config.Addr)
			err := leader.transport.InstallSnapshot(id, addr, q, &answer, bytes.NewReader(data))
			if err != nil || !answer.Success || answer.Term != term {
				t.Errorf("a snapshot of index %d is answered %+v, %v at %d", old.Index, answer, err, before)
			}
			if now := follower.View().Index(); now < before {
				t.Fatalf("the follower went back from index %d to %d", before, now)
			}
		}
		grow(10)
		c.agree()
	})
}

// A request for entries is repeated because its answer was lost. What comes before them is in a snapshot of the follower's
// meanwhile: it does not ask for the leader's again.
func TestEntriesBehindASnapshotAreAcknowledgedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		leader, term, grow := c.compacting(5, 2)
		grow(10)
		follower := c.follower(leader)
		id, addr := raft.ServerID(follower.config.ID), raft.ServerAddress(follower.config.Addr)
		first, err := follower.disk.FirstIndex()
		if err != nil || first < 4 {
			t.Fatalf("the log begins at %d, %v", first, err)
		}
		last, snapshot := follower.raft.LastIndex(), follower.snapshots.newest().index
		for prev := range snapshot {
			q := &raft.AppendEntriesRequest{RPCHeader: headerFrom(leader), Term: term, PrevLogEntry: prev, PrevLogTerm: term}
			for i := prev + 1; i <= last; i++ {
				var e raft.Log
				if leader.disk.GetLog(i, &e) != nil { // compacted: nobody looks at what is in it
					e = raft.Log{Index: i, Term: term}
				}
				e.Extensions = nil
				q.Entries = append(q.Entries, &e)
			}
			var answer raft.AppendEntriesResponse
			if err := leader.transport.AppendEntries(id, addr, q, &answer); err != nil || !answer.Success {
				t.Errorf("entries from %d on are answered %+v, %v by a follower whose log has %d to %d", prev+1, answer, err, first, last)
			}
		}
		grow(10)
		c.agree()
	})
}

// A leader that was cut off has entries of its own, more than the others have in their newest snapshot when it is back.
// They are replaced, though no entry comes that is beyond them.
func TestSnapshotBelowEntriesOfAnOlderLeaderIsInstalled(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, oldTerm, grow := c.compacting(1, 1)
		grow(10)
		name := old.config.ID
		c.net.Isolate(name + ":1")
		var answers []<-chan error
		for n := range InFlight { // each an entry of its own
			answers = append(answers, propose(old, oldTerm, session(1000+n)))
			rest(time.Millisecond)
		}
		for _, a := range answers {
			<-a
		}
		end := old.raft.LastIndex()
		next, term := c.lead(name)
		rest(5 * time.Second)
		first, err := next.disk.FirstIndex()
		if last := next.raft.LastIndex(); err != nil || last >= end || first <= old.View().Index()+1 {
			t.Fatalf("the new leader has entries %d to %d (%v), the old one applied %d of %d", first, last, err, old.View().Index(), end)
		}
		c.net.Join(name + ":1")
		c.agree()
		c.must(next, term, session(3000))
		rest(200 * time.Millisecond) // before the next snapshot
		if now, want := old.View().Index(), next.View().Index(); now != want {
			t.Errorf("the old leader has applied %d, expected %d", now, want)
		}
		c.agree()
		if last := old.raft.LastIndex(); last != next.raft.LastIndex() {
			t.Errorf("the old leader's log ends at %d, expected %d", last, next.raft.LastIndex())
		}
	})
}

// A server that was promoted while another one was away has the entry that says so, which the other one lacks: by its own
// configuration that one must vote for a server that has no vote. The leader dies then, and these two are a majority.
func TestServerPromotedBehindTheBackOfAVoterIsElectedByIt(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		leader, term := c.three().lead()
		c.must(leader, term, session(1))
		c.agree()
		c.mu.Lock()
		c.hide = true // nobody promotes by himself
		var others []*member
		for _, m := range c.nodes {
			if m != leader {
				others = append(others, m)
			}
		}
		c.mu.Unlock()
		promoted, away := others[0], others[1]
		id, addr := raft.ServerID(promoted.config.ID), raft.ServerAddress(promoted.config.Addr)
		if err := leader.raft.DemoteVoter(id, 0, 0).Error(); err != nil {
			t.Fatal(err)
		}
		until(t, "everybody knows", func() bool { return away.raft.LastIndex() == leader.raft.LastIndex() })
		c.net.Isolate(away.config.Addr)
		if err := leader.raft.AddVoter(id, addr, 0, 0).Error(); err != nil {
			t.Fatal(err)
		}
		c.net.Isolate(leader.config.Addr)
		c.net.Join(away.config.Addr)
		next, term := c.lead(leader.config.ID)
		if next != promoted {
			t.Errorf("%s leads, which lacks what was committed", next.config.ID)
		}
		c.must(next, term, session(2))
		c.net.Join(leader.config.Addr)
		c.agree()
	})
}

// What is committed is known up to the entries of a request. What comes after them in the log may be of an older leader.
func TestNothingIsCommittedBeyondTheEntriesOfARequest(t *testing.T) {
	k := &known{snapshots: &snapshots{}}
	q := &raft.AppendEntriesRequest{PrevLogEntry: 7, Entries: []*raft.Log{{Index: 8}, {Index: 9}}, LeaderCommitIndex: 12}
	if k.trim(q); q.LeaderCommitIndex != 9 || q.PrevLogEntry != 7 || len(q.Entries) != 2 {
		t.Errorf("entries 8 and 9 become %+v", q)
	}
	k.snapshots.finished(entryName{8, 3})
	if k.trim(q); q.LeaderCommitIndex != 9 || q.PrevLogEntry != 0 || len(q.Entries) != 1 || q.Entries[0].Index != 9 {
		t.Errorf("entries 8 and 9 become %+v after a snapshot of 8", q)
	}
}

// Behind a snapshot that was installed may be entries of an older term: nobody is elected who has more of them only.
func TestNobodyIsElectedWhoHasLessThanASnapshot(t *testing.T) {
	k := &known{snapshots: &snapshots{}}
	k.snapshots.finished(entryName{8, 3})
	for _, c := range []struct{ index, term, wantIndex, wantTerm uint64 }{
		{100, 2, 0, 0}, {7, 3, 0, 0}, {8, 3, 8, 3}, {4, 4, 4, 4},
	} {
		if i, term := k.compare(c.index, c.term); i != c.wantIndex || term != c.wantTerm {
			t.Errorf("a log that ends with %d of term %d is compared as %d, %d, expected %d, %d", c.index, c.term, i, term, c.wantIndex, c.wantTerm)
		}
	}
}

// compacting starts three nodes that keep few entries behind their snapshots. grow adds commands, and waits for snapshots.
func (c *cluster) compacting(threshold, trailing uint64) (leader *member, term uint64, grow func(commands int)) {
	often := func(c *Config) {
		c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs = threshold, time.Second, trailing
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.start(name, NewMemoryDisk(), often)
	}
	leader, term = c.lead()
	n := 0
	return leader, term, func(commands int) {
		for range commands {
			n++
			c.must(leader, term, session(n))
		}
		rest(5 * time.Second)
	}
}

// follower gives a node other than the one given.
func (c *cluster) follower(leader *member) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.nodes {
		if m != leader {
			return m
		}
	}
	return nil
}

func newestSnapshot(t *testing.T, m *member) (*raft.SnapshotMeta, []byte) {
	t.Helper()
	metas, err := m.snapshots.List()
	if err != nil || len(metas) == 0 {
		t.Fatalf("no snapshot: %v", err)
	}
	meta, r, err := m.snapshots.Open(metas[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return meta, data
}

func headerFrom(m *member) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(m.config.ID), Addr: []byte(m.config.Addr)}
}

// Heartbeats have a way of their own into raft, beside its main loop. One that is older than a vote request that is
// being stored does not bring the older term back, in which the node could vote again.
func TestHeartbeatDoesNotLowerTheTerm(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		leader, term := c.three().lead()
		var follower *member
		for _, m := range c.nodes {
			if m != leader {
				follower = m
			}
		}
		follower.disk.Slow(func() time.Duration { return 100 * time.Millisecond })
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(leader.config.ID), Addr: []byte(leader.config.Addr)}
		id, addr := raft.ServerID(follower.config.ID), raft.ServerAddress(follower.config.Addr)
		asked := make(chan error, 2)
		go func() {
			q := &raft.RequestVoteRequest{RPCHeader: header, Term: term + 5, LastLogIndex: 1000, LastLogTerm: term, LeadershipTransfer: true}
			asked <- leader.transport.RequestVote(id, addr, q, &raft.RequestVoteResponse{})
		}()
		rest(10 * time.Millisecond)
		go func() {
			q := &raft.AppendEntriesRequest{RPCHeader: header, Term: term + 4}
			asked <- leader.transport.AppendEntries(id, addr, q, &raft.AppendEntriesResponse{})
		}()
		rest(490 * time.Millisecond)
		if now := follower.Term(); now < term+5 {
			t.Errorf("the term is %d after a vote was asked for in term %d", now, term+5)
		}
		follower.disk.Slow(nil)
		<-asked
		<-asked
	})
}

// Who has no vote by this node's configuration gets it only with a log that goes on after all that is here, in the log and in
// snapshots. For a voter the log is not read.
func TestAVoteIsGivenToAStrangerOnlyWhoHasMore(t *testing.T) {
	log := raft.NewInmemStore()
	if err := log.StoreLogs([]*raft.Log{{Index: 9, Term: 3}, {Index: 10, Term: 3}}); err != nil {
		t.Fatal(err)
	}
	voters := []string{"a", "b"}
	for name, c := range map[string]struct {
		who         string
		voters      []string
		log         raft.LogStore // nil: one that must not be read
		snapshot    entryName
		index, term uint64
		want        string
	}{
		"a voter":                          {"b", voters, nil, entryName{}, 100, 9, "b"},
		"nobody is known to vote":          {"c", nil, nil, entryName{}, 100, 9, "c"},
		"the same log":                     {"c", voters, log, entryName{}, 10, 3, "c"},
		"a shorter one":                    {"c", voters, log, entryName{}, 9, 3, "c"},
		"a longer one of an older term":    {"c", voters, log, entryName{}, 100, 2, "c"},
		"a longer one":                     {"c", voters, log, entryName{}, 11, 3, "a"},
		"a shorter one of a newer term":    {"c", voters, log, entryName{}, 5, 4, "a"},
		"less than a snapshot":             {"c", voters, log, entryName{20, 4}, 15, 4, "c"},
		"more than a snapshot and the log": {"c", voters, log, entryName{20, 4}, 21, 4, "a"},
		"nothing here, and nothing there":  {"c", voters, raft.NewInmemStore(), entryName{}, 0, 0, "c"},
		"nothing here":                     {"c", voters, raft.NewInmemStore(), entryName{}, 1, 1, "a"},
	} {
		k := &known{voters: func() []string { return c.voters }, log: c.log, snapshots: &snapshots{}}
		if c.snapshot.index > 0 {
			k.snapshots.finished(c.snapshot)
		}
		if got := string(k.candidate([]byte(c.who), c.index, c.term)); got != c.want {
			t.Errorf("%s: the vote is looked at as one for %s, expected %s", name, got, c.want)
		}
	}
}
