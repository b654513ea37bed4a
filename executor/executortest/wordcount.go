// Package executortest owns what tests of executors share: a graph written by hand over the untyped seam, and a driver
// that says what the test wants. It promises that it needs neither the typed operators nor the ledger; it must not be
// imported by anything but tests.
package executortest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

// Program is the graph's name in a Builder.
const Program = "wordcount"

// WordCount counts the words of stream 0, in Depth shuffles one after the other (streams 1 to Depth), and has Outputs
// output operations on the last one. Fields are set before it is used; hooks may be nil.
type WordCount struct {
	Reducers int
	Depth    int // at least 1
	Outputs  int // at least 1
	Empty    int // not 0: stream 0 has that many partitions without blocks
	// Running makes the last stream one of keyed state: the sums over all batches so far. Its outputs give all of them.
	Running      bool
	CheckpointMS int64 // with Running
	BatchMS      int64 // 0: a second
	Blind        bool  // outputs do not read what they are given

	OnMap    func(t dataset.Task, s dataset.ShuffleID, part int)
	OnRead   func(t dataset.Task, part int, c dataset.Chunk) // for each chunk that an output reads
	OnOutput func(t dataset.Task, output, part int)
	OnState  func(t dataset.Task, part int) // when keyed state advances
	OnCommit func(ctx context.Context, b dataset.Batch, output int) error
	OnWords  func(ctx context.Context, b dataset.Batch, output int, words map[string]int) error // before Results has them
	OnGraph  func(at id.Time) error                                                             // when datasets are made
	// OnCall makes the outputs functions on the coordinator; the answers that they get are Words.
	OnCall func(ctx context.Context, b dataset.Batch, jobs dataset.Jobs) error
	// Source is the receiver of stream 0, nil for none.
	Source dataset.Receiver

	Results Results
}

// Result names what one output committed for one batch.
type Result struct {
	Output int
	Time   id.Time
}

// Results are the commits of all outputs, in order.
type Results struct {
	mu    sync.Mutex
	log   []Result
	words map[Result]map[string]int
}

// Put notes what an output made of a batch.
func (r *Results) Put(k Result, words map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.words == nil {
		r.words = map[Result]map[string]int{}
	}
	r.words[k] = words
	r.log = append(r.log, k)
}

// Log lists the commits in the order in which they happened.
func (r *Results) Log() []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}

// Words gives what an output committed last for a batch.
func (r *Results) Words(output int, at id.Time) map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.words[Result{output, at}])
}

// Count counts words as an oracle.
func Count(texts ...string) map[string]int {
	m := map[string]int{}
	for _, t := range texts {
		for w := range strings.FieldsSeq(t) {
			m[w]++
		}
	}
	return m
}

// Plan implements dataset.App.
func (w *WordCount) Plan() *plan.Plan {
	ms := w.batchMS()
	p := &plan.Plan{BatchMS: ms, RememberMS: ms, Inputs: []plan.Input{{Stream: 0, Source: "test", Receiver: w.Source != nil, Pushed: w.Source != nil}}}
	for s := range w.Depth + 1 {
		p.Streams = append(p.Streams, plan.Stream{ID: id.Stream(s), Operator: "count", Type: "string", SlideMS: ms, Partitions: w.Reducers})
	}
	if w.Running {
		p.States = []plan.State{{Stream: id.Stream(w.Depth), SlideMS: ms, Partitions: w.Reducers}}
		p.CheckpointMS = w.CheckpointMS
	}
	for o := range max(w.Outputs, 1) {
		p.Outputs = append(p.Outputs, plan.Output{Stream: id.Stream(w.Depth), Operator: "collect", Name: name(o), At: "wordcount.go:1"})
	}
	return p
}

func name(output int) string { return fmt.Sprintf("collect-%d", output) }

func (w *WordCount) batchMS() int64 {
	if w.BatchMS != 0 {
		return w.BatchMS
	}
	return 1000
}

