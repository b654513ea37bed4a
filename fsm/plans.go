package fsm

import (
	"errors"
	"fmt"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// checkPlans says why the plans of an allocation cannot be taken: all of them or none are (rule 12).
func (t *tx) checkPlans(a *App, c *BlocksAllocated) error {
	seen := map[id.Stream]bool{}
	for i := range c.Direct {
		p := &c.Direct[i]
		if seen[p.Stream] {
			return fmt.Errorf("stream %d is planned twice", p.Stream)
		}
		seen[p.Stream] = true
		if !a.isDirect(p.Stream) {
			return fmt.Errorf("stream %d is not a direct input", p.Stream)
		}
		if err := t.blocks.CheckPlan(&blocktracker.Plan{App: a.ID, Time: c.From, Stream: p.Stream, Plan: p.Plan}); err != nil {
			return fmt.Errorf("plan of stream %d: %w", p.Stream, err)
		}
	}
	return nil
}

// refusePlans answers an allocation whose plans cannot be taken.
func (t *tx) refusePlans(a *App, c *BlocksAllocated, err error) Result {
	if errors.Is(err, blocktracker.ErrLimit) {
		return limited("application %d (%s), batch %d: %v", a.ID, a.Name, c.From, err)
	}
	t.warn(c.NowMS, a, EventPlanRefused, "batch %d: %v", c.From, err)
	return refuse("application %d (%s), batch %d: %v", a.ID, a.Name, c.From, err)
}

// takePlans gives batch From what it was planned to read.
func (t *tx) takePlans(a *App, c *BlocksAllocated) (in blocktracker.Input, moved bool) {
	for i := range c.Direct {
		p := &c.Direct[i]
		if p.Plan.Warning != "" && p.Plan.Warning != t.blocks.Source(a.ID, p.Stream).Warning {
			t.warn(c.NowMS, a, EventSourceWarning, "stream %d: %s", p.Stream, text(p.Plan.Warning))
		}
		got, m := t.blocks.TakePlan(&blocktracker.Plan{App: a.ID, Time: c.From, Stream: p.Stream, Plan: p.Plan}, c.NowMS)
		in.Blocks += got.Blocks
		in.Records += got.Records
		in.Bytes += got.Bytes
		moved = moved || m
	}
	return in, moved
}

// isDirect tells whether tasks read an input stream directly, without a receiver.
func (a *App) isDirect(s id.Stream) bool {
	for i := range a.Inputs {
		if a.Inputs[i].Stream == s {
			return !a.Inputs[i].Receiver
		}
	}
	return false
}

func planToPB(p connector.Plan) *ledgerpb.Plan {
	m := &ledgerpb.Plan{Mark: []byte(p.Mark), Warning: []byte(p.Warning)}
	for _, part := range p.Parts {
		m.Parts = append(m.Parts, &ledgerpb.PlanPart{
			Data: part.Data, Records: part.Records, Bytes: part.Bytes, Ranges: rangesToPB(part.Ranges),
		})
	}
	for _, name := range p.Forget {
		m.Forget = append(m.Forget, []byte(name))
	}
	return m
}

func planFromPB(m *ledgerpb.Plan) connector.Plan {
	p := connector.Plan{Mark: string(m.GetMark()), Warning: string(m.GetWarning())}
	for _, part := range m.GetParts() {
		p.Parts = append(p.Parts, connector.Part{
			Data: part.GetData(), Records: part.GetRecords(), Bytes: part.GetBytes(), Ranges: rangesFromPB(part.GetRanges()),
		})
	}
	for _, name := range m.GetForget() {
		p.Forget = append(p.Forget, string(name))
	}
	return p
}

func plansToPB(plans []StreamPlan) (out []*ledgerpb.StreamPlan) {
	for _, p := range plans {
		out = append(out, &ledgerpb.StreamPlan{Stream: int32(p.Stream), Plan: planToPB(p.Plan)})
	}
	return out
}

func plansFromPB(plans []*ledgerpb.StreamPlan) (out []StreamPlan) {
	for _, p := range plans {
		out = append(out, StreamPlan{Stream: id.Stream(p.GetStream()), Plan: planFromPB(p.GetPlan())})
	}
	return out
}
