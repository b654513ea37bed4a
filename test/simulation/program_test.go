package simulation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

// program is an application that is submitted once: what it is made of, what feeds it, and what it has put out.
type program struct {
	name       string // of what it runs, which no other one has
	app        string // name of the application
	life       int    // how often the application was submitted, with this time
	words      bool   // running totals of words; else every record of each batch
	streams    int    // input streams, 1 for words
	batchMS    int64
	blockMS    int64
	checkpoint int64 // of words, in ms; 0: never
	bucket     bool  // checkpoints are in the bucket
	factor     int
	lossy      bool      // its owner may accept the loss of input
	sources    []*source // by stream

	number   atomic.Uint64 // of the application, 0 before it is submitted
	stopping atomic.Bool   // its owner has stopped it
	failing  atomic.Int32  // reasons for its outputs to fail
	outputs  outputs
}

func (g *program) id() id.App { return id.App(g.number.Load()) }

// source gives numbered lines in some partitions, and can give them again.
type source struct {
	name       string
	partitions int
	every      time.Duration // between two turns
	most       int           // lines of one partition in a turn
	sim        *sim

	mu      sync.Mutex
	until   int         // last line of every partition, 0 while there is no end
	sent    map[int]int // highest line that was given, by partition
	acked   map[int]int // highest line that was acknowledged
	waiting []given     // lines whose receipts were not looked at since they are settled
	trips   error       // what the receiver fails with next: errUser, or a panic with errPanic
}

func newSource(name string, partitions int, every time.Duration, most int) *source {
	return &source{name: name, partitions: partitions, every: every, most: most, sent: map[int]int{}, acked: map[int]int{}}
}

// text gives a line. That of words begins with a word of its partition, so that totals tell how many lines they are of.
func (s *source) text(words bool, q, n int) string {
	if words {
		return fmt.Sprintf("p%d w%d w%d\n", q, (n*7+q)%20, n%13)
	}
	return fmt.Sprintf("%s/%d:%d\n", s.name, q, n)
}

// finish lets the source come to its end, which it gives: lines of each partition.
func (s *source) finish() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == 0 {
		s.until = 5
		for _, n := range s.sent {
			s.until = max(s.until, n+3)
		}
	}
	return s.until
}

// span gives how many lines of a partition must be there in the end, and how many may be.
func (s *source) span(q int) (least, most int) {
	s.collect()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until != 0 {
		return s.until, s.until
	}
	return s.acked[q], s.sent[q]
}

// trip makes the receiver fail, or panic.
func (s *source) trip(panics bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trips = errUser
	if panics {
		s.trips = errPanic
	}
}

// tripped fails as the receiver was told to, once.
func (s *source) tripped() error {
	s.mu.Lock()
	err := s.trips
	s.trips = nil
	s.mu.Unlock()
	if errors.Is(err, errPanic) {
		panic(err)
	}
	return err
}

// next gives how many lines to give after n, -1 at the end.
func (s *source) next(q, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until != 0 && n >= s.until {
		return -1
	}
	k := 1 + (n*31+q)%s.most
	if s.until != 0 {
		k = min(k, s.until-n)
	}
	s.sent[q] = max(s.sent[q], n+k)
	return k
}

// begins checks the positions that an instance begins from: nothing acknowledged is before them (invariant 1).
func (s *source) begins(in dataset.Inlet) map[int]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := map[int]int{}
	for q := range s.partitions {
		at[q] = int(in.Position(strconv.Itoa(q)))
		if at[q] < s.acked[q] {
			s.sim.Errorf("a receiver of %s begins after line %d of partition %d, line %d was acknowledged", s.name, at[q], q, s.acked[q])
		}
		if at[q] > s.sent[q] {
			s.sim.Errorf("a receiver of %s begins after line %d of partition %d, line %d was the last one given", s.name, at[q], q, s.sent[q])
		}
		if at[q] < s.sent[q] {
			s.sim.seen(receiverReplay)
		}
	}
	return at
}

// feed is the receiver of a source in one process.
type feed struct {
	*source
	words bool
}

