package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// world is a machine, its model, and what is needed to crash and to repeat.
type world struct {
	m       *Machine
	model   *model
	index   uint64
	term    uint64
	log     [][]byte // every entry, from index 1
	base    []byte   // snapshot of some index, nil for none
	from    uint64   // that index
	told    uint64   // index after which m has the events
	history []Command
}

// TestLedgerAgreesWithItsModel applies random commands, with repetitions of old ones, several to an entry, under
// changing terms and with crashes at any step, and compares each result and the state with a naive model. Invariant 11
// and rules 1, 3, 4, 5, 10, 11 are in it.
func TestLedgerAgreesWithItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{m: New(), model: &model{}}
		w.newTerm(t)
		w.start(t)
		for range rapid.IntRange(10, 120).Draw(t, "steps") {
			switch rapid.IntRange(0, 24).Draw(t, "step") {
			case 0:
				w.newTerm(t)
			case 1:
				w.deposed(t)
			case 2:
				w.snapshot(t)
			case 3:
				w.crash(t)
			default:
				var commands []Command
				for range rapid.IntRange(1, 3).Draw(t, "commands") {
					commands = append(commands, w.draw(t))
				}
				w.entry(t, commands...)
			}
			w.compare(t)
		}
	})
}

// start brings an application to where blocks can be added and batches completed.
func (w *world) start(t *rapid.T) {
	w.entry(t, &SessionOpened{Store: "A", Generation: 1}, mSubmission("a"))
	w.entry(t, &SessionOpened{Store: "B", Generation: 1})
	session, app := id.Session(w.index), id.App(w.index-1)
	w.entry(t, &ReceiverScheduled{App: app, Session: session}, &CoordinatorAssigned{App: app, Session: session})
	w.entry(t, &ReceiverRegistered{App: app, Session: session, Instance: id.Instance(w.index)})
}

func (w *world) apply(t *rapid.T, term uint64, commands ...Command) []Result {
	data, err := Encode(term, commands...)
	if err != nil {
		t.Fatal(err)
	}
	w.index++
	w.log = append(w.log, data)
	r, err := w.m.Apply(w.index, data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) newTerm(t *rapid.T) {
	w.term++
	if r := w.apply(t, w.term, &Epoch{Term: w.term, Leader: fmt.Sprint(w.term)}); r[0].Outcome != Done {
		t.Fatalf("epoch: %+v", r[0])
	}
}

// deposed is a leader of an older term that does not know it.
func (w *world) deposed(t *rapid.T) {
	c := w.draw(t)
	before := w.m.View()
	if r := w.apply(t, w.term-1, c); r[0].Outcome != Refused || !r[0].Stale {
		t.Fatalf("%T of an older term: %+v", c, r[0])
	}
	old, now := before.s, w.m.View().s.copy()
	now.index = old.index
	if (View{s: old}).Hash() != (View{s: now}).Hash() {
		t.Fatalf("%T of an older term changed the state", c)
	}
}

// entry applies an entry and compares every result with the model's.
func (w *world) entry(t *rapid.T, commands ...Command) {
	w.model.index = w.index + 1
	for i, got := range w.apply(t, w.term, commands...) {
		want := w.model.apply(commands[i])
		if b, ok := commands[i].(*BlocksAdded); ok && got.Outcome != Refused && len(b.Blocks) == 1 {
			got.Outcome, got.Index = got.Blocks[0].Outcome, got.Blocks[0].Index
		}
		if got.Outcome != want.Outcome || got.Outcome == Done && got.Index != want.Index ||
			!slices.Equal(got.Missing, want.Missing) {
			t.Fatalf("entry %d, %T %+v:\n%+v, expected\n%+v", w.index, commands[i], commands[i], got, want)
		}
	}
	w.history = append(w.history, commands...)
}

func (w *world) snapshot(t *rapid.T) {
	var buf bytes.Buffer
	if err := w.m.View().WriteSnapshot(&buf); err != nil {
		t.Fatal(err)
	}
	w.base, w.from = buf.Bytes(), w.index
}

// crash starts again from the last snapshot and the rest of the log, or from the log alone: the hashes are equal.
func (w *world) crash(t *rapid.T) {
	m, from := New(), uint64(0)
	if w.base != nil && rapid.Bool().Draw(t, "from snapshot") {
		if err := m.Restore(bytes.NewReader(w.base)); err != nil {
			t.Fatal(err)
		}
		from = w.from
	}
	for i := from; i < w.index; i++ {
		if _, err := m.Apply(i+1, w.log[i]); err != nil {
			t.Fatal(err)
		}
	}
	if m.View().Hash() != w.m.View().Hash() {
		t.Fatalf("state after restart from index %d differs from the one before", from)
	}
	w.told = max(w.told, from)
	events := func(m *Machine) []Event { return slices.Collect(m.View().Events(0, w.told)) }
	if got, want := events(m), events(w.m); !slices.Equal(got, want) {
		t.Fatalf("events after restart from index %d are\n%v, expected\n%v", from, got, want)
	}
	w.told = from
	w.m = m
}

// compare checks the state against the model's.
func (w *world) compare(t *rapid.T) {
	v := w.m.View()
	if err := v.Check(); err != nil {
		t.Fatal(err)
	}
	for _, a := range w.model.apps {
		got, _ := v.App(a.id)
		var received, queued, pending int64
		for _, b := range a.blocks {
			received += b.b.Records
			if b.batch == 0 {
				queued += b.b.Records
			}
		}
		for _, b := range a.pending() {
			pending += a.records(b.at)
		}
		for _, p := range a.plans {
			received += p.records()
		}
		o := a.office()
		if o.ended {
			o.session = 0
		}
		want := *got
		want.State, want.Draining, want.LastGiven = a.state, a.draining, a.last
		want.Allocated, want.Completed, want.Cleaned, want.Pending = a.allocated(), a.completed(), a.cleaned, len(a.pending())
		want.Received, want.Queued, want.Discarded, want.PendingRecs = received, queued, a.discarded, pending
		want.Processed = received - queued - pending - a.discarded
		want.Office, want.Coordinator, want.Resumed, want.AcceptLoss = o.id, o.session, a.resumed, a.acceptLoss
		want.PrevResumed, want.ResumedLoss = a.prev, a.loss
		if fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", *got) {
			t.Fatalf("application\n%+v, expected\n%+v", *got, want)
		}
		w.compareBlocks(t, v, a)
		w.compareState(t, v, a)
	}
}

