package task_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/task"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shuffles keeps buckets of one executor; err is what Put and Read answer.
type shuffles struct {
	mu   sync.Mutex
	rows map[int][]dataset.Rows
	err  error
}

func (s *shuffles) Put(_ context.Context, _ *job.Launch, part int, rows []dataset.Rows) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.rows[part] = rows
	return nil
}

func (s *shuffles) Read(_ context.Context, f job.Fetch, holders []id.Session, yield func(dataset.Chunk) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for part := range holders {
		if s.err != nil {
			return s.err
		}
		if !yield(dataset.Chunk{Rows: s.rows[part][f.Reducer]}) {
			return nil
		}
	}
	return nil
}

// texts are blocks by number; more are blocks by id.
type texts struct {
	by   map[uint64]string
	more map[id.Block]job.BlockData
}

func (b *texts) Read(_ context.Context, x *job.Block) ([]byte, error) {
	if d, ok := b.more[x.ID]; ok {
		return d.Data, nil
	}
	if s, ok := b.by[x.ID.Number]; ok {
		return []byte(s), nil
	}
	return nil, &job.TaskError{Fault: job.MissingFault, Block: x.ID, Text: "nobody has it"}
}

type bench struct {
	*task.Runner
	graph    *executortest.WordCount
	shuffles *shuffles
	states   *states
	texts    *texts
	kept     *kept
	pieces
	bucket bucket
}

func newBench(t *testing.T, slots int, graph *executortest.WordCount) *bench {
	b := &bench{graph: graph, shuffles: &shuffles{rows: map[int][]dataset.Rows{}}, states: &states{held: map[job.Held]*executortest.Table{}}, kept: &kept{}}
	b.texts = &texts{by: map[uint64]string{1: "a b", 2: "b c", 3: "c"}}
	b.Runner = task.New(task.Config{
		Slots: slots, Graph: func(job.App) (dataset.App, error) { return graph.App(), nil },
		Blocks: b.texts, Shuffles: b.shuffles, States: b.states, Kept: b.kept, Store: b.put, Pieces: &b.bucket, Logger: slog.New(slog.DiscardHandler),
	})
	b.bucket.objects = map[id.Block][]byte{}
	b.Open(1)
	t.Cleanup(func() {
		if err := b.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// launch makes a launch of the map side for n blocks, or of the output.
func (b *bench) launch(kind job.Kind, blocks int, parts ...int) *job.Launch {
	l := &job.Launch{
		Authority: id.Authority{Epoch: 1, Office: 5, Attempt: 6}, App: job.App{ID: 7, Name: "words"}, Time: 1000, Kind: kind, Parts: parts, Try: 1,
	}
	in := job.Input{Stream: 0, Time: 1000}
	for n := range blocks {
		in.Blocks = append(in.Blocks, job.Block{ID: id.Block{App: 7, Instance: 3, Number: uint64(n + 1)}})
	}
	l.Inputs = []job.Input{in}
	root, _, _ := b.graph.Dataset(1, 1000, sources(blocks))
	l.Lineage = job.Lineage(root)
	l.Shuffle = root.Deps()[0].Shuffle.ID()
	l.Dataset = root.Deps()[0].On.ID()
	if kind == job.OutputTasks {
		l.Dataset = root.ID()
		l.MapOutputs = []job.MapOutput{{Shuffle: l.Shuffle, Holders: make([]id.Session, blocks)}}
	}
	return l
}

type sources int

func (n sources) Partitions(id.Stream, id.Time) int { return int(n) }

func (b *bench) run(t *testing.T, l *job.Launch) []job.TaskResult {
	t.Helper()
	res, err := b.Launch(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Tasks) != len(l.Parts) {
		t.Fatalf("%d results for %d partitions", len(res.Tasks), len(l.Parts))
	}
	for i, r := range res.Tasks {
		if r.Part != l.Parts[i] {
			t.Fatalf("result %d is of partition %d, expected %d", i, r.Part, l.Parts[i])
		}
	}
	return res.Tasks
}

func fault(r job.TaskResult) job.Fault {
	if r.Err == nil {
		return 0
	}
	return r.Err.Fault
}

func TestMapAndOutputTasksRun(t *testing.T) {
	b := newBench(t, 2, &executortest.WordCount{Reducers: 2, Depth: 1})
	for _, r := range b.run(t, b.launch(job.MapTasks, 3, 2, 0, 1)) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	var all string
	for _, r := range b.run(t, b.launch(job.OutputTasks, 3, 0, 1)) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		all += string(r.Receipt)
	}
	for _, want := range []string{`"a":1`, `"b":2`, `"c":2`} {
		if !strings.Contains(all, want) {
			t.Errorf("receipts are %s, expected %s in them", all, want)
		}
	}
}

func TestHowATaskEndsDecidesItsFault(t *testing.T) {
	fetch := &job.TaskError{Fault: job.FetchFault, Text: "lost", MapParts: []int{1}}
	tests := []struct {
		name string
		user func(t dataset.Task)
		want job.Fault
		text string
	}{
		{"well", func(dataset.Task) {}, 0, ""},
		{"panic", func(dataset.Task) { panic("boom") }, job.UserFault, "boom"},
		{"panic of an error", func(dataset.Task) { panic(errors.New("bad")) }, job.UserFault, "bad"},
		{"runtime error", func(t dataset.Task) { make([]int, 0)[t.Batch().Try]++ }, job.UserFault, "out of range"},
		{"goexit", func(dataset.Task) { runtime.Goexit() }, job.UserFault, "Goexit"},
		{"user error", func(t dataset.Task) { t.Fail(errors.New("no such table")) }, job.UserFault, "no such table"},
		{"fault of the engine", func(t dataset.Task) { t.Fail(fetch) }, job.FetchFault, "lost"},
		{"wrapped fault", func(t dataset.Task) { t.Fail(fmt.Errorf("read: %w", fetch)) }, job.FetchFault, "lost"},
		{"failure that user code recovers", func(t dataset.Task) {
			defer func() { _ = recover() }()
			t.Fail(fetch)
		}, job.FetchFault, "lost"},
		{"failure that user code hides behind a panic", func(t dataset.Task) {
			defer func() { panic(fmt.Sprint("boom after ", recover() != nil)) }()
			t.Fail(fetch)
		}, job.FetchFault, "lost"},
		{"endless text", func(dataset.Task) { panic(strings.Repeat("x", 1<<20)) }, job.UserFault, "xxx"},
		{"block beyond the input", func(t dataset.Task) { t.Block(0, 1000, 3) }, job.MismatchFault, "3 blocks"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, 2, &executortest.WordCount{Reducers: 2, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, part int) {
				if part == 1 {
					tt.user(t)
				}
			}})
			res := b.run(t, b.launch(job.MapTasks, 3, 0, 1, 2))
			if fault(res[0]) != 0 || fault(res[2]) != 0 {
				t.Errorf("other tasks failed: %v, %v", res[0].Err, res[2].Err)
			}
			if got := fault(res[1]); got != tt.want {
				t.Fatalf("fault %d (%v), expected %d", got, res[1].Err, tt.want)
			}
			if e := res[1].Err; e != nil && (!strings.Contains(e.Text, tt.text) || len(e.Text) > 4096) {
				t.Errorf("text of %d bytes %.100q, expected %q in it", len(e.Text), e.Text, tt.text)
			}
			if _, kept := b.shuffles.rows[1]; kept != (tt.want == 0) {
				t.Errorf("buckets kept: %v", kept)
			}
		})
	}
}

