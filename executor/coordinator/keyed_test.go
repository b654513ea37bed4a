package coordinator_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/coordinator"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

// Streams of the graph of states: a source; state over it; state over that state; other state over the source; a
// stream that reads both states over the source in one task; and one that reads the second state in every other batch.
const (
	source id.Stream = iota
	first
	second
	other
	both
	seldom
)

// states is a graph of streams with keyed state; zero time is 0 and a batch is a second.
type states struct {
	parts   int
	every   int64              // milliseconds from one checkpoint to the next
	outputs []id.Stream        // one output operation each
	acts    map[id.Stream]call // outputs whose work is a function here
	direct  map[id.Stream]dataset.Direct
}

func (g *states) Plan() *plan.Plan {
	p := &plan.Plan{BatchMS: 1000, RememberMS: 1000, CheckpointMS: g.every}
	for _, s := range []id.Stream{first, second, other} {
		overSecond := slices.Contains(g.outputs, second) || slices.Contains(g.outputs, seldom)
		if slices.Contains(g.outputs, s) || slices.Contains(g.outputs, both) && s != second || overSecond && s != other {
			p.States = append(p.States, plan.State{Stream: s, SlideMS: 1000, Partitions: g.parts})
		}
	}
	for _, s := range slices.Sorted(maps.Keys(g.direct)) {
		p.Inputs = append(p.Inputs, plan.Input{Stream: s, Source: "test"})
	}
	return p
}

func (g *states) Dataset(s id.Stream, at id.Time, in dataset.Sources) (dataset.Dataset, bool, error) {
	if s == seldom && at%2000 != 0 {
		return nil, false, nil
	}
	return g.dataset(s, at, in), true, nil
}

func (g *states) dataset(s id.Stream, at id.Time, in dataset.Sources) dataset.Dataset {
	d := &node{id: dataset.ID{Stream: s, Time: at}, parts: g.parts}
	switch s {
	case source:
		d.parts = in.Partitions(source, at)
		return d
	case seldom:
		d.deps = []dataset.Dep{{On: g.dataset(second, at, in), Narrow: same}}
		return d
	case both:
		d.deps = []dataset.Dep{{On: g.dataset(first, at, in), Narrow: same}, {On: g.dataset(other, at, in), Narrow: same}}
		return d
	case second:
		d.deps = []dataset.Dep{{On: g.dataset(first, at, in), Shuffle: shuffle{d}}}
	default:
		d.deps = []dataset.Dep{{On: g.dataset(source, at, in), Shuffle: shuffle{d}}}
	}
	return state{d}
}

func same(p int) []int { return []int{p} }

func (g *states) Outputs() (all []dataset.Output) {
	for _, s := range g.outputs {
		if f, ok := g.acts[s]; ok {
			all = append(all, action{output(s), f})
			continue
		}
		all = append(all, output(s))
	}
	return all
}

func (g *states) Receiver(id.Stream) (dataset.Receiver, bool) { return nil, false }
func (g *states) Direct(s id.Stream) (dataset.Direct, bool)   { d, ok := g.direct[s]; return d, ok }
func (g *states) Forget(id.Time)                              {}
func (g *states) Blame([]uintptr) (operator, at string)       { return "", "" }

type node struct {
	id    dataset.ID
	parts int
	deps  []dataset.Dep
}

func (d *node) ID() dataset.ID                              { return d.id }
func (d *node) Partitions() int                             { return d.parts }
func (d *node) Deps() []dataset.Dep                         { return d.deps }
func (d *node) Collect(dataset.Task, int, int) dataset.Rows { panic("nothing is computed here") }

type state struct{ *node }

func (d state) Base() id.Time             { return d.id.Time - 1000 }
func (d state) Initial(int) dataset.State { panic("nothing is computed here") }
func (d state) Blank() dataset.State      { panic("nothing is computed here") }

type shuffle struct{ *node }

func (s shuffle) ID() dataset.ShuffleID                { return dataset.ShuffleID{Of: s.id} }
func (s shuffle) Reducers() int                        { return s.parts }
func (s shuffle) Map(dataset.Task, int) []dataset.Rows { panic("nothing is computed here") }

type output id.Stream

func (o output) Name() string                                          { return fmt.Sprint("out-", int(o)) }
func (o output) Stream() id.Stream                                     { return id.Stream(o) }
func (o output) Run(dataset.Task, dataset.Dataset, int) []byte         { panic("nothing is computed here") }
func (o output) Commit(context.Context, dataset.Batch, [][]byte) error { return nil }

// call is what an action does.
type call func(ctx context.Context, jobs dataset.Jobs) error

type action struct {
	output
	call
}

func (a action) Call(ctx context.Context, _ dataset.Batch, _ dataset.Dataset, jobs dataset.Jobs) error {
	return a.call(ctx, jobs)
}

