package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// reserveCheck is how often the free disk is looked at; entries written in between are few against any reserve.
	reserveCheck = 250 * time.Millisecond
	// handOverAgain is how long a leader whose disk is short waits before it hands over once more: where every disk is
	// short, leadership must not go round and round.
	handOverAgain = time.Minute
)

// reserve says whether the disk under the log has less left than what is kept free (rule 10). Then nothing new is
// proposed here; entries of another leader are still stored, for as long as there is any room, because without them
// nobody could commit.
type reserve struct {
	short atomic.Pointer[shortError] // nil: there is room
}

// shortError is ErrOverloaded with the reason.
type shortError struct {
	dir        string
	free, keep uint64
}

// Error names the directory, what is left and what is kept.
func (e *shortError) Error() string {
	const mebibyte = 1 << 20
	return fmt.Sprintf("disk of %s has %d MiB left and %d MiB are kept for raft: no proposals are taken",
		e.dir, e.free/mebibyte, e.keep/mebibyte)
}

// Unwrap makes it an ErrOverloaded: nothing was proposed, and it may be tried again.
func (e *shortError) Unwrap() error { return ErrOverloaded }

// checkDisk looks at the disk once and says so when it came to be short, or to have room again.
func (n *Node) checkDisk() {
	free, err := n.config.Free()
	before := n.reserve.short.Load()
	switch {
	case err != nil:
		n.log.Debug("raft: free disk is not known", "dir", n.config.Dir, "error", err) // the next append would tell
	case free < n.config.ReserveBytes:
		now := &shortError{dir: n.config.Dir, free: free, keep: n.config.ReserveBytes}
		n.reserve.short.Store(now)
		if before == nil {
			n.log.Error("raft: disk reserve is reached, no proposals are taken until there is room", "error", now)
		}
	case before != nil:
		n.reserve.short.Store(nil)
		n.log.Info("raft: disk has room again, proposals are taken", "dir", n.config.Dir, "free", free)
	}
}

// watchDisk looks at the disk until the node closes. A leader without room hands over: another disk may have some.
func (n *Node) watchDisk() {
	tick := time.NewTicker(reserveCheck)
	defer tick.Stop()
	var handed time.Time
	for {
		select {
		case <-n.stop:
			return
		case <-tick.C:
		}
		n.checkDisk()
		if _, leads := n.leading(); !leads || n.reserve.short.Load() == nil || !n.hasPeer() {
			continue
		}
		if handed.IsZero() || time.Since(handed) > handOverAgain {
			handed = time.Now()
			// Transfer's own limit bounds the wait, and Close ends after that at the latest.
			if err := n.Transfer(context.Background()); err != nil && !errors.Is(err, ErrNotLeader) {
				n.log.Warn("raft: leadership is not handed over, though the disk is short", "error", err)
			}
		}
	}
}

// hasPeer reports whether another voter could lead.
func (n *Node) hasPeer() bool {
	for _, s := range n.Configuration() {
		if s.Voter && s.ID != n.config.ID {
			return true
		}
	}
	return false
}
