package raftnode

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// often makes snapshots of few entries and keeps few behind them.
func often(c *Config) {
	c.SnapshotThreshold = 20
	c.SnapshotInterval = 100 * time.Millisecond
	c.TrailingLogs = 10
}

func (d *MemoryDisk) newestSnapshot() *memorySnapshot {
	d.stored.mu.Lock()
	defer d.stored.mu.Unlock()
	if len(d.stored.kept) == 0 {
		return nil
	}
	return d.stored.kept[0]
}

// Rule 11: snapshot-then-rest equals apply-all, for a follower that gets the leader's and for a restart.
func TestASnapshotStandsForTheEntriesBeforeIt(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		for _, name := range []string{"n1", "n2", "n3"} {
			c.start(name, NewMemoryDisk(), often)
		}
		m, term := c.lead()
		var behind string
		for name := range c.nodes {
			if name != m.config.ID {
				behind = name
			}
		}
		disk := c.nodes[behind].disk
		c.stop(behind)
		for i := range 300 {
			c.must(m, term, session(i))
		}
		until(t, "a snapshot and a shorter log", func() bool {
			first, _ := m.disk.FirstIndex()
			return m.disk.newestSnapshot() != nil && first > 100
		})
		n := c.start(behind, disk, often)
		until(t, "the snapshot at the follower", func() bool { return disk.newestSnapshot() != nil })
		c.agree()
		for i := range 5 { // entries follow the snapshot without a gap
			c.must(m, term, session(1000+i))
		}
		c.agree()
		index, hash := n.View().Index(), n.View().Hash()
		c.stop(behind)
		n = c.start(behind, disk, often)
		until(t, "the old state", func() bool { return n.View().Index() >= index })
		if n.View().Index() == index && n.View().Hash() != hash {
			t.Error("after the restart the state has another hash")
		}
		c.agree()
	})
}

func TestADamagedLedgerSnapshotStopsTheStart(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		for _, name := range []string{"n1", "n2", "n3"} {
			c.start(name, NewMemoryDisk(), often)
		}
		m, term := c.lead()
		for i := range 100 {
			c.must(m, term, session(i))
		}
		until(t, "two snapshots", func() bool {
			m.disk.stored.mu.Lock()
			defer m.disk.stored.mu.Unlock()
			return len(m.disk.stored.kept) == 2 || c.must(m, term, session(int(m.View().Index()))).Index == 0
		})
		disk := m.disk
		c.stop(m.config.ID)
		newest := disk.newestSnapshot()
		newest.Bytes()[newest.Len()/2] ^= 1 // there is an older one that is whole: it must not be used
		_, err := Open(Config{
			ID: m.config.ID, Addr: m.config.Addr, Stream: c.net.Stream(m.config.Addr), Disk: disk,
			Fatal: func(err error) { t.Error("the process is ended while the node opens:", err) },
		})
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("error is %v, expected damage", err)
		}
	})
}

func TestADamagedEntryStopsTheStart(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		for i := range 20 {
			c.must(m, term, session(i))
		}
		disk := m.disk
		c.stop(m.config.ID)
		last, _ := disk.LastIndex()
		for name, change := range map[string]func(*raft.Log){
			"data":  func(l *raft.Log) { l.Data = bytes.Replace(l.Data, []byte("s"), []byte("t"), 1) },
			"index": func(l *raft.Log) { l.Index++ },
			"term":  func(l *raft.Log) { l.Term++ },
			"type":  func(l *raft.Log) { l.Type = raft.LogNoop },
			"frame": func(l *raft.Log) { l.Extensions = nil },
			"crc":   func(l *raft.Log) { l.Extensions = []byte(entryMagic + "0000") },
		} {
			good := disk.logs[last]
			bad := good
			change(&bad)
			disk.logs[last] = bad
			_, err := Open(Config{
				ID: m.config.ID, Addr: m.config.Addr, Stream: c.net.Stream(m.config.Addr), Disk: disk,
				Fatal: func(error) {},
			})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry ") || !strings.Contains(err.Error(), "raft.db") {
				t.Errorf("%s: error is %v, expected damage in a named entry", name, err)
			}
			disk.logs[last] = good
		}
	})
}

// Rule 15: unreadable data that are met while the node runs end the process; nothing after them is applied.
func TestAnUnreadableCommandEndsTheProcess(t *testing.T) {
	var fatal []error
	l := newLedger(func(err error) error { fatal = append(fatal, err); return err })
	answers := l.ApplyBatch([]*raft.Log{
		{Index: 1, Type: raft.LogCommand, Data: []byte("not an entry")},
		{Index: 2, Type: raft.LogConfiguration},
		{Index: 3, Type: raft.LogCommand, Data: []byte("neither")},
	})
	if len(fatal) != 1 || answers[0].(applied).err == nil || answers[1] != nil || answers[2].(applied).err == nil {
		t.Errorf("answers are %v, the process was ended by %v", answers, fatal)
	}
	if _, err := l.Snapshot(); err == nil {
		t.Error("a snapshot is taken of a state that stopped")
	}
}
