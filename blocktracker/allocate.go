package blocktracker

import (
	"github.com/raftstream/raftstream/internal/id"
)

// OpenQueue makes an application's queue.
func (s *State) OpenQueue(app id.App) { s.PutQueue(&Queue{App: app}) }

// Input is what an allocation or a discard moved.
type Input struct {
	Blocks  int
	Records int64
	Bytes   int64
}

func (i *Input) add(b *Block) {
	i.Blocks++
	i.Records += b.Records
	i.Bytes += b.Bytes
}

// Allocate gives batch at every waiting block in order of arrival, up to MaxBatchBytes and one block at least; what is
// beyond waits for the next batch. The caller calls it once per batch, in order of time. It takes time in proportion to
// the blocks, but changes three records only.
func (s *State) Allocate(app id.App, at id.Time) Input {
	q, ok := s.queues.Get(app)
	if !ok {
		return Input{}
	}
	var in Input
	last := q.Allocated
	for b := range s.run(app, q.Allocated+1, q.Added) {
		if in.Blocks > 0 && in.Bytes+b.Bytes > MaxBatchBytes {
			break
		}
		in.add(b)
		last = b.Seq
	}
	if in.Blocks == 0 {
		return in
	}
	s.spans.Set(&Span{App: app, Time: at, First: q.Allocated + 1, Last: last})
	n := *q
	n.Allocated = last
	n.Records -= in.Records
	n.Bytes -= in.Bytes
	s.queues.Set(app, &n)
	return in
}

// Discard gives up what waits in an application's queue: the blocks are cleaned.
func (s *State) Discard(app id.App) Input {
	q, ok := s.queues.Get(app)
	if !ok {
		return Input{}
	}
	n := *q
	n.Allocated, n.Records, n.Bytes = q.Added, 0, 0
	s.queues.Set(app, &n)
	return s.remove(app, q.Allocated+1, q.Added)
}

// DiscardBatch gives up what a batch was allocated: the blocks are cleaned.
func (s *State) DiscardBatch(app id.App, at id.Time) Input {
	s.dropPlans(app, at, at, false)
	return s.dropSpan(app, at)
}

func (s *State) dropSpan(app id.App, at id.Time) Input {
	sp, ok := s.spans.Delete(&Span{App: app, Time: at})
	if !ok {
		return Input{}
	}
	return s.remove(app, sp.First, sp.Last)
}

// Clean forgets what the batches up to upTo were allocated (Spark: cleanupOldBatches).
func (s *State) Clean(app id.App, upTo id.Time) {
	s.dropPlans(app, minMS, upTo, true)
	for {
		oldest, ok := s.oldest(app, upTo)
		if !ok {
			return
		}
		s.dropSpan(app, oldest)
	}
}

// Cleanable reports whether a batch up to upTo was allocated blocks or a plan that are not cleaned.
func (s *State) Cleanable(app id.App, upTo id.Time) bool {
	_, ok := s.oldest(app, upTo)
	for p := range s.plansFrom(app, minMS) {
		return ok || p.Time <= upTo
	}
	return ok
}

// oldest gives the oldest batch up to upTo that has blocks.
func (s *State) oldest(app id.App, upTo id.Time) (at id.Time, ok bool) {
	s.spans.Ascend(&Span{App: app, Time: minMS}, func(sp *Span) bool {
		if sp.App == app && sp.Time <= upTo {
			at, ok = sp.Time, true
		}
		return false
	})
	return at, ok
}

// Drop forgets everything of an application.
func (s *State) Drop(app id.App) {
	q, ok := s.queues.Delete(app)
	if !ok {
		return
	}
	s.remove(app, 1, q.Added)
	s.moves.Delete(app)
	dropWhile(s.spans, &Span{App: app, Time: minMS}, func(v *Span) bool { return v.App == app })
	dropWhile(s.instances, &Instance{App: app, Stream: minStream}, func(v *Instance) bool { return v.App == app })
	dropWhile(s.plans, &Plan{App: app, Time: minMS, Stream: minStream}, func(v *Plan) bool { return v.App == app })
	dropWhile(s.sources, &Source{App: app, Stream: minStream}, func(v *Source) bool { return v.App == app })
	dropWhile(s.positions, &Position{App: app, Stream: minStream}, func(v *Position) bool { return v.App == app })
	dropWhile(s.ages, &Position{App: app, Stream: minStream, UsedMS: minMS}, func(v *Position) bool { return v.App == app })
	dropWhile(s.tallies, tally{app: app, stream: minStream}, func(v tally) bool { return v.app == app })
}

// remove cleans an application's blocks first to last, and moves on what their instances say is cleaned.
func (s *State) remove(app id.App, first, last uint64) Input {
	var in Input
	var gone []*Block
	for b := range s.run(app, first, last) {
		in.add(b)
		gone = append(gone, b)
	}
	touched := map[instanceKey]bool{}
	for _, b := range gone {
		s.blocks.Delete(b)
		s.arrivals.Delete(b)
		touched[instanceKey{b.ID.Stream, b.ID.Instance}] = true
	}
	for k := range touched {
		s.advance(app, k)
	}
	if q, ok := s.queues.Get(app); ok && in.Blocks > 0 {
		n := *q
		n.Live -= in.Blocks
		s.queues.Set(app, &n)
	}
	return in
}

type instanceKey struct {
	stream   id.Stream
	instance id.Instance
}

// advance sets Cleaned of an instance to just below its first block that is not cleaned.
func (s *State) advance(app id.App, k instanceKey) {
	in, ok := s.Instance(app, k.stream, k.instance)
	if !ok {
		return
	}
	n := *in
	n.Cleaned = in.Last
	from := id.Block{App: app, Stream: k.stream, Instance: k.instance, Number: in.Cleaned + 1}
	s.blocks.Ascend(&Block{ID: from}, func(b *Block) bool {
		if b.ID.App == app && b.ID.Stream == k.stream && b.ID.Instance == k.instance {
			n.Cleaned = b.ID.Number - 1
		}
		return false
	})
	s.instances.Set(&n)
}