func (w *world) compareBlocks(t *rapid.T, v View, a *mApp) {
	inputs := map[id.Time][]string{}
	for _, b := range a.blocks {
		if !b.lost && (b.batch == 0 || b.batch > a.cleaned && a.state != Stopped) {
			inputs[b.batch] = append(inputs[b.batch], fmt.Sprint(b.b.ID, b.b.Stores))
		}
	}
	var queued []string
	for b := range v.Queued(a.id, 0) {
		queued = append(queued, fmt.Sprint(b.ID, b.Stores))
	}
	if !slices.Equal(queued, inputs[0]) {
		t.Fatalf("queued %v, expected %v", queued, inputs[0])
	}
	for _, mb := range a.batches {
		var got []string
		for _, b := range v.Input(a.id, mb.at, 0) {
			got = append(got, fmt.Sprint(b.ID, b.Stores))
		}
		if !mb.forgotten && !slices.Equal(got, inputs[mb.at]) {
			t.Fatalf("batch %d has %v, expected %v", mb.at, got, inputs[mb.at])
		}
	}
	for p, last := range v.Positions(a.id, 0) {
		if last != a.high(p) {
			t.Fatalf("position of %q is %d, expected %d", p, last, a.high(p))
		}
	}
}

// draw makes a command that makes sense, nearly makes sense, or was made before.
func (w *world) draw(t *rapid.T) Command {
	if len(w.history) > 0 && rapid.IntRange(0, 5).Draw(t, "repeat") == 5 {
		return rapid.SampledFrom(w.history).Draw(t, "old")
	}
	v := w.m.View()
	apps, sessions := slices.Collect(v.Apps()), slices.Collect(v.Sessions())
	store := rapid.SampledFrom([]id.Store{"A", "B", "C"}).Draw(t, "store")
	if len(sessions) == 0 || rapid.IntRange(0, 39).Draw(t, "session") == 17 {
		return &SessionOpened{Store: store, Generation: rapid.Uint64Range(1, 4).Draw(t, "generation")}
	}
	session := rapid.SampledFrom(sessions).Draw(t, "of").ID
	if rapid.IntRange(0, 79).Draw(t, "close") == 17 {
		return &SessionClosed{Session: session}
	}
	if len(apps) == 0 || rapid.IntRange(0, 59).Draw(t, "submit") == 17 {
		return mSubmission(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"))
	}
	return w.drawFor(t, v, apps[len(apps)-1-min(len(apps)-1, rapid.IntRange(0, 2).Draw(t, "app"))], session)
}

func (w *world) drawFor(t *rapid.T, v View, a *App, session id.Session) Command {
	rec, ok := v.Receiver(a.ID, 0)
	prev := id.Instance(0)
	if ok {
		prev = rec.Instance
	}
	switch rapid.SampledFrom([]string{
		"add", "add", "add", "add", "add", "add", "allocate", "allocate", "allocate", "complete", "complete", "complete",
		"complete", "complete", "clean", "clean", "clean", "assign", "schedule", "schedule", "register", "register",
		"deregister", "fail", "inventory", "inventory", "inventory", "resume", "resume", "stop", "end", "last", "last",
		"checkpoint", "checkpoint", "checkpoint", "checkpoint", "copy",
	}).Draw(t, "kind") {
	case "add":
		return w.drawBlock(t, v, a, session)
	case "allocate":
		from := a.Interval(a.Allocated, rapid.SampledFrom([]int64{1, 1, 1, 1, 0, 2}).Draw(t, "from"))
		return &BlocksAllocated{
			App: a.ID, From: from, To: a.Interval(from, rapid.SampledFrom([]int64{0, 0, 0, 0, 1, 2, -1}).Draw(t, "run")),
			Direct: w.drawPlans(t, v, a),
		}
	case "last":
		next := a.Interval(a.Allocated, 1)
		return &BlocksAllocated{App: a.ID, From: next, To: next, Last: true}
	case "complete":
		at := a.Interval(a.Completed, rapid.SampledFrom([]int64{1, 1, 1, 1, 0, 2}).Draw(t, "at"))
		return &BatchCompleted{
			App: a.ID, Time: at, Office: a.Office, Attempt: v.Attempt(a.ID, at),
			Lost: max(0, rapid.Int64Range(-9, 2).Draw(t, "lost")), LostBlocks: w.drawLost(t, v, a, at),
		}
	case "fail":
		at := a.Interval(a.Completed, rapid.Int64Range(1, 2).Draw(t, "at"))
		return &BatchFailed{App: a.ID, Time: at, Office: a.Office, Attempt: v.Attempt(a.ID, at), Error: "boom"}
	case "clean":
		return &BatchesCleaned{App: a.ID, UpTo: a.Interval(a.Completed, rapid.Int64Range(-2, 0).Draw(t, "to"))}
	case "assign":
		return &CoordinatorAssigned{App: a.ID, Session: session, Prev: a.Office}
	case "schedule":
		return &ReceiverScheduled{App: a.ID, Session: session, Prev: prev}
	case "register":
		if ok {
			session = rec.Session
		}
		return &ReceiverRegistered{App: a.ID, Instance: prev, Session: session}
	case "deregister":
		return &ReceiverDeregistered{App: a.ID, Instance: prev}
	case "checkpoint":
		return w.drawCheckpoint(t, v, a)
	case "copy":
		return &BlocksCopied{Session: session, Blocks: w.drawInventory(t, session).Blocks}
	case "inventory":
		return w.drawInventory(t, session)
	case "resume":
		return &ApplicationResumed{App: a.ID, Prev: a.Resumed, AcceptLoss: rapid.Bool().Draw(t, "accept")}
	case "stop":
		return &ApplicationStopped{App: a.ID, Now: rapid.IntRange(0, 3).Draw(t, "now") == 3}
	}
	return &ApplicationEnded{App: a.ID}
}

func (w *world) drawBlock(t *rapid.T, v View, a *App, session id.Session) Command {
	ins := slices.Collect(v.Instances(a.ID))
	if len(ins) == 0 {
		return &BlocksAdded{Session: session, Blocks: []AddedBlock{{ID: id.Block{App: a.ID, Number: 1}}}}
	}
	in := ins[len(ins)-1-min(len(ins)-1, rapid.IntRange(0, 1).Draw(t, "instance"))]
	if rapid.IntRange(0, 9).Draw(t, "foreign") > 0 {
		session = in.Session
	}
	number := max(1, int64(in.Last)+rapid.SampledFrom([]int64{1, 1, 1, 1, 1, 0, 2}).Draw(t, "number"))
	b := AddedBlock{
		ID:      id.Block{App: a.ID, Instance: in.ID, Number: uint64(number)},
		Records: int64(in.ID)%3 + number, Bytes: 5, CRC: uint32(number),
		Stores: []id.Store{"A", "B", "C"}[:rapid.SampledFrom([]int{3, 2, 1, 0}).Draw(t, "stores")],
	}
	for _, p := range rapid.SampledFrom([][]string{nil, {"p"}, {"p", "q"}}).Draw(t, "partitions") {
		high := uint64(0)
		for q, last := range v.Positions(a.ID, 0) {
			if p == q {
				high = last
			}
		}
		first := high + rapid.SampledFrom([]uint64{1, 1, 1, 1, 1, 2, 0}).Draw(t, "first")
		b.Ranges = append(b.Ranges, connector.Range{Partition: p, First: first, Last: first + 2})
	}
	return &BlocksAdded{Session: session, Blocks: []AddedBlock{b}}
}

// drawInventory names some of the blocks that ever were.
func (w *world) drawInventory(t *rapid.T, session id.Session) *InventoryReported {
	c := &InventoryReported{Session: session, First: rapid.Bool().Draw(t, "first part"), Last: rapid.Bool().Draw(t, "last part")}
	for _, a := range w.model.apps {
		for _, b := range a.blocks {
			if rapid.IntRange(0, 2).Draw(t, "held") > 0 {
				c.Blocks = append(c.Blocks, b.b.ID)
			}
		}
		c.Blocks = append(c.Blocks, id.Block{App: a.id, Instance: a.current(), Number: a.numbers(a.current()) + 1})
		c.Blocks = append(c.Blocks, w.drawPieces(t, a)...)
	}
	return c
}
