package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
)

// The model's commands on one application.

func (m *model) stopped(a *mApp, c *ApplicationStopped) Result {
	if a.state == Stopped || !c.Now && a.draining {
		return m.done(a.stopped)
	}
	if !c.Now && a.state == Failed {
		return mRefused
	}
	a.draining = true
	if a.stopped == 0 {
		a.stopped = m.index
	}
	if !c.Now {
		a.state = Stopping
		return m.done()
	}
	for _, in := range a.instances {
		in.closed = true
	}
	keep := a.completed()
	if p := a.pending(); len(p) > 0 && p[0].failed == 0 && !a.office().ended {
		keep = p[0].at
	}
	for _, b := range a.blocks {
		if b.batch == 0 || b.batch > keep {
			b.batch = -1
			a.discarded += b.b.Records
		}
	}
	a.dropPlans(keep)
	for _, b := range a.pending() {
		b.forgotten = b.at > keep
	}
	a.state, a.last, a.atOnce = Stopping, true, true
	return m.done(a.stopped)
}

func (m *model) ended(a *mApp) Result {
	if a.state == Stopped {
		return m.done(a.ended)
	}
	for _, in := range a.instances {
		if !in.closed {
			return mRefused
		}
	}
	if a.state != Stopping || !a.last || len(a.pending()) > 0 {
		return mRefused
	}
	a.state, a.ended, a.cleaned = Stopped, m.index, a.completed()
	a.instances, a.chain = nil, nil
	for i := range a.offices {
		a.offices[i].ended = true
	}
	return m.done()
}

func (m *model) resumed(a *mApp, c *ApplicationResumed) Result {
	if c.Prev != a.resumed && c.Prev == a.prev && c.AcceptLoss == a.loss {
		return m.done(a.resumed)
	}
	waits := c.AcceptLoss && !a.acceptLoss && len(a.pending()) > 0
	if c.Prev != a.resumed || a.state != Failed && !waits {
		return mRefused
	}
	a.resumed, a.prev, a.loss, a.acceptLoss = m.index, a.resumed, c.AcceptLoss, c.AcceptLoss
	if a.state == Failed {
		a.state = Running
		if a.draining {
			a.state = Stopping
		}
	}
	for _, b := range a.pending() {
		b.failed = 0
	}
	return m.done()
}

func (m *model) scheduled(a *mApp, c *ReceiverScheduled) Result {
	if n := len(a.instances); n > 0 {
		last := a.instances[n-1]
		if last.prev == c.Prev && last.session == c.Session && last.id != c.Prev {
			return m.done(uint64(last.id))
		}
	}
	if a.draining || !m.open(c.Session) || a.current() != c.Prev || c.Prev == id.Instance(m.index) {
		return mRefused
	}
	a.instances = append(a.instances, &mInstance{id: id.Instance(m.index), prev: c.Prev, session: c.Session})
	return m.done()
}

func (m *model) registered(a *mApp, c *ReceiverRegistered) Result {
	in := a.instance(c.Instance)
	if in == nil || in.session != c.Session || in.closed || in.id != a.current() {
		return mRefused
	}
	if in.registered != 0 {
		return m.done(in.registered)
	}
	if a.draining {
		return mRefused
	}
	in.registered = m.index
	return m.done()
}

func (m *model) deregistered(a *mApp, c *ReceiverDeregistered) Result {
	in := a.instance(c.Instance)
	if in == nil {
		return mRefused
	}
	in.closed = true
	return m.done()
}

func (m *model) allocated(a *mApp, c *BlocksAllocated) Result {
	if c.To < c.From {
		return mRefused
	}
	if c.From > mZero && c.To <= a.allocated() {
		return m.done(a.batch(c.From).index)
	}
	if c.From != a.allocated()+1000 || a.state == Failed || a.last {
		return mRefused
	}
	if c.Last {
		if !a.draining || c.From != c.To {
			return mRefused
		}
		for _, in := range a.instances {
			if !in.closed {
				return mRefused
			}
		}
	}
	if !a.plan(c) {
		return mRefused
	}
	for at := c.From; at <= c.To; at += 1000 {
		a.batches = append(a.batches, &mBatch{at: at, index: m.index})
	}
	for _, b := range a.blocks {
		if b.batch == 0 {
			b.batch = c.From
		}
	}
	a.last = c.Last
	return m.done()
}

func (m *model) assigned(a *mApp, c *CoordinatorAssigned) Result {
	o := a.office()
	if o.id != 0 && o.id != c.Prev && o.prev == c.Prev && o.session == c.Session && !o.ended {
		return m.done(uint64(o.id))
	}
	if o.id != c.Prev || o.id == id.Office(m.index) || !m.open(c.Session) {
		return mRefused
	}
	if a.lasts == nil {
		a.lasts = map[id.Office]uint64{}
	}
	a.lasts[id.Office(m.index)] = 0
	a.offices = append(a.offices, mOffice{id: id.Office(m.index), prev: c.Prev, session: c.Session})
	return m.done()
}

// mayReport is what completions and failures have in common.
func (a *mApp) mayReport(at id.Time, office id.Office, attempt id.Attempt) *mBatch {
	b := a.batch(at)
	if b == nil || b.done != 0 || a.office().ended || office != a.office().id || attempt != a.attempt(b) {
		return nil
	}
	return b
}

func (m *model) completed(a *mApp, c *BatchCompleted) Result {
	if b := a.batch(c.Time); b != nil && b.done != 0 && b.by.Office == c.Office && b.by.Attempt == c.Attempt {
		return m.done(b.done)
	}
	b := a.mayReport(c.Time, c.Office, c.Attempt)
	if b == nil || b.failed != 0 || b != a.pending()[0] || c.Lost > 0 && (!a.acceptLoss || c.Lost > a.records(c.Time)) ||
		len(c.LostBlocks) > 0 && !a.acceptLoss || !a.lose(c) {
		return mRefused
	}
	b.done, b.by = m.index, *c
	a.discarded += c.Lost
	a.acceptLoss = false
	return m.done()
}

func (m *model) failed(a *mApp, c *BatchFailed) Result {
	if b := a.batch(c.Time); b != nil && b.done == 0 && b.failed != 0 && b.by.Office == c.Office && b.by.Attempt == c.Attempt {
		return m.done(b.failed)
	}
	b := a.mayReport(c.Time, c.Office, c.Attempt)
	if b == nil {
		return mRefused
	}
	if a.atOnce {
		for _, x := range a.blocks {
			if x.batch >= b.at {
				x.batch = -1
				a.discarded += x.b.Records
			}
		}
		a.dropPlans(b.at - 1)
		b.forgotten = true
		return m.done()
	}
	b.failed, b.by = m.index, BatchCompleted{Office: c.Office, Attempt: c.Attempt}
	a.state = Failed
	return m.done()
}

func (m *model) cleaned(a *mApp, c *BatchesCleaned) Result {
	if c.UpTo <= a.cleaned || a.state == Stopped {
		return m.done()
	}
	if c.UpTo > a.completed()-1000 || a.keyed && c.UpTo > a.checkpointed() {
		return mRefused
	}
	a.cleaned = c.UpTo
	for _, p := range a.plans {
		if p.at <= a.cleaned && p.kept {
			p.kept = false
		}
	}
	return m.done()
}
