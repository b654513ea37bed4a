package jobgen

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// planned is a real ledger whose allocations are what the planner says is due, made under the clocks of two nodes that
// lead in turn.
type planned struct {
	t       *rapid.T
	m       *fsm.Machine
	log     [][]byte
	clocks  [2]*Clock
	leads   int
	term    uint64
	session id.Session
	app     id.App
	mono    time.Duration
	wall    [2]int64 // of each node, Unix milliseconds
	next    id.Time  // batch time that nothing was allocated for
	made    []fsm.Command
	batches int
}

// Invariant 3: the ledger takes every allocation that the planner makes of its newest view, none leaves out or repeats a
// batch time, and none is ahead of the time that the planner was told; whatever proposals are lost, repeated or late,
// whoever leads, whatever the clocks say and wherever a node starts again.
func TestLedgerTakesWhatThePlannerMakes(t *testing.T) {
	batches := 0
	rapid.Check(t, func(t *rapid.T) {
		p := start(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			p.step()
			p.observe()
		}
		p.stop()
		batches += p.batches
	})
	if batches == 0 {
		t.Error("no batch was allocated")
	}
}

func start(t *rapid.T) *planned {
	p := &planned{t: t, m: fsm.New(), mono: time.Hour, wall: [2]int64{1_000_500, 1_000_500}}
	p.clocks = [2]*Clock{NewClock("0", 0), NewClock("1", 0)}
	p.lead(0)
	p.apply(&fsm.SessionOpened{Store: "A", Generation: 1, NowMS: p.wall[0]})
	p.session = id.Session(len(p.log))
	p.apply(&fsm.ApplicationSubmitted{
		Name: "a", Program: "p", BatchMS: 1000, BlockMS: 200, Partitions: 1, Factor: 1, NowMS: p.wall[0],
		Inputs: []fsm.InputStream{{Stream: 1, Receiver: true}},
	})
	p.app, p.next = id.App(len(p.log)), 1_001_000
	p.observe()
	return p
}

func (p *planned) step() {
	t := p.t
	switch rapid.SampledFrom([]string{"pass", "pass", "pass", "plan", "plan", "plan", "lost", "late", "jump", "lead", "restart", "run"}).Draw(t, "step") {
	case "pass":
		ms := rapid.Int64Range(1, 4000).Draw(t, "ms")
		p.mono += time.Duration(ms) * time.Millisecond
		p.wall[0] += ms
		p.wall[1] += ms
	case "plan":
		p.plan(true)
	case "lost": // the proposal is not made, or not committed
		p.plan(false)
	case "late": // one that was made before is committed again, or only now
		if len(p.made) > 0 {
			c := rapid.SampledFrom(p.made).Draw(t, "late").(*fsm.BlocksAllocated)
			r := p.apply(c)
			if took := c.To >= p.next; (r.Outcome == fsm.Done) != (c.From == p.next || !took) {
				t.Fatalf("%+v came late and is answered %+v, expected batches from %d", *c, r, p.next)
			} else if r.Outcome == fsm.Done && took {
				p.allocated(c)
			}
		}
	case "jump":
		p.wall[rapid.IntRange(0, 1).Draw(t, "node")] += rapid.Int64Range(-5_000_000, 5_000_000).Draw(t, "by")
	case "lead":
		p.lead(1 - p.leads)
	case "restart": // a node applies its whole log again, at a time that it does not know
		node := rapid.IntRange(0, 1).Draw(t, "node")
		p.clocks[node] = NewClock(string(rune('0'+node)), uint64(len(p.log)))
	case "run":
		p.complete()
	}
}

func (p *planned) lead(node int) {
	p.leads = node
	p.term++
	p.apply(&fsm.Epoch{Term: p.term, Leader: string(rune('0' + node))})
}

func (p *planned) apply(c fsm.Command) fsm.Result {
	data, err := fsm.Encode(p.term, c)
	if err != nil {
		p.t.Fatal(err)
	}
	p.log = append(p.log, data)
	r, err := p.m.Apply(uint64(len(p.log)), data)
	if err != nil {
		p.t.Fatal(err)
	}
	return r[0]
}

