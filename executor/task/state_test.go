package task_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// states keeps tables by version, whole copies of them: the least that a task can work with.
type states struct {
	mu    sync.Mutex
	held  map[job.Held]*executortest.Table
	reads int  // that were not released
	gone  bool // what is made is given up at once
}

func (s *states) Advance(
	ctx context.Context, _ id.App, base job.Held, makes job.Version, load func(context.Context) (dataset.State, error),
	advance func(dataset.State) dataset.Delta,
) (dataset.State, dataset.Delta, func(), error) {
	s.mu.Lock()
	table := s.held[base]
	s.mu.Unlock()
	if table == nil {
		if load == nil {
			return nil, nil, nil, &job.TaskError{Fault: job.StateFault, Stream: base.Stream, Part: base.Part, Text: "not held"}
		}
		made, err := load(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		table = made.(*executortest.Table)
	}
	d := advance(table)
	next := executortest.NewTable()
	table.Encode(0, true, 1<<20, func(c []byte, _ int64) bool { return next.Decode(c, makes.Time) == nil })
	next.Install(d, makes.Time)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[base] = table
	if !s.gone {
		s.held[job.Held{Stream: base.Stream, Part: base.Part, Version: makes}] = next
	}
	s.reads++
	return table, d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reads--
	}, nil
}

func (s *states) Checkpoint(
	_ context.Context, _ id.App, at job.Held, full bool, since id.Time, _ func(context.Context) (dataset.State, error),
	each func(chunk []byte, rows int64) error,
) (err error) {
	s.mu.Lock()
	table := s.held[at]
	s.mu.Unlock()
	if table == nil {
		return &job.TaskError{Fault: job.StateFault, Stream: at.Stream, Part: at.Part, Text: "not held"}
	}
	table.Encode(since, full, 4, func(c []byte, rows int64) bool {
		err = each(c, rows)
		return err == nil
	})
	return err
}

