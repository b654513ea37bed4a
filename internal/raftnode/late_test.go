package raftnode

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A snapshot that a leader sent long ago comes out of a connection that was cut: nothing that was applied is undone.
func TestSnapshotThatComesLateIsNotInstalled(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		often := func(c *Config) { c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs = 5, time.Second, 2 }
		for _, name := range []string{"n1", "n2", "n3"} {
			c.start(name, NewMemoryDisk(), often)
		}
		leader, term := c.lead()
		n := 0
		grow := func() {
			for range 10 {
				n++
				c.must(leader, term, session(n))
			}
			rest(5 * time.Second)
		}
		grow()
		metas, err := leader.snapshots.List()
		if err != nil || len(metas) == 0 {
			t.Fatalf("no snapshot: %v", err)
		}
		old, r, err := leader.snapshots.Open(metas[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		grow()
		var follower *member
		for _, m := range c.nodes {
			if m != leader {
				follower = m
			}
		}
		before := follower.View().Index()
		q := &raft.InstallSnapshotRequest{
			RPCHeader:       raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(leader.config.ID), Addr: []byte(leader.config.Addr)},
			SnapshotVersion: old.Version, Term: term, LastLogIndex: old.Index, LastLogTerm: old.Term, Size: int64(len(data)),
			Configuration: raft.EncodeConfiguration(old.Configuration), ConfigurationIndex: old.ConfigurationIndex,
		}
		var answer raft.InstallSnapshotResponse
		id, addr := raft.ServerID(follower.config.ID), raft.ServerAddress(follower.config.Addr)
		if err := leader.transport.InstallSnapshot(id, addr, q, &answer, bytes.NewReader(data)); err == nil {
			t.Errorf("a snapshot of index %d is installed at %d: %+v", old.Index, before, answer)
		}
		if now := follower.View().Index(); now < before {
			t.Errorf("the follower went back from index %d to %d", before, now)
		}
		grow()
		c.agree()
	})
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