// Run implements dataset.Receiver.
func (f feed) Run(ctx context.Context, in dataset.Inlet) error {
	at := f.begins(in)
	for ended := false; !ended; {
		if err := rest(ctx, f.every); err != nil {
			return err
		}
		if err := f.tripped(); err != nil {
			return err
		}
		ended = true
		f.collect()
		for q := range f.partitions {
			k := f.next(q, at[q])
			if k < 0 {
				continue
			}
			ended = false
			var text strings.Builder
			for i := range k {
				text.WriteString(f.text(f.words, q, at[q]+1+i))
			}
			first, last := at[q]+1, at[q]+k
			r, err := in.Add(ctx, dataset.Records{
				Bytes: []byte(text.String()), Count: k,
				Range: connector.Range{Partition: strconv.Itoa(q), First: uint64(first), Last: uint64(last)},
			})
			if err != nil {
				return err
			}
			at[q] = last
			if r != nil {
				f.awaits(given{r, q, last})
			}
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// given is a line that waits for its receipt.
type given struct {
	connector.Receipt
	q, n int
}

func (s *source) awaits(g given) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, g)
}

// collect takes note of what was acknowledged.
func (s *source) collect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(g given) bool {
		select {
		case <-g.Done():
		default:
			return false
		}
		if _, err := g.Result(); err == nil {
			s.acked[g.q] = max(s.acked[g.q], g.n)
		}
		return true
	})
}

// outputs are what was committed, by output and batch time.
type outputs struct {
	mu  sync.Mutex
	all map[outputOf]string
}

type outputOf struct {
	output  int
	at      id.Time
	attempt id.Attempt // where another one may leave out what is lost, else 0
}

func (g *program) output(n int, at id.Time, attempt id.Attempt) outputOf {
	if !g.lossy {
		attempt = 0
	}
	return outputOf{n, at, attempt}
}

// put notes what an output made of a batch; whoever makes it again must make the same (invariants 4 and 5).
func (o *outputs) put(s *sim, p *program, k outputOf, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[outputOf]string{}
	}
	if before, ok := o.all[k]; ok {
		s.seen(outputRepeated)
		if before != text {
			s.Errorf("output %d of batch %d of %s was %q, made again it is %q", k.output, k.at, p.name, before, text)
		}
	}
	o.all[k] = text
}

func (o *outputs) get(k outputOf) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text, ok := o.all[k]
	return text, ok
}

// graph gives the program's graph as a process has it: what it puts out is heard while the process lives.
func (g *program) graph(p *process) dataset.App {
	if !g.words {
		return &records{g, p}
	}
	w := &executortest.WordCount{
		Reducers: 2, Depth: 1, Running: true, CheckpointMS: g.checkpoint, BatchMS: g.batchMS, Source: feed{g.sources[0], true},
	}
	w.OnWords = func(_ context.Context, b dataset.Batch, output int, words map[string]int) error {
		return g.put(p, output, b, wordsText(words))
	}
	return w.App()
}

// put is what commits an output in a process.
func (g *program) put(p *process, output int, b dataset.Batch, text string) error {
	switch {
	case !p.alive():
		return errDead
	case g.failing.Load() > 0:
		return errUser
	}
	g.outputs.put(p.sim, g, g.output(output, b.Time, b.Attempt), text)
	return nil
}

func wordsText(words map[string]int) string {
	var text strings.Builder
	for _, w := range slices.Sorted(maps.Keys(words)) {
		fmt.Fprintf(&text, "%s=%d ", w, words[w])
	}
	return text.String()
}

func (g *program) submitted(pl *plan.Plan) *fsm.ApplicationSubmitted {
	c := &fsm.ApplicationSubmitted{
		RequestID: g.name, Name: g.app, Program: g.name, Params: []byte("{}"), BatchMS: g.batchMS, BlockMS: g.blockMS, Partitions: 2,
		Factor: g.factor, Fingerprint: pl.Fingerprint(), Build: "build", RememberMS: g.batchMS, NowMS: time.Now().UnixMilli(),
	}
	for s := range g.streams {
		c.Inputs = append(c.Inputs, fsm.InputStream{Stream: id.Stream(s), Source: "test", Receiver: true})
	}
	if g.words {
		c.States = []fsm.StateStream{{Stream: 1, SlideMS: g.batchMS, Partitions: 2}}
		if g.bucket {
			c.CheckpointURL = bucketURL
		}
	}
	return c
}

