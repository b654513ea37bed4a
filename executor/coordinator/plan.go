package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// minPlanTime and maxPlanTime bound how long the driver's wait for plans is taken to be; between them it is a batch
	// interval. Sources get a quarter less: then the plans of the others still count.
	minPlanTime = time.Second
	maxPlanTime = 10 * time.Second
	// stuckPatience bounds the wait for the end of an earlier call of the same source.
	stuckPatience = 100 * time.Millisecond
	// maxPlans bounds the plans of one batch in bytes together: they travel in one command.
	maxPlans = 3 * connector.MaxPlanBytes
	// maxBatchBytes is about how much of a direct source one batch reads; what is beyond waits for the next.
	maxBatchBytes = 1 << 30
	// maxPlanText bounds the error of a plan in bytes.
	maxPlanText = 1 << 10
)

var (
	errReplaced = errors.New("another batch is to be planned")
	errStuck    = errors.New("an earlier call of Plan has not returned")
)

// planner plans what an application's batches read of direct streams (rule 12). Its fields are under the coordinator's
// lock, but for calls and positions, which only its worker touches.
type planner struct {
	waiting *job.PlanSources        // nil for none; a newer one takes its place
	current *job.PlanSources        // nil when nothing is planned, or what is has been stopped
	cancel  context.CancelCauseFunc // ends the planning
	answer  *job.SourcesPlanned     // of the order that was planned last
	working bool

	calls     map[id.Stream]chan struct{} // what a call of a source's Plan holds while it lasts
	positions map[id.Stream]*positions
}

// positions are those of a direct stream, as the ledger had them after an allocation.
type positions struct {
	planned uint64
	of      map[string]uint64
}

// drop forgets the orders.
func (p *planner) drop(why error) {
	p.waiting, p.answer = nil, nil
	p.stop(why)
}

// stop ends what is planned.
func (p *planner) stop(why error) {
	if p.current = nil; p.cancel != nil {
		p.cancel(why)
	}
}

// Plan takes the order to plan what a batch reads of direct streams. The answer goes by Config.Planned: again for the
// same order, and none for one that a newer order replaces.
func (c *Coordinator) Plan(o *job.PlanSources) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return
	}
	a := c.in(o.App.ID, o.Office)
	if o.Office < a.office || o.Time <= a.done {
		c.log.Warn("order to plan a batch not taken", "app", o.App.Name, "batch", int64(o.Time), "office", uint64(o.Office),
			"highest_office", uint64(a.office), "completed", int64(a.done))
		return
	}
	p := a.planner
	if p.current != nil && equal(p.current, o) {
		p.waiting = nil
		return
	}
	p.stop(errReplaced)
	p.waiting = o
	if !p.working {
		p.working = true
		c.begin()
		go c.plans(p) // Stop waits for it
	}
}

// equal reports whether two orders ask for the same.
func equal(x, y *job.PlanSources) bool {
	return x.Office == y.Office && x.Time == y.Time && x.Planned == y.Planned
}

// plans plans what is ordered until nothing is.
func (c *Coordinator) plans(p *planner) {
	for {
		ctx, o, answer := c.nextPlan(p)
		if o == nil {
			return
		}
		if answer == nil {
			answer = c.plan(ctx, p, o)
		}
		if answer != nil {
			if err := c.cfg.Planned(ctx, answer); err != nil && ctx.Err() == nil {
				c.log.Warn("plan of a batch not taken", "app", o.App.Name, "batch", int64(o.Time), "error", err)
			}
		}
		c.mu.Lock()
		if answer != nil && ctx.Err() == nil {
			p.answer = answer
		}
		p.stop(nil)
		c.mu.Unlock()
	}
}

// nextPlan takes the order that waits, with the answer if the same was planned last. Without any the worker ends.
func (c *Coordinator) nextPlan(p *planner) (context.Context, *job.PlanSources, *job.SourcesPlanned) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := p.waiting
	if o == nil {
		p.working = false
		c.end()
		return nil, nil, nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	p.waiting, p.current, p.cancel = nil, o, cancel
	if last := p.answer; last != nil && last.Office == o.Office && last.Time == o.Time && last.Planned == o.Planned {
		return ctx, o, last
	}
	return ctx, o, nil
}

