package shuffle

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// maxStreams bounds the holders that one reader fetches from at a time.
	maxStreams = 8
	// streamAhead bounds the buckets of one holder that wait for the reader.
	streamAhead = 2
)

// Peers finds executors by session.
type Peers interface {
	// Self is this executor's session.
	Self() id.Session
	// Peer gives the executor of an open session, or an error when the session is over.
	Peer(ctx context.Context, s id.Session) (job.Peer, error)
}

// Reader reads the buckets of one reducer from where they are.
type Reader struct {
	Store     *Store
	Peers     Peers
	Executors job.Executors
}

// Read yields the bucket of every map partition for f.Reducer, in order of map partition (rule 6): holders[i] is the
// session that holds that of partition i. Buckets of this executor are not encoded; others are fetched from up to
// eight holders at once, a few buckets ahead. It returns nil when all were yielded or yield returned false, a
// *job.TaskError of class FetchFault that names what is missing where, or the cause of ctx's end.
func (r *Reader) Read(ctx context.Context, f job.Fetch, holders []id.Session, yield func(dataset.Chunk) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	in := &reading{Reader: r, fetch: f, self: r.Peers.Self()}
	if err := in.plan(holders); err != nil {
		cancel()
		return err
	}
	// The reader's loop runs user code, which may unwind: the streams end with it in any case.
	defer in.running.Wait()
	defer cancel()
	for part, holder := range holders {
		in.ahead(ctx)
		c, err := in.next(ctx, holder, part)
		if err != nil {
			return err
		}
		if !yield(c) {
			return nil
		}
	}
	return nil
}

// reading is one Read.
type reading struct {
	*Reader
	fetch   job.Fetch
	self    id.Session
	streams []*stream // of remote holders, in the order in which they are needed
	by      map[id.Session]*stream
	running sync.WaitGroup
}

type stream struct {
	holder  id.Session
	parts   []int
	started bool
	items   chan item // closed at the end
	err     error     // valid after items is closed
	ended   chan struct{}
}

type item struct {
	part   int
	bucket []byte
}

// plan groups map partitions by holder, and finds at once all that are missing on this executor itself.
func (in *reading) plan(holders []id.Session) error {
	in.by = map[id.Session]*stream{}
	var missing []int
	for part, h := range holders {
		if h == in.self {
			if _, ok := in.Store.Get(&in.fetch, part); !ok {
				missing = append(missing, part)
			}
			continue
		}
		s := in.by[h]
		if s == nil {
			s = &stream{holder: h, items: make(chan item, streamAhead), ended: make(chan struct{})}
			in.by[h] = s
			in.streams = append(in.streams, s)
		}
		s.parts = append(s.parts, part)
	}
	if len(missing) > 0 {
		return fault(&in.fetch, in.self, missing, "are not held here")
	}
	return nil
}

// ahead starts streams in the order of need while fewer than maxStreams run.
func (in *reading) ahead(ctx context.Context) {
	running := 0
	for _, s := range in.streams {
		if !s.started {
			if running >= maxStreams {
				return
			}
			in.start(ctx, s)
		}
		select {
		case <-s.ended:
		default:
			running++
		}
	}
}

func (in *reading) start(ctx context.Context, s *stream) {
	s.started = true
	in.running.Go(func() {
		defer close(s.ended)
		defer close(s.items)
		s.err = in.run(ctx, s)
	})
}

// run fetches all of one holder.
func (in *reading) run(ctx context.Context, s *stream) error {
	peer, err := in.Peers.Peer(ctx, s.holder)
	if err != nil {
		return err
	}
	f := in.fetch
	f.MapParts = s.parts
	next := 0
	return in.Executors.Fetch(ctx, peer, &f, func(part int, bucket []byte) error {
		if next == len(s.parts) || s.parts[next] != part {
			return fmt.Errorf("bucket of map partition %d came out of turn", part)
		}
		next++
		select {
		case s.items <- item{part, bucket}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// next gives the bucket of one map partition.
func (in *reading) next(ctx context.Context, holder id.Session, part int) (dataset.Chunk, error) {
	if ctx.Err() != nil {
		return dataset.Chunk{}, context.Cause(ctx)
	}
	if holder == in.self {
		rows, ok := in.Store.Get(&in.fetch, part)
		if !ok {
			return dataset.Chunk{}, fault(&in.fetch, in.self, []int{part}, "are not held here any more")
		}
		return dataset.Chunk{Rows: rows}, nil
	}
	s := in.by[holder]
	if !s.started { // more holders are in flight than planned: waiting for it unstarted would be for ever
		in.start(ctx, s)
	}
	if it, ok := <-s.items; ok {
		return dataset.Chunk{Bytes: it.bucket}, nil
	}
	return dataset.Chunk{}, in.failed(ctx, s, part)
}

// failed says why a stream ended before the bucket of a map partition came.
func (in *reading) failed(ctx context.Context, s *stream, part int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	rest := s.parts
	for len(rest) > 0 && rest[0] < part {
		rest = rest[1:]
	}
	te, ok := errors.AsType[*job.TaskError](s.err)
	switch {
	case ok && te.Fault == job.FetchFault && len(te.MapParts) > 0:
		return fault(&in.fetch, s.holder, te.MapParts, "are not held there")
	case ok && te.Fault == job.FencedFault:
		return te
	case s.err == nil:
		return fault(&in.fetch, s.holder, rest, "did not come: the stream ended early")
	}
	return fault(&in.fetch, s.holder, rest, "did not come: "+s.err.Error())
}
