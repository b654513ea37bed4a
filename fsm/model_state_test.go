package fsm

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// The model's share in keyed state and direct streams.

const (
	mState  = 1 // stream with keyed state, of two partitions, of applications named "a"
	mDirect = 2 // their direct stream
)

func mSubmission(name string) *ApplicationSubmitted {
	c := submission(name)
	if name == "a" {
		c.States = []StateStream{{Stream: mState, SlideMS: 1000, Partitions: 2}}
		c.Inputs = append(c.Inputs, InputStream{Stream: mDirect, Source: "files"})
	}
	return c
}

// mPlan is a plan of the direct stream.
type mPlan struct {
	at      id.Time
	plan    connector.Plan
	kept    bool
	dropped bool // given up by stop --now
	forgets []string
}

// reads tells whether a part of the plan is of the partition.
func (p *mPlan) reads(partition string) bool {
	for _, part := range p.plan.Parts {
		if slices.ContainsFunc(part.Ranges, func(r connector.Range) bool { return r.Partition == partition }) {
			return true
		}
	}
	return false
}

func (p *mPlan) records() (n int64) {
	for _, part := range p.plan.Parts {
		n += part.Records
	}
	return n
}

// mLink is a committed checkpoint; the first one is full.
type mLink struct {
	c     StateCheckpointed
	index uint64
}

// planned gives the position of a partition of the direct stream.
func (a *mApp) planned(partition string) (last uint64) {
	for _, p := range a.plans {
		if slices.Contains(p.forgets, partition) {
			last = 0
		}
		for _, part := range p.plan.Parts {
			for _, r := range part.Ranges {
				if r.Partition == partition {
					last = r.Last
				}
			}
		}
	}
	return last
}

// mark gives the mark that was planned last, and with cleaned the one that is cleaned.
func (a *mApp) mark(cleaned bool) (mark string) {
	for _, p := range a.plans {
		if p.plan.Mark != "" && (!cleaned || !p.dropped && p.at <= a.cleaned) {
			mark = p.plan.Mark
		}
	}
	return mark
}

// plan is rule 12.
func (a *mApp) plan(c *BlocksAllocated) bool {
	if len(c.Direct) == 0 {
		return true
	}
	if !a.keyed {
		return false // it has no direct stream
	}
	p := c.Direct[0].Plan
	high := map[string]uint64{}
	for _, part := range p.Parts {
		for _, r := range part.Ranges {
			was, seen := high[r.Partition]
			if !seen {
				was = a.planned(r.Partition)
			}
			if r.First != was+1 || slices.Contains(p.Forget, r.Partition) {
				return false
			}
			high[r.Partition] = r.Last
		}
	}
	kept := len(p.Parts) > 0 || p.Mark != "" && p.Mark != a.mark(false)
	needed := func(name string) bool {
		return slices.ContainsFunc(a.plans, func(p *mPlan) bool { return p.at > a.cleaned && !p.dropped && p.reads(name) })
	}
	a.plans = append(a.plans, &mPlan{at: c.From, plan: p, kept: kept, forgets: slices.DeleteFunc(slices.Clone(p.Forget), needed)})
	return true
}

func (a *mApp) dropPlans(keep id.Time) {
	for _, p := range a.plans {
		if p.at > keep && !p.dropped {
			p.dropped = true
			a.discarded += p.records()
		}
	}
}

// lose gives up the blocks that a completion names.
func (a *mApp) lose(c *BatchCompleted) bool {
	var lost []*mBlock
	for _, n := range c.LostBlocks {
		i := slices.IndexFunc(a.blocks, func(b *mBlock) bool { return b.b.ID == n })
		if i < 0 || a.blocks[i].batch <= a.cleaned || a.blocks[i].batch > c.Time {
			return false
		}
		lost = append(lost, a.blocks[i])
	}
	for _, b := range lost {
		b.lost = true
	}
	return true
}

func (a *mApp) checkpointed() id.Time {
	if len(a.chain) == 0 {
		return mZero
	}
	return a.chain[len(a.chain)-1].c.Time
}

func (a *mApp) piece(n id.Block) *CheckpointPiece {
	for _, l := range a.chain {
		for i := range l.c.Pieces {
			if l.c.Pieces[i].ID == n {
				return &l.c.Pieces[i]
			}
		}
	}
	return nil
}

// pieceGone tells whether a piece is not and never will be in the ledger.
func (a *mApp) pieceGone(n id.Block) bool {
	if !a.keyed || a.piece(n) != nil {
		return false
	}
	office := id.Office(n.Instance)
	last, known := a.lasts[office]
	return known && n.Number <= last || office < a.office().id || office == a.office().id && a.office().ended
}