func (a action) Read(dataset.Task, dataset.Dataset, int, dataset.Query, func([]byte)) int64 {
	panic("nothing is computed here")
}

// keyed is an office whose executors hold keyed state: of every version they know which batches are folded into it, and
// with which attempt each. The ledger is what the test and the coordinator's reports made of it.
type keyed struct {
	*office
	t     *testing.T
	log   bytes.Buffer
	graph *states

	held       map[id.Session]map[job.Held][]job.Version
	pieces     map[id.Block][]job.Version
	won        map[id.Time]id.Attempt
	stores     map[id.Time][]id.Store // of the blocks of some batches
	checkpoint job.Checkpoint
	image      int64
	changes    int64
	asked      []id.Session // States
	recalled   int          // History
	reported   []*job.CheckpointReport
	refuse     func(*job.CheckpointReport) string // "" for taken
}

func runKeyed(t *testing.T, g *states, test func(t *testing.T, k *keyed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := &keyed{
			office: &office{table: &job.Peers{}, changed: make(chan struct{})}, t: t, graph: g,
			held: map[id.Session]map[job.Held][]job.Version{}, pieces: map[id.Block][]job.Version{}, won: map[id.Time]id.Attempt{},
		}
		k.reply = func(r *job.BatchReport) (job.Reply, error) {
			if r.Error == "" {
				k.won[r.Time] = r.Authority.Attempt
			}
			return job.Reply{Outcome: job.Done, Index: 1000}, nil
		}
		k.renew()
		k.tell(1, 2, 3)
		defer func() { // also after a Fatal
			if err := k.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		test(t, k)
	})
}

// renew makes a coordinator that knows nothing yet.
func (k *keyed) renew() {
	k.Coordinator = coordinator.New(coordinator.Config{
		Build: "b", Graph: func(job.App) (dataset.App, error) { return k.graph, nil },
		Guard: func(ctx context.Context, _ dataset.App, f func() error) *job.TaskError {
			err := f()
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				return &job.TaskError{Fault: job.UserFault, Text: err.Error()}
			}
			return nil
		},
		Executors: k, Self: func() id.Session { return 1 }, Peers: k.peers, Report: k.report,
		History: k.history, Checkpoint: k.commit, Logger: slog.New(slog.NewTextHandler(&k.log, nil)),
		Positions: func(context.Context, id.App, id.Stream) ([]connector.Range, error) { return nil, nil },
		Planned:   func(context.Context, *job.SourcesPlanned) error { return nil },
	})
	k.Open()
}

func (k *keyed) history(_ context.Context, _ id.App, before id.Time) (*job.History, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.recalled++
	h := &job.History{Checkpoint: k.checkpoint}
	for _, t := range slices.Sorted(maps.Keys(k.won)) {
		if t > k.checkpoint.Time && t < before {
			h.Batches = append(h.Batches, job.Version{Time: t, Attempt: k.won[t]})
			h.Inputs = append(h.Inputs, k.input(t)...)
		}
	}
	return h, nil
}

func (k *keyed) commit(_ context.Context, r *job.CheckpointReport) (job.Reply, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reported = append(k.reported, r)
	if k.refuse != nil {
		if why := k.refuse(r); why != "" {
			return job.Reply{Outcome: job.Refused, Reason: why}, nil
		}
	}
	if !r.Full && r.Since != k.checkpoint.Time {
		k.t.Errorf("changes since %d, the checkpoint is of %d", r.Since, k.checkpoint.Time)
	}
	var bytes int64
	for _, p := range r.Pieces {
		bytes += p.Block.Bytes
	}
	k.checkpoint.Time, k.checkpoint.Attempt = r.Version.Time, r.Version.Attempt
	if r.Full {
		k.checkpoint.Pieces, k.image, k.changes = nil, bytes, 0
	} else {
		k.changes += bytes
	}
	k.checkpoint.Pieces = append(k.checkpoint.Pieces, r.Pieces...)
	return job.Reply{Outcome: job.Done}, nil
}

// States implements job.Executors.
func (k *keyed) States(_ context.Context, to job.Peer, _ id.App) ([]job.Held, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, to.Session)
	return slices.Collect(maps.Keys(k.held[to.Session])), nil
}

// Launch implements job.Executors: what the office does, and then what the state store of an executor does.
func (k *keyed) Launch(ctx context.Context, to job.Peer, l *job.Launch) (*job.LaunchResult, error) {
	res, err := k.office.Launch(ctx, to, l)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if k.held[to.Session] == nil {
		k.held[to.Session] = map[job.Held][]job.Version{}
	}
	for i := range res.Tasks {
		for _, st := range l.States {
			if r := &res.Tasks[i]; r.Err == nil {
				k.advance(to, l, st, r, i)
			}
		}
	}
	return res, nil
}

