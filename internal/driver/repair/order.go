package repair

import (
	"cmp"
	"slices"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

// order has copied what the last sweep found, as far as executors have room for it.
func (t *turn) order(v fsm.View, now time.Time) (again time.Duration) {
	orders := make(map[uint64]*job.CopyBlocks) // by number of the connection
	for len(t.found) > 0 {
		n := t.found[len(t.found)-1]
		if !t.copy(v, n, now, orders) {
			break
		}
		t.found = t.found[:len(t.found)-1]
	}
	for _, p := range t.places {
		if o, ok := orders[p.connection]; ok {
			if c, ok := t.conns.Of(p.session); ok && c.Number() == p.connection {
				c.Send(o) // a connection that is gone is seen by settle
			}
		}
	}
	again = t.copies.next(now)
	if len(t.found) > 0 {
		again = min(again, driver.Soon)
	}
	return again
}

// copy puts one block into the orders of as many executors as it lacks copies. False: those that do not have it have no
// room at present. What nobody can do is passed over: another sweep finds it when that changes.
func (t *turn) copy(v fsm.View, n id.Block, now time.Time, orders map[uint64]*job.CopyBlocks) bool {
	stores, b, known := copiesOf(v, n)
	a, ok := v.App(n.App)
	if !known || !ok || !a.Live() {
		return true
	}
	for _, s := range stores {
		if t.open[s] {
			b.Stores = append(b.Stores, s)
		}
	}
	lacks := min(a.Factor, len(t.open)) - len(b.Stores) - t.copies.ordered(n)
	if len(b.Stores) == 0 || lacks <= 0 {
		return true
	}
	able := t.able(n, stores)
	slices.SortStableFunc(able, func(x, y place) int { return cmp.Compare(t.copies.at(x), t.copies.at(y)) })
	added := len(able) == 0
	for _, p := range able {
		if lacks == 0 || t.busy(p) || !t.copies.add(p, &b, now) {
			continue
		}
		added = true
		lacks--
		o := orders[p.connection]
		if o == nil {
			o = &job.CopyBlocks{Epoch: t.epoch}
			orders[p.connection] = o
		}
		o.Blocks = append(o.Blocks, b)
	}
	return added
}

// busy reports whether an executor takes no more orders at present.
func (t *turn) busy(p place) bool {
	c, ok := t.conns.Of(p.session)
	return !ok || c.Number() != p.connection || driver.Busy(c)
}

// able lists the connected executors that neither have a block nor are told to copy it.
func (t *turn) able(n id.Block, stores []id.Store) (able []place) {
	for _, p := range t.places {
		if p.connection == 0 || slices.Contains(stores, p.store) {
			continue
		}
		if l, ok := t.copies.to[p.session]; ok {
			if _, ordered := l.blocks[n]; ordered {
				continue
			}
		}
		able = append(able, p)
	}
	return able
}
