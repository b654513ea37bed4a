package fsm

import (
	"bytes"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// ledger drives a Machine as one proposer would: every command is an entry of its own unless told otherwise.
type ledger struct {
	t     *testing.T
	m     *Machine
	index uint64
	term  uint64
}

// startLedger makes a ledger with an open epoch.
func startLedger(t *testing.T) *ledger {
	t.Helper()
	l := &ledger{t: t, m: New(), term: 3}
	l.done(&Epoch{Term: 3, Leader: "a1", Name: "n1", Addr: "127.0.0.1:1", NowMS: 1000})
	return l
}

// entry applies one entry of several commands.
func (l *ledger) entry(commands ...Command) []Result {
	l.t.Helper()
	data, err := Encode(l.term, commands...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.index++
	r, err := l.m.Apply(l.index, data)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.m.Check(); err != nil {
		l.t.Fatalf("after entry %d: %v", l.index, err)
	}
	return r
}

func (l *ledger) apply(c Command) Result {
	l.t.Helper()
	return l.entry(c)[0]
}

// done applies a command that must be taken and returns its index.
func (l *ledger) done(c Command) uint64 {
	l.t.Helper()
	r := l.apply(c)
	if r.Outcome != Done {
		l.t.Fatalf("%v %+v: %+v, expected done", c.Kind(), c, r)
	}
	return r.Index
}

// refused applies a command that must be refused with exactly this reason, and changes nothing.
func (l *ledger) refused(c Command, reason string) {
	l.t.Helper()
	l.not(c, Refused, reason)
}

// limited is refused by a limit.
func (l *ledger) limited(c Command, reason string) {
	l.t.Helper()
	l.not(c, Limited, reason)
}

func (l *ledger) not(c Command, o Outcome, reason string) {
	l.t.Helper()
	before := l.stateBytes()
	r := l.apply(c)
	if r.Outcome != o || r.Reason != reason {
		l.t.Fatalf("%v %+v: outcome %d, reason\n%q, expected %d\n%q", c.Kind(), c, r.Outcome, r.Reason, o, reason)
	}
	if !bytes.Equal(before, l.stateBytes()) {
		l.t.Fatalf("%v %+v was not taken and changed the state", c.Kind(), c)
	}
}

// stateBytes is the encoding of the state without its index.
func (l *ledger) stateBytes() []byte {
	l.t.Helper()
	var out []byte
	for t, m := range l.m.View().state().records() {
		if t == metaRecord {
			s := l.m.View().state().copy()
			s.index = 0
			m = metaToPB(s)
		}
		var err error
		if out, err = appendRecord(out, t, m); err != nil {
			l.t.Fatal(err)
		}
	}
	return out
}

// session opens a session of a store.
func (l *ledger) session(store string) id.Session {
	l.t.Helper()
	return id.Session(l.done(&SessionOpened{
		Store: id.Store(store), Generation: 1, Name: "n" + store, Addr: "127.0.0.1:1", Slots: 2, Build: "b", NowMS: 1000,
	}))
}

// submission is one that is taken: batches of 1 s, one receiver stream 0.
func submission(name string) *ApplicationSubmitted {
	return &ApplicationSubmitted{
		Name: name, Program: "wordcount", Params: []byte(`{}`), BatchMS: 1000, BlockMS: 200, Partitions: 4, Factor: 2,
		Fingerprint: "f", Build: "b", RememberMS: 1000, NowMS: 10_400,
		Inputs: []InputStream{{Stream: 0, Source: "ingest", Receiver: true, Pushed: true}},
	}
}

// running is an application with a receiver that runs in session a, of stores A and B.
type running struct {
	*ledger
	app      id.App
	a, b     id.Session
	instance id.Instance
}

func startRunning(t *testing.T) *running {
	t.Helper()
	l := startLedger(t)
	r := &running{ledger: l, a: l.session("A"), b: l.session("B")}
	r.app = id.App(l.done(submission("wc")))
	r.instance = r.receiver(r.a, 0)
	return r
}

// receiver starts an instance of stream 0 in a session.
func (r *running) receiver(s id.Session, prev id.Instance) id.Instance {
	r.t.Helper()
	in := id.Instance(r.done(&ReceiverScheduled{App: r.app, Session: s, Prev: prev, NowMS: 2000}))
	r.done(&ReceiverRegistered{App: r.app, Instance: in, Session: s, NowMS: 2000})
	return in
}

// block is one of 10 records in 100 bytes on both stores.
func (r *running) block(number uint64, ranges ...connector.Range) AddedBlock {
	return AddedBlock{
		ID:      id.Block{App: r.app, Instance: r.instance, Number: number},
		Records: 10, Bytes: 100, CRC: uint32(number), Stores: []id.Store{"A", "B"}, Ranges: ranges,
	}
}

func (r *running) add(blocks ...AddedBlock) *BlocksAdded {
	return &BlocksAdded{Session: r.a, Blocks: blocks, NowMS: 3000}
}

// tick allocates the next batch.
func (r *running) tick() *BlocksAllocated {
	a := r.state()
	next := a.Interval(a.Allocated, 1)
	return &BlocksAllocated{App: r.app, From: next, To: next, NowMS: int64(next)}
}

func (r *running) state() *App {
	r.t.Helper()
	a, ok := r.m.View().App(r.app)
	if !ok {
		r.t.Fatalf("application %d is gone", r.app)
	}
	return a
}

// complete reports the oldest pending batch by the current office and attempt.
func (r *running) complete() *BatchCompleted {
	a := r.state()
	at := a.Interval(a.Completed, 1)
	return &BatchCompleted{
		App: r.app, Time: at, Office: a.Office, Attempt: r.m.View().Attempt(r.app, at),
		StartedMS: int64(at) + 1, EndedMS: int64(at) + 5, Tries: 1, NowMS: int64(at) + 7,
	}
}

func (r *running) coordinator(s id.Session) id.Office {
	r.t.Helper()
	return id.Office(r.done(&CoordinatorAssigned{App: r.app, Session: s, Prev: r.state().Office, NowMS: 2000}))
}

func TestRecordsGoFromAReceiverToACompletedBatch(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	r.done(r.add(r.block(1), r.block(2)))
	r.done(r.tick())
	if got := len(r.m.View().Input(r.app, 11_000, 0)); got != 2 {
		t.Fatalf("batch has %d blocks, expected 2", got)
	}
	r.done(r.complete())
	a := r.state()
	if a.Processed != 20 || a.Pending != 0 || a.Completed != 11_000 {
		t.Fatalf("after completion: %+v", a)
	}
	var buf bytes.Buffer
	if err := r.m.View().WriteSnapshot(&buf); err != nil {
		t.Fatal(err)
	}
	m := New()
	if err := m.Restore(&buf); err != nil {
		t.Fatal(err)
	}
	if m.View().Hash() != r.m.View().Hash() {
		t.Fatal("restored state has another hash")
	}
}