// records is a graph whose outputs, one for each input stream, hold every record of a batch.
type records struct {
	g *program
	p *process
}

var _ dataset.App = (*records)(nil)

// Plan implements dataset.App.
func (r *records) Plan() *plan.Plan {
	pl := &plan.Plan{BatchMS: r.g.batchMS, RememberMS: r.g.batchMS}
	for s := range r.g.streams {
		pl.Inputs = append(pl.Inputs, plan.Input{Stream: id.Stream(s), Source: "test", Receiver: true})
		pl.Streams = append(pl.Streams, plan.Stream{ID: id.Stream(s), Operator: "records", Type: "string", SlideMS: r.g.batchMS})
		pl.Outputs = append(pl.Outputs, plan.Output{Stream: id.Stream(s), Operator: "put", Name: fmt.Sprint("put-", s), At: "program_test.go:1"})
	}
	return pl
}

// Dataset implements dataset.App.
func (r *records) Dataset(s id.Stream, at id.Time, in dataset.Sources) (dataset.Dataset, bool, error) {
	return received{dataset.ID{Stream: s, Time: at}, in.Partitions(s, at)}, true, nil
}

// Outputs implements dataset.App.
func (r *records) Outputs() (all []dataset.Output) {
	for s := range r.g.streams {
		all = append(all, putRecords{r, s})
	}
	return all
}

// Receiver implements dataset.App.
func (r *records) Receiver(s id.Stream) (dataset.Receiver, bool) {
	return feed{r.g.sources[s], false}, true
}

// Direct implements dataset.App.
func (r *records) Direct(id.Stream) (dataset.Direct, bool) { return nil, false }

// Forget implements dataset.App.
func (r *records) Forget(id.Time) {}

// Blame implements dataset.App.
func (r *records) Blame([]uintptr) (operator, at string) { return "", "" }

// received is the blocks of a batch.
type received struct {
	id    dataset.ID
	parts int
}

func (d received) ID() dataset.ID                              { return d.id }
func (d received) Partitions() int                             { return d.parts }
func (d received) Deps() []dataset.Dep                         { return nil }
func (d received) Collect(dataset.Task, int, int) dataset.Rows { panic("nothing collects here") }

// putRecords is an output whose receipts are the records themselves.
type putRecords struct {
	r *records
	n int
}

func (o putRecords) Name() string      { return fmt.Sprint("put-", o.n) }
func (o putRecords) Stream() id.Stream { return id.Stream(o.n) }

// Run implements dataset.Output.
func (o putRecords) Run(t dataset.Task, d dataset.Dataset, part int) []byte {
	return bytes.Clone(t.Block(d.ID().Stream, d.ID().Time, part))
}

// Commit implements dataset.Output.
func (o putRecords) Commit(_ context.Context, b dataset.Batch, receipts [][]byte) error {
	return o.r.g.put(o.r.p, o.n, b, string(bytes.Join(receipts, nil)))
}

// builder builds the graphs of a process.
type builder struct{ p *process }

var _ dataset.Builder = builder{}

// Build implements dataset.Builder.
func (b builder) Build(s dataset.Spec) (dataset.App, error) {
	for _, g := range b.p.sim.apps() {
		if g.name == s.Name {
			return g.graph(b.p), nil
		}
	}
	return nil, fmt.Errorf("unknown program %q", s.Name)
}

// Params implements dataset.Builder.
func (b builder) Params(string, map[string]string) ([]byte, error) { return json.RawMessage("{}"), nil }

// Names implements dataset.Builder.
func (b builder) Names() (names []string) {
	for _, g := range b.p.sim.apps() {
		names = append(names, g.name)
	}
	return names
}
