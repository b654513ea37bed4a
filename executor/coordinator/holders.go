package coordinator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// askPatience bounds the wait for what one executor says that it holds.
	askPatience = time.Second
	// maxWon bounds the completed batches whose attempt is remembered; the history has older ones.
	maxWon = 128
)

// keyed is what a coordinator knows of an application's keyed state beyond what orders say. Only the application's
// worker touches it. All of it may be forgotten: executors and the ledger can be asked.
type keyed struct {
	holders holders
	won     map[id.Time]id.Attempt   // by batches that were completed here
	moves   map[statePart]id.Session // partitions that are to be restored elsewhere from the committed checkpoint
	ties    map[statePart]statePart  // partitions that one task read; see tied
	chain   chain
}

func newKeyed() *keyed {
	return &keyed{
		holders: holders{of: map[statePart]map[id.Session][]job.Version{}, asked: map[id.Session]bool{}},
		won:     map[id.Time]id.Attempt{},
		moves:   map[statePart]id.Session{},
		ties:    map[statePart]statePart{},
	}
}

// completed notes that the ledger has a batch, and the attempt that won it.
func (k *keyed) completed(v job.Version) {
	k.won[v.Time] = v.Attempt
	if len(k.won) <= maxWon {
		return
	}
	oldest := v.Time
	for t := range k.won {
		oldest = min(oldest, t)
	}
	delete(k.won, oldest)
}

// statePart names a partition of keyed state.
type statePart struct {
	stream id.Stream
	part   int
}

// holders says which executors hold which versions of which partitions. It may be behind: an executor that does not
// hold what it is said to answers with a StateFault.
type holders struct {
	of    map[statePart]map[id.Session][]job.Version
	asked map[id.Session]bool // that have said what they hold
}

// set notes what the executor holds of a partition, and that it is all.
func (h *holders) set(p statePart, by id.Session, versions ...job.Version) {
	m := h.of[p]
	if m == nil {
		m = map[id.Session][]job.Version{}
		h.of[p] = m
	}
	m[by] = versions
}

// made notes what a task has read and made. What is newer stays: an earlier batch was computed again beside it.
func (h *holders) made(p statePart, by id.Session, base, makes job.Version) {
	held := []job.Version{base, makes}
	for _, v := range h.of[p][by] {
		if v.Time > makes.Time {
			held = append(held, v)
		}
	}
	h.set(p, by, held...)
}

func (h *holders) has(p statePart, by id.Session, v job.Version) bool {
	return slices.Contains(h.of[p][by], v)
}

// forget takes back what is known of a partition at an executor, which is to be asked again.
func (h *holders) forget(p statePart, by id.Session) {
	delete(h.of[p], by)
	delete(h.asked, by)
}

// keep forgets the executors whose sessions are over.
func (h *holders) keep(peers *job.Peers) {
	for _, m := range h.of {
		for s := range m {
			if !open(peers, s) {
				delete(m, s)
			}
		}
	}
	for s := range h.asked {
		if !open(peers, s) {
			delete(h.asked, s)
		}
	}
}

// ask asks the executors that have not said yet what they hold, side by side, and reports whether one of them did. Who
// does not answer in time is asked again when something is missed again.
func (b *batch) ask(ctx context.Context) (news bool) {
	table, _ := b.cfg.Peers()
	var peers []job.Peer
	for _, p := range table.Peers {
		if p.Build == b.cfg.Build && !b.keyed.holders.asked[p.Session] {
			peers = append(peers, p)
		}
	}
	answers := make([][]job.Held, len(peers))
	errs := make([]error, len(peers))
	var asking sync.WaitGroup
	for i, p := range peers {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askPatience)
			defer cancel()
			answers[i], errs[i] = b.cfg.Executors.States(ctx, p, b.order.App.ID)
		})
	}
	asking.Wait()
	for i, p := range peers {
		if errs[i] != nil {
			b.log.Warn("an executor does not say what state it holds", "executor", p.Name, "error", errs[i])
			continue
		}
		news = true
		for _, by := range b.keyed.holders.of {
			delete(by, p.Session) // what it does not name it does not hold
		}
		b.keyed.holders.asked[p.Session] = true
		held := map[statePart][]job.Version{}
		for _, h := range answers[i] {
			k := statePart{h.Stream, h.Part}
			held[k] = append(held[k], h.Version)
		}
		for k, versions := range held {
			b.keyed.holders.set(k, p.Session, versions...)
		}
	}
	return news
}