// checkpointed is rules 5 and 7.
func (m *model) checkpointed(a *mApp, c *StateCheckpointed) Result {
	if n := len(a.chain); n > 0 {
		last := a.chain[n-1]
		if last.c.Time == c.Time && last.c.Office == c.Office && last.c.Attempt == c.Attempt && samePieces(last.c.Pieces, c.Pieces) {
			return m.done(last.index)
		}
	}
	b := a.batch(c.Time)
	o := a.office()
	if !a.keyed || o.ended || c.Office != o.id || b == nil || b.done == 0 || b.by.Attempt != c.Attempt ||
		c.Time <= a.checkpointed() && len(a.chain) > 0 ||
		!c.Full && (len(a.chain) == 0 || c.Since != a.checkpointed()) {
		return mRefused
	}
	open := m.openStores()
	number := map[int]uint64{}
	for _, p := range c.Pieces {
		held := 0
		for _, s := range p.Stores {
			if slices.Contains(open, s) {
				held++
			}
		}
		if held < min(2, len(open)) || p.Part > 1 || p.ID.Number <= max(a.lasts[c.Office], number[p.Part]) {
			return mRefused
		}
		number[p.Part] = p.ID.Number
	}
	if c.Full {
		a.chain = nil
	}
	l := &mLink{c: *c, index: m.index}
	l.c.Pieces = slices.Clone(c.Pieces)
	a.chain = append(a.chain, l)
	for _, p := range c.Pieces {
		a.lasts[c.Office] = max(a.lasts[c.Office], p.ID.Number)
	}
	return m.done()
}

func samePieces(a, b []CheckpointPiece) bool {
	return slices.EqualFunc(a, b, func(x, y CheckpointPiece) bool { return x.ID == y.ID && x.Part == y.Part })
}

func (m *model) copied(c *BlocksCopied) Result {
	if !m.open(c.Session) {
		return mRefused
	}
	i := slices.IndexFunc(m.sessions, func(s mSession) bool { return s.id == c.Session })
	store := m.sessions[i].s.Store
	for _, n := range c.Blocks {
		a := m.app(n.App)
		if a == nil {
			continue
		}
		if p := a.piece(n); p != nil && !slices.Contains(p.Stores, store) {
			p.Stores = append(slices.Clone(p.Stores), store)
		}
		for _, b := range a.blocks {
			if b.b.ID == n && !slices.Contains(b.b.Stores, store) {
				b.b.Stores = append(slices.Clone(b.b.Stores), store)
			}
		}
	}
	return m.done()
}