func TestUnwindingNamesOperatorAndPlace(t *testing.T) {
	for name, user := range map[string]func(){
		"panic":  func() { executortest.Panic("boom") },
		"goexit": executortest.Goexit,
	} {
		for _, kind := range []job.Kind{job.MapTasks, job.OutputTasks} {
			t.Run(fmt.Sprint(name, kind), func(t *testing.T) {
				b := newBench(t, 1, &executortest.WordCount{
					Reducers: 1, Depth: 1, OnMap: func(dataset.Task, dataset.ShuffleID, int) { user() },
					OnOutput: func(dataset.Task, int, int) { user() },
				})
				e := b.run(t, b.launch(kind, 1, 0))[0].Err
				if e == nil || e.Operator != "flatMap" || !strings.HasPrefix(e.At, "wordcount.go:") {
					t.Errorf("error is %+v", e)
				}
			})
		}
	}
}

func TestErrorOfAnOutputNamesIt(t *testing.T) {
	b := newBench(t, 1, &executortest.WordCount{Reducers: 1, Depth: 1, OnOutput: func(t dataset.Task, _, _ int) { t.Fail(errors.New("disk is full")) }})
	e := b.run(t, b.launch(job.OutputTasks, 0, 0))[0].Err
	if e == nil || e.Fault != job.UserFault || e.Operator != "collect" || e.At != "wordcount.go:1" {
		t.Errorf("error is %+v", e)
	}
}