// plan asks every direct source of the application; nil when the order was replaced meanwhile.
func (c *Coordinator) plan(ctx context.Context, p *planner, o *job.PlanSources) *job.SourcesPlanned {
	answer := &job.SourcesPlanned{App: o.App.ID, Time: o.Time, Office: o.Office, Planned: o.Planned}
	app, err := c.cfg.Graph(o.App)
	if err != nil { // which streams there are is not known: the batch fails by the same error
		c.log.Error("direct streams are not planned", "app", o.App.Name, "batch", int64(o.Time), "error", err)
		return answer
	}
	streams := directs(app, o)
	results := c.callAll(ctx, app, p, o, streams)
	if ctx.Err() != nil {
		return nil
	}
	left := maxPlans
	for i, s := range streams {
		r := results[i]
		if r.err == nil {
			if left -= r.plan.Size(); left < 0 {
				r.err = fmt.Errorf("the plans of all direct streams have more than %d bytes together", maxPlans)
			}
		}
		one := job.StreamPlan{Stream: s, Plan: r.plan}
		if r.err != nil {
			one = job.StreamPlan{Stream: s, Error: clip(r.err.Error())}
			c.log.Warn("direct stream is not planned", "app", o.App.Name, "stream", int(s), "batch", int64(o.Time), "error", r.err)
		}
		answer.Plans = append(answer.Plans, one)
	}
	return answer
}

// directs lists the direct streams. Each batch begins with another one, so that a limit of all together does not always
// hit the same.
func directs(app dataset.App, o *job.PlanSources) (streams []id.Stream) {
	for _, in := range app.Plan().Inputs {
		if !in.Receiver {
			streams = append(streams, in.Stream)
		}
	}
	if n := len(streams); n > 1 {
		first := int(int64(o.Time) / max(o.App.Spec.BatchMS, 1) % int64(n))
		streams = slices.Concat(streams[first:], streams[:first])
	}
	return streams
}

// planned is what a source answered.
type planned struct {
	plan connector.Plan
	err  error
}

// callAll calls the sources side by side, for as long as they may take.
func (c *Coordinator) callAll(ctx context.Context, app dataset.App, p *planner, o *job.PlanSources, streams []id.Stream) []planned {
	may := min(max(time.Duration(o.App.Spec.BatchMS)*time.Millisecond, minPlanTime), maxPlanTime) * 3 / 4
	ctx, cancel := context.WithTimeout(ctx, may)
	defer cancel()
	results := make([]planned, len(streams))
	answers := make([]chan planned, len(streams))
	for i, s := range streams {
		at, err := c.positions(ctx, p, o, s)
		if err != nil {
			results[i].err = fmt.Errorf("its positions are not known: %w", err)
			continue
		}
		answers[i] = c.call(ctx, app, p.turn(s), o, s, at)
	}
	for i := range streams {
		if answers[i] == nil {
			continue
		}
		late := planned{err: fmt.Errorf("its plan did not come within %v", may)}
		select {
		case results[i] = <-answers[i]:
		case <-ctx.Done():
			select {
			case results[i] = <-answers[i]: // while another one was waited for
			default:
				results[i] = late
			}
		}
		if err := results[i].err; err != nil && !errors.Is(err, errStuck) && ctx.Err() != nil {
			results[i] = late
		}
	}
	return results
}

// positions gives those of a stream, read after the last allocation with a plan.
func (c *Coordinator) positions(ctx context.Context, p *planner, o *job.PlanSources, s id.Stream) (map[string]uint64, error) {
	if at := p.positions[s]; at != nil && at.planned == o.Planned {
		return at.of, nil
	}
	ranges, err := c.cfg.Positions(ctx, o.App.ID, s)
	if err != nil {
		return nil, err
	}
	at := &positions{planned: o.Planned, of: make(map[string]uint64, len(ranges))}
	for _, r := range ranges {
		at.of[r.Partition] = r.Last
	}
	p.positions[s] = at
	return at.of, nil
}

// turn gives what a call of a source's Plan holds.
func (p *planner) turn(s id.Stream) chan struct{} {
	if p.calls[s] == nil {
		p.calls[s] = make(chan struct{}, 1)
	}
	return p.calls[s]
}