// advance goes on from a base, and makes what the launch is to make.
func (k *keyed) advance(to job.Peer, l *job.Launch, st job.StateBase, r *job.TaskResult, i int) {
	here, h := k.held[to.Session], job.Held{Stream: st.Stream, Part: r.Part, Version: st.Base}
	rows, ok := here[h]
	chain := slices.DeleteFunc(slices.Clone(st.Chain), func(p job.Piece) bool { return p.Part != r.Part || p.Stream != st.Stream })
	switch {
	case st.Base.Attempt == 0 && st.Base.Time <= 0:
	case ok:
	case len(chain) > 0:
		for _, p := range chain {
			rows = append(slices.Clone(rows), k.pieces[p.Block.ID]...)
		}
	default:
		r.Err = &job.TaskError{Fault: job.StateFault, Stream: st.Stream, Part: r.Part, Text: "not held"}
		return
	}
	if c := l.Checkpoint; c != nil {
		rows = slices.DeleteFunc(slices.Clone(rows), func(v job.Version) bool { return !c.Full && v.Time <= c.Since })
		b := id.Block{App: 7, Stream: st.Stream, Instance: id.Instance(l.Authority.Office), Number: c.Numbers[i] << job.PieceBits}
		if _, used := k.pieces[b]; used {
			k.t.Errorf("piece %v is made twice", b)
		}
		k.pieces[b] = rows
		r.Pieces = []job.Piece{{Stream: st.Stream, Part: r.Part, Block: job.Block{ID: b, Bytes: int64(100 * len(rows)), Stores: []id.Store{to.Store}}}}
		return
	}
	for v := range here { // what is named as a base is installed: the version before it is gone
		if v.Stream == h.Stream && v.Part == h.Part && v.Version.Time < st.Base.Time {
			delete(here, v)
		}
	}
	here[h] = rows
	h.Version = st.Makes
	here[h] = append(slices.Clone(rows), st.Makes)
}

// die takes the executors away, and all that they hold.
func (k *keyed) die(sessions ...id.Session) {
	var left []id.Session
	table, _ := k.peers()
	for _, p := range table.Peers {
		if !slices.Contains(sessions, p.Session) {
			left = append(left, p.Session)
		}
	}
	k.mu.Lock()
	for _, s := range sessions {
		delete(k.held, s)
	}
	k.mu.Unlock()
	k.tell(left...)
}

// input is what a batch was allocated: one block.
func (k *keyed) input(at id.Time) []job.Input {
	in := order(at, 1, 1, "s1").Inputs
	in[0].Blocks[0].ID.Instance = id.Instance(at)
	if stores, ok := k.stores[at]; ok {
		in[0].Blocks[0].Stores = stores
	}
	return in
}

// order makes the order to run a batch as the driver does.
func (k *keyed) order(at id.Time, in id.Office, attempt id.Attempt) *job.Batch {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := order(at, in, attempt)
	b.Inputs = k.input(at)
	b.Checkpointed, b.FullBytes, b.ChangeBytes = k.checkpoint.Time, k.image, k.changes
	for _, s := range k.graph.Plan().States {
		if won, ok := k.won[at-1000]; ok {
			b.States = append(b.States, job.StateAt{Stream: s.Stream, Version: job.Version{Time: at - 1000, Attempt: won}})
		}
	}
	return b
}

// batch runs a batch to its end and checks rule 7: the state after it is the fold of all batches up to it, each as the
// attempt left it that won.
func (k *keyed) batch(at id.Time, in id.Office, attempt id.Attempt) {
	k.t.Helper()
	before := len(k.said())
	k.Order(k.order(at, in, attempt))
	rest(0)
	for range 200 {
		if len(k.said()) > before {
			break
		}
		rest(minWait)
	}
	if said := k.said(); len(said) == before || said[len(said)-1] != fmt.Sprintf("%d/%d", at, attempt) {
		k.t.Fatalf("batch %d did not complete: %v, %+v, launches %v", at, said, k.Status(), k.sent())
	}
	k.verify(at)
}

func (k *keyed) verify(at id.Time) {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	var want []job.Version
	for t := id.Time(1000); t <= at; t += 1000 {
		want = append(want, job.Version{Time: t, Attempt: k.won[t]})
	}
	for _, s := range k.graph.Plan().States {
		for p := range k.graph.parts {
			found := false
			for x, held := range k.held {
				rows, ok := held[job.Held{Stream: s.Stream, Part: p, Version: job.Version{Time: at, Attempt: k.won[at]}}]
				if found = found || ok; ok && !slices.Equal(rows, want) {
					k.t.Errorf("stream %d, partition %d at %d on e%d is the fold of %v, expected %v", s.Stream, p, at, x, rows, want)
				}
			}
			if !found {
				k.t.Errorf("nobody holds stream %d, partition %d at %d", s.Stream, p, at)
			}
		}
	}
}

// since gives what was sent after the first n launches.
func (k *keyed) since(n int) []string { return sorted(k.sent()[n:]) }