func (p *planned) reading(node int) Reading {
	return Reading{Mono: p.mono, Wall: time.UnixMilli(p.wall[node])}
}

func (p *planned) observe() {
	for node, c := range p.clocks {
		c.Observe(p.m.View(), p.reading(node))
	}
	if err := p.m.Check(); err != nil {
		p.t.Fatal(err)
	}
}

// plan makes what is due at the leader, and has the ledger take it.
func (p *planned) plan(propose bool) {
	v := p.m.View()
	a, _ := v.App(p.app)
	now := p.clocks[p.leads].Now(v, a, p.reading(p.leads))
	c, due := Due(v, func(*fsm.App) id.Time { return now }, p.wall[p.leads])[p.app].(*fsm.BlocksAllocated)
	left, ok := Next(v, func(*fsm.App) id.Time { return now })
	room := v.Room(a, p.wall[p.leads])
	if want := now >= p.next && room > 0; due != want {
		p.t.Fatalf("at %d, with %d batches of room: %+v, due %t, expected batch %d", now, room, c, due, p.next)
	}
	if now < p.next && room > 0 && (!ok || left != time.Duration(p.next-now)*time.Millisecond) {
		p.t.Fatalf("at %d the next batch is due after %v, expected batch %d", now, left, p.next)
	}
	if !due {
		return
	}
	if c.From != p.next || c.To > now || int64(c.To-c.From)/1000+1 > room || room > int64(c.To-c.From)/1000+1 && c.To+1000 <= now {
		p.t.Fatalf("batches %d to %d at %d, with %d of room, expected all from %d on", c.From, c.To, now, room, p.next)
	}
	p.made = append(p.made, c)
	if !propose {
		return
	}
	if r := p.apply(c); r.Outcome != fsm.Done {
		p.t.Fatalf("%+v is answered %+v", *c, r)
	}
	p.allocated(c)
}

func (p *planned) allocated(c *fsm.BlocksAllocated) {
	for ; p.next <= c.To; p.next += 1000 {
		if b, ok := p.m.View().Batch(p.app, p.next); !ok || b.Index != uint64(len(p.log)) {
			p.t.Fatalf("batch %d is %+v, expected it of entry %d", p.next, b, len(p.log))
		}
		p.batches++
	}
}

// complete runs the batches that are pending, in order.
func (p *planned) complete() {
	v := p.m.View()
	a, _ := v.App(p.app)
	if a.Coordinator == 0 {
		p.apply(&fsm.CoordinatorAssigned{App: p.app, Session: p.session})
		v = p.m.View()
		a, _ = v.App(p.app)
	}
	at := a.Interval(a.Completed, 1)
	for _, b := range Pending(v, a, rapid.IntRange(1, 70).Draw(p.t, "batches")) {
		if b.Time != at {
			p.t.Fatalf("batch %d is pending, expected %d", b.Time, at)
		}
		at = a.Interval(at, 1)
		r := p.apply(&fsm.BatchCompleted{App: p.app, Time: b.Time, Office: a.Office, Attempt: v.Attempt(p.app, b.Time)})
		if r.Outcome != fsm.Done {
			p.t.Fatalf("batch %d: %+v", b.Time, r)
		}
	}
}

// stop drains the application: one last batch, and none after it (rule 11).
func (p *planned) stop() {
	p.apply(&fsm.ApplicationStopped{App: p.app})
	p.complete()
	p.complete()
	for range 2 {
		p.mono += time.Hour
		v := p.m.View()
		a, _ := v.App(p.app)
		if c, ok := Due(v, func(*fsm.App) id.Time { return p.next + 5000 }, 0)[p.app].(*fsm.BlocksAllocated); ok != !a.LastGiven {
			p.t.Fatalf("due is %+v, the last batch is given: %t", c, a.LastGiven)
		} else if ok && (!c.Last || c.From != p.next || c.To != p.next) {
			p.t.Fatalf("%+v is due, expected batch %d to be the last", *c, p.next)
		} else if ok && p.apply(c).Outcome != fsm.Done {
			p.t.Fatalf("the last batch %+v is not taken", *c)
		}
	}
	if a, _ := p.m.View().App(p.app); !a.LastGiven {
		p.t.Fatal("the last batch is not given")
	}
}