// call calls a source's Plan, one call at a time. Stop waits for its end.
func (c *Coordinator) call(
	ctx context.Context, app dataset.App, turn chan struct{}, o *job.PlanSources, s id.Stream, at map[string]uint64,
) chan planned {
	answer := make(chan planned, 1)
	c.mu.Lock()
	c.begin()
	c.mu.Unlock()
	go func() {
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.end()
		}()
		soon, cancel := context.WithTimeout(ctx, stuckPatience)
		defer cancel()
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-soon.Done():
			answer <- planned{err: errStuck}
			return
		}
		var r planned
		te := c.cfg.Guard(ctx, app, func() (err error) {
			d, ok := app.Direct(s)
			if !ok {
				return fmt.Errorf("stream %d has no direct source", s)
			}
			r.plan, err = d.Plan(ctx, connector.PlanRequest{
				Time: o.Time.Time(), Interval: time.Duration(o.App.Spec.BatchMS) * time.Millisecond,
				Position:  func(partition string) uint64 { return at[partition] },
				Positions: maps.All(at), MaxParts: connector.MaxPlanParts, MaxBytes: maxBatchBytes, MaxRecords: limitOf(o, s),
			})
			if err == nil {
				err = check(&r.plan, at)
			}
			return err
		})
		if te != nil {
			r = planned{err: te}
		}
		answer <- r
	}()
	return answer
}

// limitOf is how many records of a stream the batch should have at most, 0 for no limit.
func limitOf(o *job.PlanSources, s id.Stream) int64 {
	for _, l := range o.Limits {
		if l.Stream == s {
			return l.Records
		}
	}
	return 0
}

// check says what is wrong with a plan. What is too long is refused, not cut: only the source can say where to cut.
func check(p *connector.Plan, at map[string]uint64) error {
	switch {
	case len(p.Parts) > connector.MaxPlanParts:
		return fmt.Errorf("its plan has %d parts, at most %d are taken", len(p.Parts), connector.MaxPlanParts)
	case p.Size() > connector.MaxPlanBytes:
		return fmt.Errorf("its plan has %d bytes, at most %d are taken", p.Size(), connector.MaxPlanBytes)
	case len(p.Mark) > connector.MaxMark || len(p.Warning) > connector.MaxMark:
		return fmt.Errorf("its plan has a mark of %d bytes and a warning of %d, at most %d are taken", len(p.Mark), len(p.Warning), connector.MaxMark)
	}
	for _, text := range append([]string{p.Mark, p.Warning}, p.Forget...) {
		if !utf8.ValidString(text) {
			return fmt.Errorf("its plan has the text %q, expected UTF-8", text)
		}
	}
	return checkRanges(p, at)
}

// checkRanges says what is wrong with the parts of a plan. Who lets through what the ledger refuses leaves all direct
// streams of the application without a plan.
func checkRanges(p *connector.Plan, at map[string]uint64) error {
	forgets := make(map[string]bool, len(p.Forget))
	for _, name := range p.Forget {
		forgets[name] = true
	}
	taken := map[string]uint64{}
	for i, part := range p.Parts {
		if part.Records < 0 || part.Records > connector.MaxPartRecords || part.Bytes < 0 || part.Bytes > connector.MaxPartBytes {
			return fmt.Errorf("part %d of its plan has %d records and %d bytes, expected 0 to %d and 0 to %d",
				i, part.Records, part.Bytes, connector.MaxPartRecords, int64(connector.MaxPartBytes))
		}
		for _, r := range part.Ranges {
			from, ok := taken[r.Partition]
			if !ok {
				from = at[r.Partition]
			}
			switch {
			case r.Partition == "" || len(r.Partition) > connector.MaxPartition:
				return fmt.Errorf("part %d of its plan reads a partition with a name of %d bytes, expected 1 to %d", i, len(r.Partition), connector.MaxPartition)
			case !utf8.ValidString(r.Partition):
				return fmt.Errorf("part %d of its plan reads partition %q, expected a name in UTF-8", i, r.Partition)
			case forgets[r.Partition]:
				return fmt.Errorf("part %d of its plan reads and forgets partition %q", i, r.Partition)
			case r.First != from+1 || r.Last < r.First:
				return fmt.Errorf("part %d of its plan takes positions %d to %d of partition %q, expected them from %d on", i, r.First, r.Last, r.Partition, from+1)
			}
			taken[r.Partition] = r.Last
		}
	}
	kept, fresh := len(at), 0
	for name := range taken {
		if at[name] == 0 {
			fresh++
		}
	}
	for name := range forgets {
		if at[name] > 0 {
			kept--
		}
	}
	if fresh > 0 && kept+fresh > connector.MaxPartitions {
		return fmt.Errorf("%d partitions would have a position, expected at most %d", kept+fresh, connector.MaxPartitions)
	}
	return nil
}

func clip(s string) string {
	if len(s) <= maxPlanText {
		return s
	}
	return strings.ToValidUTF8(s[:maxPlanText], "") + "..."
}