func TestLaunchThatDoesNotFitIsRefused(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(l *job.Launch)
		text  string
	}{
		{"lineage", func(l *job.Launch) { l.Lineage++ }, "not pure"},
		{"output", func(l *job.Launch) { l.Output = 3 }, "output 3"},
		{"dataset", func(l *job.Launch) { l.Dataset.Sub = 9 }, "dataset"},
		{"shuffle", func(l *job.Launch) { l.Shuffle.Dep = 4 }, "shuffle"},
		{"kind", func(l *job.Launch) { l.Kind = 99 }, "kind 99"},
		{"partition", func(l *job.Launch) { l.Parts = []int{0, 5} }, "partition 5"},
		{"negative partition", func(l *job.Launch) { l.Parts = []int{-1} }, "partition -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, 1, &executortest.WordCount{Reducers: 1, Depth: 1})
			l := b.launch(job.MapTasks, 2, 0, 1)
			tt.spoil(l)
			for _, r := range b.run(t, l) {
				if fault(r) != job.MismatchFault || !strings.Contains(r.Err.Text, tt.text) {
					t.Errorf("partition %d: %v, expected a mismatch that says %q", r.Part, r.Err, tt.text)
				}
			}
		})
	}
}

func TestFullAndFencedBucketsAreNoUserErrors(t *testing.T) { // rule 8
	for err, want := range map[error]job.Fault{job.ErrFull: job.LostFault, job.ErrFenced: job.FencedFault} {
		b := newBench(t, 1, &executortest.WordCount{Reducers: 1, Depth: 1})
		b.shuffles.err = fmt.Errorf("put: %w", err)
		if r := b.run(t, b.launch(job.MapTasks, 1, 0))[0]; fault(r) != want {
			t.Errorf("%v: fault is %v, expected %d", err, r.Err, want)
		}
	}
}

// peersOf answers Get from texts by peer name.
type peersOf struct {
	job.Executors
	has map[string][]byte
}

func (p peersOf) Get(_ context.Context, to job.Peer, b id.Block) (job.BlockData, error) {
	if data, ok := p.has[to.Name]; ok {
		return job.BlockData{ID: b, Data: data}, nil
	}
	return job.BlockData{}, job.ErrNoBlock
}

func TestBlockIsReadWhereItIsUndamaged(t *testing.T) { // rule 8, invariant 12
	good, bad := []byte("good data"), []byte("bad! data")
	tests := []struct {
		name  string
		local []byte
		peers map[string][]byte
		found bool
		text  []string
	}{
		{"here", good, nil, true, nil},
		{"on a peer", nil, map[string][]byte{"p2": good}, true, nil},
		{"here damaged", bad, map[string][]byte{"p1": good}, true, nil},
		{"first peer damaged", nil, map[string][]byte{"p1": bad, "p2": good}, true, nil},
		{"cut short", nil, map[string][]byte{"p1": good[:4]}, false, []string{"4 bytes, expected 9"}},
		{"nowhere", nil, nil, false, []string{"p1: block not held", "s3: no open session"}},
		{"damaged everywhere", bad, map[string][]byte{"p1": bad}, false, []string{"here: copy has CRC32C"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &task.Blocks{
				Store: "s0", Executors: peersOf{has: tt.peers},
				Local: func(b id.Block) (job.BlockData, error) {
					if tt.local == nil {
						return job.BlockData{}, job.ErrNoBlock
					}
					return job.BlockData{ID: b, Data: tt.local}, nil
				},
				Peer: func(s id.Store) (job.Peer, bool) {
					return job.Peer{Name: strings.Replace(string(s), "s", "p", 1), Store: s}, s != "s3"
				},
			}
			b := &job.Block{ID: id.Block{Number: 4}, Bytes: 9, CRC: crc32.Checksum(good, crc32.MakeTable(crc32.Castagnoli)), Stores: []id.Store{"s0", "s1", "s2", "s3"}}
			data, err := r.Read(t.Context(), b)
			if tt.found {
				if err != nil || string(data) != string(good) {
					t.Errorf("read %q, %v", data, err)
				}
				return
			}
			te, ok := errors.AsType[*job.TaskError](err)
			if !ok || te.Fault != job.MissingFault || te.Block != b.ID {
				t.Fatalf("error is %v, expected the block missing", err)
			}
			for _, want := range tt.text {
				if !strings.Contains(te.Text, want) {
					t.Errorf("text is %q, expected %q in it", te.Text, want)
				}
			}
		})
	}
}