// Dataset implements dataset.App.
func (w *WordCount) Dataset(s id.Stream, at id.Time, in dataset.Sources) (dataset.Dataset, bool, error) {
	if w.OnGraph != nil {
		if err := w.OnGraph(at); err != nil {
			return nil, false, err
		}
	}
	parts := in.Partitions(0, at)
	if w.Empty > 0 {
		parts = w.Empty
	}
	var d dataset.Dataset = &node{id: dataset.ID{Stream: 0, Time: at}, parts: parts}
	for k := 1; k <= int(s); k++ {
		of := dataset.ID{Stream: id.Stream(k), Time: at}
		n := node{id: of, parts: w.Reducers, deps: []dataset.Dep{{On: d, Shuffle: &counts{w: w, id: dataset.ShuffleID{Of: of}, from: d.ID()}}}}
		if d = &n; w.Running && k == w.Depth {
			d = &totals{w: w, node: n}
		}
	}
	return d, true, nil
}

func (w *WordCount) outputs() []dataset.Output {
	var all []dataset.Output
	for o := range max(w.Outputs, 1) {
		if w.OnCall != nil {
			all = append(all, &action{collect{w, o}})
			continue
		}
		all = append(all, &collect{w, o})
	}
	return all
}

// App gives the graph as the seam wants it.
func (w *WordCount) App() dataset.App { return app{w} }

type app struct{ *WordCount }

func (a app) Outputs() []dataset.Output { return a.outputs() }

func (a app) Receiver(s id.Stream) (dataset.Receiver, bool) {
	return a.Source, s == 0 && a.Source != nil
}

func (a app) Direct(id.Stream) (dataset.Direct, bool) { return nil, false }

func (a app) Forget(id.Time) {}

// Blame finds the functions Panic and Goexit.
func (a app) Blame(frames []uintptr) (operator, at string) {
	fs := runtime.CallersFrames(frames)
	for {
		f, more := fs.Next()
		if strings.HasSuffix(f.Function, "executortest.Panic") || strings.HasSuffix(f.Function, "executortest.Goexit") {
			return "flatMap", fmt.Sprintf("%s:%d", f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
		}
		if !more {
			return "", ""
		}
	}
}

// Panic is user code at fault: Blame finds it.
func Panic(v any) { panic(v) }

// Goexit is user code that ends its goroutine: Blame finds it.
func Goexit() { runtime.Goexit() }

type node struct {
	id    dataset.ID
	parts int
	deps  []dataset.Dep
}

func (n *node) ID() dataset.ID                              { return n.id }
func (n *node) Partitions() int                             { return n.parts }
func (n *node) Deps() []dataset.Dep                         { return n.deps }
func (n *node) Collect(dataset.Task, int, int) dataset.Rows { panic("not collected in these tests") }

// counts is the shuffle of one counting.
type counts struct {
	w    *WordCount
	id   dataset.ShuffleID
	from dataset.ID
}

func (c *counts) ID() dataset.ShuffleID { return c.id }
func (c *counts) Reducers() int         { return c.w.Reducers }

func (c *counts) Map(t dataset.Task, part int) []dataset.Rows {
	if c.w.OnMap != nil {
		c.w.OnMap(t, c.id, part)
	}
	rows := make([]dataset.Rows, c.w.Reducers)
	buckets := make([]Words, c.w.Reducers)
	for r := range rows {
		buckets[r] = Words{}
		rows[r] = buckets[r]
	}
	add := func(word string, n int) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(word))
		buckets[int(h.Sum32())%c.w.Reducers][word] += n
	}
	switch {
	case c.id.Of.Stream > 1:
		for w, n := range read(t, dataset.ShuffleID{Of: c.from}, part, nil) {
			add(w, n)
		}
	case c.w.Empty == 0:
		for w := range strings.FieldsSeq(string(t.Block(0, c.id.Of.Time, part))) {
			add(w, 1)
		}
	}
	return rows
}

// read merges what all map tasks made for a reducer.
func read(t dataset.Task, s dataset.ShuffleID, part int, each func(dataset.Chunk)) Words {
	all := Words{}
	for c := range t.Buckets(s, part) {
		if each != nil {
			each(c)
		}
		from, ok := c.Rows.(Words)
		if !ok {
			var err error
			if from, err = Decode(c.Bytes); err != nil {
				t.Fail(err)
			}
		}
		for w, n := range from {
			all[w] += n
		}
	}
	return all
}

// Words is a bucket.
type Words map[string]int

// Len implements dataset.Rows.
func (w Words) Len() int { return len(w) }