// compareState compares checkpoints, plans and what must have copies. Rule 7: what executors hear of pieces never frees
// one of the chain.
func (w *world) compareState(t *rapid.T, v View, a *mApp) {
	var got, want []string
	for p := range v.Pieces(a.id) {
		got = append(got, fmt.Sprint(p.ID, p.Link, p.Part, p.Stores))
		for in := range v.PieceInstances(a.id) {
			if in.ID == p.ID.Instance && (p.ID.Number <= in.Cleaned || in.Closed && p.ID.Number > in.Last) {
				t.Fatalf("piece %v of the chain is not needed, says %+v", p.ID, *in)
			}
		}
	}
	for i, l := range a.chain {
		for part := range 2 {
			for _, p := range l.c.Pieces {
				if p.Part == part {
					want = append(want, fmt.Sprint(p.ID, i, p.Part, p.Stores))
				}
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("chain %v, expected %v", got, want)
	}
	if c, ok := v.Checkpoint(a.id); ok != (len(a.chain) > 0) || ok && (c.Time != a.checkpointed() || c.Links != len(a.chain)) {
		t.Fatalf("checkpoint %+v, expected one of %d with %d links", c, a.checkpointed(), len(a.chain))
	}
	var keep, kept []string
	for _, b := range a.blocks {
		if !b.lost && a.state != Stopped && (b.batch == 0 || b.batch > a.cleaned) {
			keep = append(keep, fmt.Sprint(b.b.ID))
		}
	}
	for b := range v.Kept(a.id, 0) {
		kept = append(kept, fmt.Sprint(b.ID))
	}
	if !slices.Equal(kept, keep) {
		t.Fatalf("blocks %v may be read, expected %v", kept, keep)
	}
	w.comparePlans(t, v, a)
}

func (w *world) comparePlans(t *rapid.T, v View, a *mApp) {
	if a.state == Stopped {
		return
	}
	for _, p := range a.plans {
		got, ok := v.Direct(a.id, p.at, mDirect)
		if want := p.kept && !p.dropped; ok != want || ok && len(got.Parts) != len(p.plan.Parts) {
			t.Fatalf("plan of batch %d: %+v %t, expected %+v, kept %t", p.at, got, ok, p.plan, want)
		}
	}
	if got, want := v.Mark(a.id, mDirect), a.mark(true); got != want {
		t.Fatalf("mark %q, expected %q", got, want)
	}
	for p, last := range v.Positions(a.id, mDirect) {
		if last != a.planned(p) {
			t.Fatalf("position of %q of the direct stream is %d, expected %d", p, last, a.planned(p))
		}
	}
}

func (w *world) drawPlans(t *rapid.T, v View, a *App) []StreamPlan {
	if rapid.IntRange(0, 2).Draw(t, "planned") == 0 || len(a.States) == 0 && rapid.IntRange(0, 9).Draw(t, "foreign") > 0 {
		return nil
	}
	high := map[string]uint64{}
	for p, last := range v.Positions(a.ID, mDirect) {
		high[p] = last
	}
	var p connector.Plan
	for i := range rapid.IntRange(0, 2).Draw(t, "parts") {
		name := rapid.SampledFrom([]string{"f", "g"}).Draw(t, "partition")
		first := high[name] + rapid.SampledFrom([]uint64{1, 1, 1, 1, 1, 1, 1, 2, 0}).Draw(t, "first")
		high[name] = first + 1
		p.Parts = append(p.Parts, connector.Part{
			Data: []byte{byte(i)}, Records: 3, Bytes: 30, Ranges: []connector.Range{{Partition: name, First: first, Last: first + 1}},
		})
	}
	if rapid.IntRange(0, 3).Draw(t, "forget") == 3 {
		p.Forget = []string{rapid.SampledFrom([]string{"f", "g", "h"}).Draw(t, "forgotten")}
	}
	p.Mark = rapid.SampledFrom([]string{"", "m", "n"}).Draw(t, "mark")
	return []StreamPlan{{Stream: mDirect, Plan: p}}
}

func (w *world) drawLost(t *rapid.T, v View, a *App, at id.Time) (lost []id.Block) {
	if !a.AcceptLoss && rapid.IntRange(0, 19).Draw(t, "lose") > 0 {
		return nil
	}
	for _, b := range v.Input(a.ID, at, 0) {
		if rapid.Bool().Draw(t, "lost block") {
			lost = append(lost, b.ID)
		}
	}
	return lost
}

// drawCheckpoint makes one of the last completed batch, or nearly so.
func (w *world) drawCheckpoint(t *rapid.T, v View, a *App) Command {
	c := &StateCheckpointed{
		App: a.ID, Office: a.Office, Full: rapid.IntRange(0, 2).Draw(t, "full") == 0,
		Time: a.Interval(a.Completed, rapid.SampledFrom([]int64{0, 0, 0, 0, 0, -1, 1}).Draw(t, "at")),
	}
	if b, ok := v.Batch(a.ID, c.Time); ok {
		c.Attempt = b.Attempt
	}
	if cp, ok := v.Checkpoint(a.ID); ok {
		c.Since = a.Interval(cp.Time, rapid.SampledFrom([]int64{0, 0, 0, 0, 0, 0, -1}).Draw(t, "since"))
	}
	if rapid.IntRange(0, 9).Draw(t, "wrong attempt") == 9 {
		c.Attempt++
	}
	last := uint64(0)
	for in := range v.PieceInstances(a.ID) {
		if in.ID == id.Instance(a.Office) {
			last = in.Last
		}
	}
	parts := rapid.SampledFrom([][]int{{}, {0}, {1}, {0, 1}, {0, 0, 1}, {0, 1}, {0, 1}, {2}}).Draw(t, "pieces of")
	last += rapid.SampledFrom([]uint64{1, 1, 1, 1, 1, 4, 0}).Draw(t, "number")
	for i, part := range parts {
		c.Pieces = append(c.Pieces, CheckpointPiece{
			ID:     id.Block{App: a.ID, Stream: mState, Instance: id.Instance(a.Office), Number: last + uint64(i)},
			Stream: mState, Part: part, Rows: 1, Bytes: 10,
			Stores: []id.Store{"A", "B", "C"}[:rapid.SampledFrom([]int{3, 3, 2, 2, 1}).Draw(t, "stores")],
		})
	}
	return c
}

// drawPieces names some of the pieces of the chain, and one that is committed by nobody yet.
func (w *world) drawPieces(t *rapid.T, a *mApp) (out []id.Block) {
	for _, l := range a.chain {
		for _, p := range l.c.Pieces {
			if rapid.IntRange(0, 2).Draw(t, "held piece") > 0 {
				out = append(out, p.ID)
			}
		}
	}
	for _, o := range a.offices {
		if rapid.IntRange(0, 3).Draw(t, "orphan") == 3 {
			out = append(out, id.Block{App: a.id, Stream: mState, Instance: id.Instance(o.id), Number: a.lasts[o.id] + 1})
		}
	}
	return out
}
