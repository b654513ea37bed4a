package coordinator

import (
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// brokenAfter is how often a batch makes buckets again because one executor could not fetch them from another,
	// before the two are taken for cut off from each other.
	brokenAfter = 3
	// detour is how long one of two such executors gets no tasks while others can take them.
	detour = 30 * time.Second
)

// link is the way of buckets from one executor to another.
type link struct{ reader, holder id.Session }

// linkFaults counts the stages that ended because of a link.
type linkFaults struct {
	n    int
	last *stage
}

// broken notes that a reader did not get buckets from a holder. Two executors that both reach the driver and not each
// other keep their sessions: made again by the same holder, the buckets would be lost for ever. After the third time one
// of the two gets no tasks for a while, in all batches, and what it holds for this one is made elsewhere. That is the
// holder, but never this executor: the coordinator reaches itself.
func (s *stage) broken(reader job.Peer, e *job.TaskError) {
	if e.Holder == 0 || e.Holder == reader.Session {
		return
	}
	l := link{reader.Session, e.Holder}
	f := s.links[l]
	if f == nil {
		f = &linkFaults{}
		s.links[l] = f
	}
	if f.last == s { // several of its tasks found the same
		return
	}
	f.last = s
	if f.n++; f.n < brokenAfter {
		return
	}
	f.n = 0
	out := l.holder
	if out == s.cfg.Self() {
		out = l.reader
	}
	s.log.Warn("two executors do not reach each other; one of them gets no tasks for a while", "reader", uint64(l.reader),
		"holder", uint64(l.holder), "without_tasks", uint64(out), "for", detour, "error", e.Text)
	s.cutOff(out)
	for _, m := range s.shuffles {
		for p, h := range m.holders {
			if h == out {
				m.holders[p] = 0
			}
		}
	}
}