func (s *states) Restore(_ id.App, at job.Held, into dataset.State, chunks iter.Seq2[[]byte, error]) error {
	for c, err := range chunks {
		if err == nil {
			err = into.Decode(c, at.Version.Time)
		}
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return nil
}

func (s *states) Has(_ id.App, h job.Held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[h] != nil
}

// pieces are what was stored; err is what storing answers.
type pieces struct {
	mu     sync.Mutex
	stored map[id.Block]job.BlockData
	err    error
	hang   bool // until the end of ctx
}

func (p *pieces) put(ctx context.Context, d job.BlockData, factor int) ([]id.Store, error) {
	if p.hang {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	if p.stored == nil {
		p.stored = map[id.Block]job.BlockData{}
	}
	p.stored[d.ID] = d
	return []id.Store{"s1", "s2"}[:factor], nil
}

const (
	zeroTime id.Time = 0
	one      id.Time = 1000
)

var first = job.Version{Time: one, Attempt: 6}

// totals makes a bench whose last stream keeps running totals, and runs the map side of its first batch.
func totals(t *testing.T, hooks ...func(w *executortest.WordCount)) *bench {
	w := &executortest.WordCount{Reducers: 2, Depth: 1, Running: true}
	for _, h := range hooks {
		h(w)
	}
	b := newBench(t, 2, w)
	for _, r := range b.run(t, b.launch(job.MapTasks, 3, 0, 1, 2)) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return b
}

// reading makes a launch of the output over the state at a version.
func (b *bench) reading(base job.Version, chain ...job.Piece) *job.Launch {
	l := b.launch(job.OutputTasks, 3, 0, 1)
	l.States = []job.StateBase{{Stream: 1, Base: base, Makes: first, Chain: chain}}
	return l
}

func receipts(rs []job.TaskResult) (all string) {
	for _, r := range rs {
		all += string(r.Receipt)
	}
	return all
}

func wantIn(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
}

func TestFirstBatchGoesOnFromNoState(t *testing.T) { // rule 7
	b := totals(t)
	wantIn(t, receipts(b.run(t, b.reading(job.Version{Time: zeroTime}))), `"a":1`, `"b":2`, `"c":2`)
	if b.states.reads != 0 {
		t.Errorf("%d readings of state outlive their tasks", b.states.reads)
	}
}

// An output that is complete, and user code that leaves its input unread, give a result without reading the state. It
// goes on all the same, once.
func TestTaskThatReadsNoStateLeavesItAllTheSame(t *testing.T) { // rule 7
	advanced := 0
	b := totals(t, func(w *executortest.WordCount) {
		w.Blind = true
		w.OnState = func(dataset.Task, int) { advanced++ }
	})
	l := b.reading(job.Version{Time: zeroTime})
	l.Parts = []int{1}
	for range 2 {
		if r := b.run(t, l)[0]; r.Err != nil || string(r.Receipt) != "null" {
			t.Fatalf("the task ended with %q, %v", r.Receipt, r.Err)
		}
	}
	if !b.states.Has(1, job.Held{Stream: 1, Part: 1, Version: first}) || advanced != 1 {
		t.Errorf("the state was advanced %d times, expected once", advanced)
	}
	b.states.gone, l.Parts = true, []int{0}
	if r := b.run(t, l)[0]; fault(r) != job.StateFault || r.Err.Part != 0 {
		t.Errorf("a task whose state was given up ended with %v", r.Err)
	}
}

func TestTaskWithoutItsStateSaysWhichIsMissing(t *testing.T) {
	b := totals(t)
	for part, r := range b.run(t, b.reading(job.Version{Time: zeroTime, Attempt: 5})) {
		if fault(r) != job.StateFault || r.Err.Stream != 1 || r.Err.Part != part {
			t.Errorf("partition %d ended with %+v, expected a StateFault that names it", part, r.Err)
		}
	}
}

func TestWhatALaunchSaysOfStateIsChecked(t *testing.T) {
	b := totals(t)
	for name, change := range map[string]func(l *job.Launch){
		"names no base":          func(l *job.Launch) { l.States = nil },
		"goes on from":           func(l *job.Launch) { l.States[0].Base = job.Version{Time: 500, Attempt: 3} },
		"names no state base of": func(l *job.Launch) { l.States[0].Makes.Time = 2000 },
	} {
		l := b.reading(job.Version{Time: zeroTime})
		change(l)
		if r := b.run(t, l)[0]; fault(r) != job.MismatchFault || name != "names no base" && !strings.Contains(r.Err.Text, name) {
			t.Errorf("%s: ended with %v", name, r.Err)
		}
	}
}

func TestEarlierStateIsComputedAgainUnderItsWinner(t *testing.T) { // rule 7
	var saw []dataset.Batch
	b := totals(t, func(w *executortest.WordCount) {
		w.OnState = func(t dataset.Task, part int) {
			if part == 0 {
				saw = append(saw, t.Batch())
			}
		}
	})
	l := b.reading(job.Version{Time: zeroTime})
	l.Kind, l.Output, l.Root = job.StateTasks, -1, dataset.ID{Stream: 1, Time: one}
	l.Time = 9000 // the batch that needs it
	l.Authority.Attempt = 90
	for range 2 { // the second time it is there
		for _, r := range b.run(t, l) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	if len(saw) != 1 || saw[0].Time != one {
		t.Errorf("user code ran for %+v, expected once for the earlier time", saw)
	}
	if got := b.states.held[job.Held{Stream: 1, Part: 0, Version: first}]; got == nil || got.Len() == 0 {
		t.Error("no state was left")
	}
	l.Dataset = dataset.ID{Stream: 0, Time: one}
	if r := b.run(t, l)[0]; fault(r) != job.MismatchFault {
		t.Errorf("a dataset without state ended with %v", r.Err)
	}
}

func (b *bench) checkpoint(full bool, numbers ...uint64) *job.Launch {
	at := dataset.ID{Stream: 1, Time: one}
	return &job.Launch{
		Authority: id.Authority{Epoch: 1, Office: 5, Attempt: 6}, App: job.App{ID: 7, Name: "words", Factor: 2}, Time: one,
		Kind: job.CheckpointTasks, Dataset: at, Root: at, Output: -1, Parts: []int{0, 1}, Try: 1,
		Checkpoint: &job.CheckpointOrder{Full: full, Numbers: numbers}, States: []job.StateBase{{Stream: 1, Base: first, Makes: first}},
	}
}

// Rule 7: what a checkpoint stored is what the state is restored from, on an executor that has nothing of it.
func TestStateIsRestoredFromItsPieces(t *testing.T) {
	b := totals(t)
	b.run(t, b.reading(job.Version{Time: zeroTime}))
	b.Completed(7, one) // checkpoints are of completed batches: their launches are fenced by the office alone
	var chain []job.Piece
	for part, r := range b.run(t, b.checkpoint(true, 3, 4)) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		for n, p := range r.Pieces {
			want := id.Block{App: 7, Stream: 1, Instance: 5, Number: uint64(3+part)<<job.PieceBits | uint64(n)}
			d := b.stored[p.Block.ID]
			if p.Part != part || p.Block.ID != want || p.Block.CRC != crc32.Checksum(d.Data, crc32.MakeTable(crc32.Castagnoli)) ||
				p.Block.Bytes != int64(len(d.Data)) || !slices.Equal(p.Block.Stores, []id.Store{"s1", "s2"}) {
				t.Errorf("piece %+v of %+v, expected id %v", p, d, want)
			}
		}
		chain = append(chain, r.Pieces...)
	}
	if len(chain) < 3 {
		t.Fatalf("%d pieces, the test wants several", len(chain))
	}

	fresh := newBench(t, 2, b.graph)
	fresh.texts.more = b.stored
	wantIn(t, receipts(fresh.run(t, fresh.next(chain))), `"a":1`, `"b":2`, `"c":2`)
}

// next makes a launch of the output of the second batch, without new input, over the state of a checkpoint.
func (b *bench) next(chain []job.Piece) *job.Launch {
	l := b.reading(first, chain...)
	l.Time, l.Authority.Attempt, l.States[0].Makes = 2000, 8, job.Version{Time: 2000, Attempt: 8}
	root, _, _ := b.graph.Dataset(1, 2000, sources(3))
	l.Lineage, l.Dataset = job.Lineage(root), root.ID()
	l.Inputs[0].Time = 2000
	l.MapOutputs = []job.MapOutput{{Shuffle: root.Deps()[0].Shuffle.ID()}}
	return l
}

func TestPieceThatNobodyHoldsIsMissingAndNoMismatch(t *testing.T) { // rule 8
	b := totals(t)
	l := b.reading(job.Version{Time: zeroTime, Attempt: 5}, job.Piece{Stream: 1, Part: 0, Block: job.Block{ID: id.Block{App: 7, Stream: 1, Number: 99}}})
	rs := b.run(t, l)
	if fault(rs[0]) != job.MissingFault || rs[0].Err.Block.Number != 99 || !strings.HasPrefix(rs[0].Err.Text, "restore: ") || fault(rs[1]) != job.StateFault {
		t.Errorf("ended with %v and %v", rs[0].Err, rs[1].Err)
	}
}

func TestPieceThatCannotBeDecodedIsAMismatch(t *testing.T) { // rule 15
	b := totals(t)
	l := b.reading(job.Version{Time: zeroTime, Attempt: 5}, job.Piece{Stream: 1, Part: 0, Block: job.Block{ID: id.Block{App: 7, Stream: 1, Number: 1}}})
	if r := b.run(t, l)[0]; fault(r) != job.MismatchFault || !strings.Contains(r.Err.Text, "damaged") {
		t.Errorf("ended with %v", r.Err)
	}
}

func TestCheckpointThatCannotBeStoredIsNobodysTry(t *testing.T) {
	b := totals(t)
	b.run(t, b.reading(job.Version{Time: zeroTime}))
	b.pieces.err = errors.New("no room")
	for _, r := range b.run(t, b.checkpoint(true, 3, 4)) {
		if fault(r) != job.LostFault || r.Pieces != nil {
			t.Errorf("ended with %v and %d pieces", r.Err, len(r.Pieces))
		}
	}
	b.pieces.err = nil
	l := b.checkpoint(true, 5, 6)
	l.Authority.Office = 4
	if r := b.run(t, l)[0]; fault(r) != job.FencedFault { // rule 1
		t.Errorf("checkpoint of an older office ended with %v", r.Err)
	}
	l = b.checkpoint(true, 5)
	if r := b.run(t, l)[0]; fault(r) != job.MismatchFault {
		t.Errorf("checkpoint without a number for each partition ended with %v", r.Err)
	}
}

// A store that does not take pieces must not keep the slots that other applications wait for.
func TestCheckpointThatHangsGivesItsSlotBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := totals(t)
		b.run(t, b.reading(job.Version{Time: zeroTime}))
		b.pieces.hang = true
		began := time.Now()
		for _, r := range b.run(t, b.checkpoint(true, 3, 4)) {
			if fault(r) != job.LostFault || !strings.Contains(r.Err.Text, "not stored within") {
				t.Errorf("ended with %v", r.Err)
			}
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("the checkpoint was given up after %v", took)
		}
	})
}

