package pieces

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// sweepEvery is how often an application's objects are listed at most, and when a sweep that failed is tried again. It
	// is also what an application that has ended is given for writes that are still on their way: it is swept once
	// more after that.
	sweepEvery = time.Minute
	// sweepTime bounds one sweep. What it has not come to is left to the next one.
	sweepTime = 5 * time.Minute
	// deleters bounds the objects that are being deleted at a time.
	deleters = 8
)

// duty is an application whose bucket is kept clean here.
type duty struct {
	told  *job.Progress // the newest
	next  time.Time     // no sweep before
	swept id.Time       // checkpoint of the last sweep that was complete
	done  bool          // there was one
	ended time.Time     // when the end was heard, zero before
}

// Progress takes what is needed yet of an application; mine says that this executor is to delete the rest. What is told
// stays true, so an older message deletes less and nothing wrong.
func (s *Store) Progress(p *job.Progress, mine bool) {
	if p.CheckpointURL == "" || s.cfg.Open == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !mine {
		delete(s.due, p.App)
		return
	}
	d := s.due[p.App]
	if d == nil {
		d = &duty{}
		s.due[p.App] = d
	}
	d.told = p
	if p.Ended && d.ended.IsZero() {
		d.ended, d.next = time.Now(), time.Time{}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sweeps until ctx ends.
func (s *Store) Run(ctx context.Context) {
	for {
		d, wait := s.nextDuty(time.Now())
		if d != nil {
			s.sweep(ctx, d)
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.wake:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// nextDuty gives a duty that is due, or how long there is none.
func (s *Store) nextDuty(now time.Time) (*duty, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := time.Hour
	for _, d := range s.due {
		if d.done && d.ended.IsZero() && d.swept == d.told.Checkpointed {
			continue // nothing has become needless but what a checkpoint that failed left
		}
		if left := d.next.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		return d, 0
	}
	return nil, wait
}

// sweep deletes what an application does not need, once.
func (s *Store) sweep(ctx context.Context, d *duty) {
	began := time.Now()
	s.mu.Lock()
	p := d.told
	d.next = began.Add(sweepEvery)
	s.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	deleted, err := s.clean(limited, p)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		s.cfg.Logger.Warn("bucket of checkpoints is not cleaned, to be tried again", "app", uint64(p.App), "deleted", deleted, "error", err)
		return
	case deleted > 0:
		s.cfg.Logger.Info("bucket of checkpoints cleaned", "app", uint64(p.App), "deleted", deleted)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.done, d.swept = true, p.Checkpointed
	if p.Ended && began.Sub(d.ended) >= sweepEvery && s.due[p.App] == d {
		delete(s.due, p.App)
	}
}

// clean lists an application's objects and deletes those that are needless.
func (s *Store) clean(ctx context.Context, p *job.Progress) (deleted int, err error) {
	b, dir, err := s.bucket(ctx, p.CheckpointURL, p.App)
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	keys := make(chan string)
	var mu sync.Mutex
	var deleting sync.WaitGroup
	for range deleters {
		deleting.Go(func() {
			for key := range keys {
				if err := b.Delete(ctx, key); err != nil {
					stop(err)
					continue
				}
				failpoint.Hit(failpoint.PieceDeleted)
				mu.Lock()
				deleted++
				mu.Unlock()
			}
		})
	}
	needless := judge(p)
	for key, bad := range b.List(ctx, dir) {
		if bad != nil {
			err = bad
			break
		}
		if n, ok := pieceOf(dir, p.App, key); ok && needless(n) {
			keys <- key // never for long: a deletion ends with ctx
		}
	}
	close(keys)
	deleting.Wait()
	if err == nil || errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	return deleted, err
}

// run is an office's pieces of one stream.
type run struct {
	stream   id.Stream
	instance id.Instance
}

// judge tells pieces that the ledger does not need and never will: those of an application that has ended; those below
// the chain; above the last that was committed where the office is over; and those of an office that is over so long
// that the ledger does not name it. What a newer office makes is not known yet and stays.
func judge(p *job.Progress) (needless func(id.Block) bool) {
	if p.Ended {
		return func(id.Block) bool { return true }
	}
	named := make(map[run]job.InstanceProgress, len(p.Instances))
	newest := map[id.Stream]id.Instance{}
	for _, i := range p.Instances {
		named[run{i.Stream, i.Instance}] = i
		newest[i.Stream] = max(newest[i.Stream], i.Instance)
	}
	return func(n id.Block) bool {
		i, ok := named[run{n.Stream, n.Instance}]
		if !ok {
			return n.Instance < newest[n.Stream]
		}
		return n.Number <= i.Cleaned || i.Closed && n.Number > i.Last
	}
}
