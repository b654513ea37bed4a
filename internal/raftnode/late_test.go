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
			time.Sleep(5 * time.Second)
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