// A table that others gave up while a task made more of it is no fault of the program.
func TestStateThatIsGivenUpMeanwhileIsMadeAgain(t *testing.T) { // rule 8
	b := totals(t)
	root, _, _ := b.graph.Dataset(1, one, sources(3))
	l := b.reading(job.Version{Time: zeroTime})
	l.Kind, l.Output, l.Root, l.Dataset = job.StateTasks, -1, dataset.ID{Stream: 1, Time: one}, root.ID()
	b.states.gone = true
	for _, r := range b.run(t, l) {
		if fault(r) != job.StateFault || r.Err.Stream != 1 || r.Err.Part != r.Part {
			t.Errorf("ended with %v", r.Err)
		}
	}
}

func TestPartsOfADirectSourceAreGivenAsPlanned(t *testing.T) { // rule 12
	var got connector.Part
	tests := map[string]struct {
		user func(t dataset.Task)
		want job.Fault
	}{
		"there":   {func(t dataset.Task) { got = t.Part(4, one, 1) }, 0},
		"beyond":  {func(t dataset.Task) { t.Part(4, one, 2) }, job.MismatchFault},
		"missing": {func(t dataset.Task) { t.Fail(fmt.Errorf("open x: %w", connector.ErrMissing)) }, job.MissingFault},
	}
	for name, tt := range tests {
		b := newBench(t, 1, &executortest.WordCount{Reducers: 2, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, _ int) { tt.user(t) }})
		l := b.launch(job.MapTasks, 1, 0)
		l.Inputs = append(l.Inputs, job.Input{Stream: 4, Time: one, Parts: []connector.Part{{}, {Data: []byte("x")}}})
		if r := b.run(t, l)[0]; fault(r) != tt.want {
			t.Errorf("%s: ended with %v", name, r.Err)
		}
	}
	if string(got.Data) != "x" {
		t.Errorf("part is %+v", got)
	}
}
