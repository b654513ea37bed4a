package disk

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Trouble is a way in which a FaultFS fails.
type Trouble int

// Troubles.
const (
	// SyncFails lets a sync of a file or directory fail with EIO. What the file was given since its last good sync is not on
	// the disk then, though it is read back until Drop, and no later sync brings it there.
	SyncFails Trouble = iota
	// SyncSlow lets every sync take Delay longer.
	SyncSlow
	// WriteTorn writes the first half only and fails with EIO.
	WriteTorn
	// NoSpace lets files grow by Bytes together, and fails with ENOSPC after that. What is freed may be used again.
	NoSpace
	// ReadFails lets reads fail with EIO. A page that the kernel has in memory is not read again.
	ReadFails
)

// Rule is one trouble, and where.
type Rule struct {
	Trouble Trouble
	// Under is a part of the tree, as "raft" or "raft/snapshots": a file or directory, and all below it; empty: all.
	Under string
	Times int           // after which the trouble is over; 0: not before End
	Delay time.Duration // of SyncSlow
	Bytes int64         // of NoSpace
}

// Active is a rule in force. Its methods may be called from several goroutines.
type Active struct {
	rule  Rule
	rules *rules
	bites atomic.Int64
	// Under the mutex of rules.
	left    int64 // bytes, of NoSpace
	durable int64 // bites on files that are more than scratch
}

// scratch is the part of a data directory that nobody needs after the process that wrote it.
const scratch = "kept"

// Bites counts what the rule made fail, or be late.
func (a *Active) Bites() int64 { return a.bites.Load() }

// Durable counts the bites on files that are more than scratch.
func (a *Active) Durable() int64 {
	a.rules.mu.Lock()
	defer a.rules.mu.Unlock()
	return a.durable
}

// End ends the trouble, and gives its bites. It may be called again.
func (a *Active) End() int64 {
	a.rules.mu.Lock()
	defer a.rules.mu.Unlock()
	for i, x := range a.rules.active {
		if x == a {
			a.rules.active = append(a.rules.active[:i:i], a.rules.active[i+1:]...)
			break
		}
	}
	return a.Bites()
}

// rules are those in force.
type rules struct {
	mu     sync.Mutex
	active []*Active
}

func (r *rules) begin(rule Rule) *Active {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &Active{rule: rule, rules: r, left: rule.Bytes}
	r.active = append(r.active[:len(r.active):len(r.active)], a)
	return a
}

// bite gives the first rule of a trouble for the file, and counts it; nil: there is none.
func (r *rules) bite(t Trouble, file string) *Active {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.active {
		if a.rule.Trouble != t || !under(a.rule.Under, file) {
			continue
		}
		if n := a.bites.Load(); a.rule.Times == 0 || n < int64(a.rule.Times) {
			a.bites.Add(1)
			if !slices.Contains(strings.Split(file, "/"), scratch) {
				a.durable++
			}
			return a
		}
	}
	return nil
}

// grow asks for space for a file that becomes longer, and says how much of it there is. Less counts as a bite.
func (r *rules) grow(file string, bytes int64) (given int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	given = bytes
	for _, a := range r.active {
		if a.rule.Trouble != NoSpace || !under(a.rule.Under, file) {
			continue
		}
		if given > max(a.left, 0) {
			given = max(a.left, 0)
			a.bites.Add(1)
		}
	}
	for _, a := range r.active {
		if a.rule.Trouble == NoSpace && under(a.rule.Under, file) {
			a.left -= given
		}
	}
	return given
}

// shrink gives space back.
func (r *rules) shrink(file string, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.active {
		if a.rule.Trouble == NoSpace && under(a.rule.Under, file) {
			a.left += bytes
		}
	}
}

// space gives the bytes that the file may still grow by; false: there is no limit. Who is told of a limit may hold back, so
// that no write fails: it counts as a bite.
func (r *rules) space(file string) (left int64, limited bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.active {
		if a.rule.Trouble != NoSpace || !under(a.rule.Under, file) {
			continue
		}
		a.bites.Add(1)
		if here := max(a.left, 0); !limited || here < left {
			left, limited = here, true
		}
	}
	return left, limited
}

// under reports whether a file belongs to a part of the tree.
func under(part, file string) bool {
	return part == "" || file == part || strings.HasPrefix(file, part+"/")
}
