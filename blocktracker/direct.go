package blocktracker

import (
	"cmp"
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// Plan is what a batch was planned to read of a direct stream (rule 12). Immutable.
type Plan struct {
	App    id.App
	Time   id.Time
	Stream id.Stream
	Plan   connector.Plan
}

// Source is what the ledger knows of a direct stream besides positions and plans. Immutable.
type Source struct {
	App     id.App
	Stream  id.Stream
	Mark    string // of the newest plan that is cleaned and has one
	Newest  string // of the newest plan that has one
	Warning string // of the last plan, "" for none
}

// CheckPlan says why a plan cannot be taken for the next batch, nil if it can (rule 12): it keeps its limits, and every
// range starts at its partition's position. ErrLimit: it may be taken later.
func (s *State) CheckPlan(p *Plan) error {
	q, ok := s.queues.Get(p.App)
	switch {
	case !ok:
		return fmt.Errorf("application %d takes no input", p.App)
	case len(p.Plan.Parts) > connector.MaxPlanParts:
		return fmt.Errorf("%d parts, expected at most %d", len(p.Plan.Parts), connector.MaxPlanParts)
	case len(p.Plan.Mark) > connector.MaxMark:
		return fmt.Errorf("mark of %d bytes, expected at most %d", len(p.Plan.Mark), connector.MaxMark)
	case len(p.Plan.Warning) > connector.MaxMark:
		return fmt.Errorf("warning of %d bytes, expected at most %d", len(p.Plan.Warning), connector.MaxMark)
	case p.Plan.Size() > connector.MaxPlanBytes:
		return fmt.Errorf("%d bytes, expected at most %d", p.Plan.Size(), connector.MaxPlanBytes)
	case q.PlanBytes+int64(p.Plan.Size()) > MaxPlannedBytes:
		return fmt.Errorf("%w: plans of %d bytes are not cleaned, expected at most %d", ErrLimit, q.PlanBytes, MaxPlannedBytes)
	}
	for i := range p.Plan.Parts {
		if err := checkPart(&p.Plan.Parts[i]); err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
	}
	return s.checkPlanned(p)
}

// checkPart keeps a part from being more than the ledger can count.
func checkPart(p *connector.Part) error {
	switch {
	case p.Records < 0 || p.Records > connector.MaxPartRecords:
		return fmt.Errorf("%d records, expected 0 to %d", p.Records, connector.MaxPartRecords)
	case p.Bytes < 0 || p.Bytes > connector.MaxPartBytes:
		return fmt.Errorf("%d bytes, expected 0 to %d", p.Bytes, int64(connector.MaxPartBytes))
	}
	for _, g := range p.Ranges {
		switch {
		case g.Partition == "" || len(g.Partition) > MaxPartitionName:
			return fmt.Errorf("partition name of %d bytes, expected 1 to %d", len(g.Partition), MaxPartitionName)
		case g.Last < g.First:
			return fmt.Errorf("partition %q: range %d to %d is empty", g.Partition, g.First, g.Last)
		}
	}
	return nil
}

// checkPlanned is rule 12: a range goes on from the position that the plans before it came to, and that of no partition
// that the plan forgets. Positions of direct streams are forgotten by plans only: to forget one too early would be to
// read its records twice.
func (s *State) checkPlanned(p *Plan) error {
	left := -len(s.forgotten(p))
	gone := make(map[string]bool, len(p.Plan.Forget))
	for _, name := range p.Plan.Forget {
		gone[name] = true
	}
	raised := map[string]uint64{}
	for _, part := range p.Plan.Parts {
		for _, g := range part.Ranges {
			high, seen := raised[g.Partition]
			if gone[g.Partition] {
				return fmt.Errorf("partition %q is read and forgotten", g.Partition)
			}
			if !seen {
				if at, known := s.position(p.App, p.Stream, g.Partition); known {
					high = at.Last
				} else {
					left++
				}
			}
			if g.First != high+1 {
				return &connector.PositionError{Partition: g.Partition, Got: g.First, Want: high + 1}
			}
			raised[g.Partition] = g.Last
		}
	}
	t, _ := s.tallies.Get(tally{app: p.App, stream: p.Stream})
	if left > 0 && t.positions+left > MaxPositions {
		return fmt.Errorf("%d partitions of stream %d would have a position, expected at most %d", t.positions+left, p.Stream,
			MaxPositions)
	}
	return nil
}

// forgotten are the positions that a plan drops: of the partitions that it forgets, but for those that a plan reads which
// is not cleaned. Its batch may have to be run again, and wait for input that has gone: what is put back for it then must
// not be new. Such a partition is to be forgotten by a later plan.
func (s *State) forgotten(p *Plan) map[string]*Position {
	if len(p.Plan.Forget) == 0 {
		return nil
	}
	drop := make(map[string]*Position, len(p.Plan.Forget))
	for _, name := range p.Plan.Forget {
		if at, known := s.position(p.App, p.Stream, name); known {
			drop[name] = at
		}
	}
	for v := range s.plansFrom(p.App, minMS) {
		if v.Stream != p.Stream {
			continue
		}
		for _, part := range v.Plan.Parts {
			for _, g := range part.Ranges {
				delete(drop, g.Partition)
			}
		}
	}
	return drop
}

// TakePlan gives a batch what CheckPlan let through. Moved reports whether a position has changed.
func (s *State) TakePlan(p *Plan, nowMS int64) (in Input, moved bool) {
	for _, at := range s.forgotten(p) { // in any order: the result is the same
		s.dropPosition(at)
		moved = true
	}
	for _, part := range p.Plan.Parts {
		in.Blocks++
		in.Records += part.Records
		in.Bytes += part.Bytes
		for _, g := range part.Ranges {
			s.setPosition(p.App, p.Stream, g.Partition, g.Last, nowMS)
			moved = true
		}
	}
	was := s.Source(p.App, p.Stream)
	now := was
	now.Newest, now.Warning = cmp.Or(p.Plan.Mark, was.Newest), p.Plan.Warning
	if now != was {
		s.PutSource(&now)
	}
	if in.Blocks == 0 && now.Newest == was.Newest {
		return in, moved // nothing to read, nothing new that may be removed: it need not be kept
	}
	v := *p
	v.Plan.Forget, v.Plan.Warning = nil, "" // they are done with
	s.PutPlan(&v)
	s.weigh(p.App, int64(v.Plan.Size()))
	return in, moved
}

// weigh adds to the bytes of an application's plans.
func (s *State) weigh(app id.App, bytes int64) {
	if q, ok := s.queues.Get(app); ok {
		n := *q
		n.PlanBytes += bytes
		s.queues.Set(app, &n)
	}
}

// Source gives what is known of a direct stream.
func (s *State) Source(app id.App, stream id.Stream) Source {
	if v, ok := s.sources.Get(&Source{App: app, Stream: stream}); ok {
		return *v
	}
	return Source{App: app, Stream: stream}
}

// dropPlans forgets what the batches first to last were planned to read. If they are cleaned, their sources' marks move
// on.
func (s *State) dropPlans(app id.App, first, last id.Time, cleaned bool) {
	var drop []*Plan
	for p := range s.plansFrom(app, first) {
		if p.Time > last {
			break
		}
		drop = append(drop, p)
	}
	for _, p := range drop {
		s.plans.Delete(p)
		s.weigh(app, -int64(p.Plan.Size()))
		if cleaned && p.Plan.Mark != "" {
			v := s.Source(app, p.Stream)
			v.Mark = p.Plan.Mark
			s.PutSource(&v)
		}
	}
}

// plansFrom lists an application's plans in order of time, from a time on.
func (s *State) plansFrom(app id.App, at id.Time) iter.Seq[*Plan] {
	return func(yield func(*Plan) bool) {
		s.plans.Ascend(&Plan{App: app, Time: at, Stream: minStream}, func(p *Plan) bool { return p.App == app && yield(p) })
	}
}

// Plan gives what a batch was planned to read of a direct stream; none when it is cleaned.
func (s *State) Plan(app id.App, at id.Time, stream id.Stream) (*Plan, bool) {
	return s.plans.Get(&Plan{App: app, Time: at, Stream: stream})
}

// Plans lists the plans that are not cleaned, by application, time and stream.
func (s *State) Plans() iter.Seq[*Plan] { return s.plans.Scan }

// Sources lists what is known of direct streams, by application and stream.
func (s *State) Sources() iter.Seq[*Source] { return s.sources.Scan }

// PutPlan puts a new or restored plan.
func (s *State) PutPlan(p *Plan) { s.plans.Set(p) }

// PutSource puts a new, changed or restored source.
func (s *State) PutSource(v *Source) { s.sources.Set(v) }
