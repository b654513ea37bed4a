package blocks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// putTimeout bounds one copy to one peer; then another peer is asked.
	putTimeout = 5 * time.Second
	// The wait between rounds in which too few copies were made doubles from backoffMin to backoffMax.
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
)

// Replicator puts new blocks on as many stores as they must be on (rule 5). Its fields are set before the first use.
type Replicator struct {
	Self  id.Store
	Local func(ctx context.Context, d job.BlockData) error // Put of this executor's Store
	Peers func() []job.Peer                                // open sessions, in any order, with or without Self
	// Remote reaches the other executors; only Put is used.
	Remote interface {
		Put(ctx context.Context, to job.Peer, d job.BlockData) error
	}
	Logger *slog.Logger

	mu   sync.Mutex
	load map[id.Store]int // bytes on their way
	turn int
}

// Store puts a block on this executor's store and on others, so that min(factor, open sessions) distinct stores have
// it, and returns them, this one first. It waits as long as fewer can be reached; only the end of ctx makes it fail.
// have names stores that are known to have the block: they count while their sessions are open. On return the block is
// synced on every store named.
func (r *Replicator) Store(ctx context.Context, d job.BlockData, factor int, have []id.Store) ([]id.Store, error) {
	held := map[id.Store]bool{}
	for _, s := range have {
		held[s] = true
	}
	wait := backoffMin
	for round := 1; ; round++ {
		open := r.open()
		for s := range held {
			if _, ok := open[s]; !ok {
				delete(held, s)
			}
		}
		err := r.round(ctx, d, min(factor, len(open)), open, held)
		if err == nil {
			return r.order(held), nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("store block %v: %w", d.ID, context.Cause(ctx))
		}
		if r.Logger != nil && (round == 1 || round%30 == 0) {
			r.Logger.Warn("a block waits for its copies", slog.String("block", d.ID.String()),
				slog.Int("copies", len(held)), slog.Int("round", round), slog.Any("error", err))
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		wait = min(2*wait, backoffMax)
	}
}

// open gives the executors that count, by store: those with an open session, and this one.
func (r *Replicator) open() map[id.Store]job.Peer {
	open := map[id.Store]job.Peer{r.Self: {Store: r.Self}}
	for _, p := range r.Peers() {
		open[p.Store] = p
	}
	return open
}

func (r *Replicator) order(held map[id.Store]bool) []id.Store {
	list := []id.Store{r.Self}
	for s := range held {
		if s != r.Self {
			list = append(list, s)
		}
	}
	slices.Sort(list[1:])
	return list
}

type copied struct {
	to  id.Store
	err error
}

// round makes copies at the same time: one here, if there is none, and as many elsewhere as are missing. For each peer
// that fails another one is asked. It returns when all have answered; held has grown by those that have the block. An
// error says why there are too few.
func (r *Replicator) round(
	ctx context.Context, d job.BlockData, required int, open map[id.Store]job.Peer, held map[id.Store]bool,
) error {
	candidates := r.candidates(open, held)
	answers := make(chan copied)
	running, elsewhere := 0, required-1 // copies to start elsewhere: the one here is always made
	start := func(to id.Store, put func() error) {
		running++
		go func() { answers <- copied{to, put()} }()
	}
	if held[r.Self] {
		elsewhere -= len(held) - 1
	} else {
		elsewhere -= len(held)
		start(r.Self, func() error {
			err := r.Local(ctx, d)
			if err == nil {
				failpoint.Hit(failpoint.BlockStored)
			}
			return err
		})
	}
	var errs []error
	for {
		for ; elsewhere > 0 && len(candidates) > 0; elsewhere-- {
			to := candidates[0]
			candidates = candidates[1:]
			start(to.Store, func() error { return r.put(ctx, to, d) })
		}
		if running == 0 {
			break
		}
		a := <-answers
		running--
		if a.err == nil {
			held[a.to] = true
			continue
		}
		errs = append(errs, fmt.Errorf("store %s: %w", a.to, a.err))
		if a.to != r.Self {
			elsewhere++
		}
	}
	if held[r.Self] && len(held) >= required {
		return nil
	}
	return errors.Join(append(errs, fmt.Errorf("block %v has %d copies, expected %d", d.ID, len(held), required))...)
}

// candidates gives the peers without a copy: the least loaded first, equally loaded ones in turn.
func (r *Replicator) candidates(open map[id.Store]job.Peer, held map[id.Store]bool) []job.Peer {
	var list []job.Peer
	for s, p := range open {
		if s != r.Self && !held[s] {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b job.Peer) int { return cmp.Compare(a.Session, b.Session) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(list); n > 0 {
		at := r.turn % n
		list = slices.Concat(list[at:], list[:at])
		r.turn++
	}
	slices.SortStableFunc(list, func(a, b job.Peer) int { return cmp.Compare(r.load[a.Store], r.load[b.Store]) })
	return list
}

func (r *Replicator) put(ctx context.Context, to job.Peer, d job.BlockData) error {
	r.count(to.Store, len(d.Data))
	defer r.count(to.Store, -len(d.Data))
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	return r.Remote.Put(ctx, to, d)
}

func (r *Replicator) count(s id.Store, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.load == nil {
		r.load = map[id.Store]int{}
	}
	if r.load[s] += bytes; r.load[s] == 0 {
		delete(r.load, s)
	}
}