// Encode implements dataset.Rows.
func (w Words) Encode(dst []byte) []byte {
	for _, k := range slices.Sorted(maps.Keys(w)) {
		dst = binary.AppendUvarint(dst, uint64(len(k)))
		dst = append(dst, k...)
		dst = binary.AppendUvarint(dst, uint64(w[k]))
	}
	return dst
}

// Decode reads what Encode wrote.
func Decode(b []byte) (Words, error) {
	w := Words{}
	for len(b) > 0 {
		n, k := binary.Uvarint(b)
		if k <= 0 || uint64(len(b)-k) < n {
			return nil, errors.New("damaged bucket")
		}
		word := string(b[k : k+int(n)])
		b = b[k+int(n):]
		c, k := binary.Uvarint(b)
		if k <= 0 {
			return nil, errors.New("damaged bucket")
		}
		w[word], b = int(c), b[k:]
	}
	return w, nil
}

// collect is an output operation whose receipts are its words.
type collect struct {
	w *WordCount
	n int
}

func (c *collect) Name() string      { return name(c.n) }
func (c *collect) Stream() id.Stream { return id.Stream(c.w.Depth) }

func (c *collect) Run(t dataset.Task, d dataset.Dataset, part int) []byte {
	receipt, err := json.Marshal(c.words(t, d, part))
	if err != nil {
		t.Fail(err)
	}
	return receipt
}

func (c *collect) words(t dataset.Task, d dataset.Dataset, part int) Words {
	if c.w.OnOutput != nil {
		c.w.OnOutput(t, c.n, part)
	}
	if c.w.Blind {
		return nil
	}
	each := func(ch dataset.Chunk) {
		if c.w.OnRead != nil {
			c.w.OnRead(t, part, ch)
		}
	}
	if sums, ok := d.(*totals); ok {
		return sums.words(t, part)
	}
	return read(t, dataset.ShuffleID{Of: d.ID()}, part, each)
}

// action is an output operation that is a function.
type action struct{ collect }

var _ dataset.Action = (*action)(nil)

// Call implements dataset.Action.
func (a *action) Call(ctx context.Context, b dataset.Batch, _ dataset.Dataset, jobs dataset.Jobs) error {
	return a.w.OnCall(ctx, b, jobs)
}

// Read implements dataset.Action: it gives words one by one, and knows no limit.
func (a *action) Read(t dataset.Task, d dataset.Dataset, part int, q dataset.Query, put func([]byte)) int64 {
	words := a.words(t, d, part)
	for _, w := range slices.Sorted(maps.Keys(words)) {
		if !q.Count {
			put(Words{w: words[w]}.Encode(nil))
		}
	}
	return int64(len(words))
}

func (c *collect) Commit(ctx context.Context, b dataset.Batch, receipts [][]byte) error {
	if c.w.OnCommit != nil {
		if err := c.w.OnCommit(ctx, b, c.n); err != nil {
			return err
		}
	}
	all := map[string]int{}
	for part, r := range receipts {
		var words map[string]int
		if err := json.Unmarshal(r, &words); err != nil {
			return fmt.Errorf("receipt of partition %d: %w", part, err)
		}
		for w, n := range words {
			if all[w] != 0 {
				return fmt.Errorf("word %q is in two partitions", w)
			}
			all[w] = n
		}
	}
	if c.w.OnWords != nil {
		if err := c.w.OnWords(ctx, b, c.n, all); err != nil {
			return err
		}
	}
	c.w.Results.Put(Result{c.n, b.Time}, all)
	return nil
}

// Builder builds the graph: as is the same one for every executor, or by Make one for each.
type Builder struct {
	Graph *WordCount
	Make  func() *WordCount // optional
}

var _ dataset.Builder = (*Builder)(nil)

// Build implements dataset.Builder.
func (b *Builder) Build(s dataset.Spec) (dataset.App, error) {
	if s.Name != Program {
		return nil, fmt.Errorf("unknown program %q, known: %s", s.Name, Program)
	}
	if b.Make != nil {
		return b.Make().App(), nil
	}
	return b.Graph.App(), nil
}

// Params implements dataset.Builder.
func (b *Builder) Params(string, map[string]string) ([]byte, error) { return []byte("{}"), nil }

// Names implements dataset.Builder.
func (b *Builder) Names() []string { return []string{Program} }
