package dstream

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/plan"
)

// Context is a graph under construction (Spark: StreamingContext). It belongs to one call of a build function: streams
// made after that returned are an error of the program and panic, as does any other change.
type Context struct {
	spec      dataset.Spec
	out       io.Writer
	plan      plan.Plan
	streams   []stream
	pasts     []past // by stream
	outputs   []dataset.Output
	receivers map[id.Stream]dataset.Receiver
	directs   map[id.Stream]dataset.Direct
	blame     blame
	errs      []error
	remember  time.Duration
	// checkpoints are the intervals asked for; states the streams with state, needed or not.
	checkpoints []checkpoint
	states      []plan.State
	keepers     map[id.Stream]id.Stream // of streams whose state another one has
	sealed      bool
}

// BatchInterval is the time between two batches.
func (c *Context) BatchInterval() time.Duration {
	return time.Duration(c.spec.BatchMS) * time.Millisecond
}

// Remember keeps the input of every batch for at least d after its time, longer than the graph needs by itself. It may
// be called once.
func (c *Context) Remember(d time.Duration) {
	c.unsealed("remember")
	switch err := whole("duration", d); {
	case err != nil:
		c.fail("remember", err)
	case c.remember != 0:
		c.fail("remember", fmt.Errorf("set twice, to %v and to %v: expected once", c.remember, d))
	default:
		c.remember = d
	}
}

// fail records an error of construction at the caller of this package.
func (c *Context) fail(op string, err error) {
	c.errs = append(c.errs, fmt.Errorf("%s: %s: %w", caller(), op, err))
}

// function checks a function given by the user and remembers whose it is.
func (c *Context) function(op string, f any) {
	c.unsealed(op)
	if v := reflect.ValueOf(f); v.IsNil() {
		c.fail(op, errors.New("the function is nil"))
		return
	}
	c.blame.add(op, f)
}

// err is everything that was found wrong, in order of construction.
func (c *Context) err() error {
	errs := append(c.errs, c.checkpointErrs()...)
	if len(c.plan.Outputs) == 0 {
		errs = append(errs, errors.New("no output operations registered: end a stream in Print, SaveAsTextFiles, ForeachRDD, ForeachPartition, To"))
	}
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return fmt.Errorf("%d errors:\n%w", len(errs), errors.Join(errs...))
}

// unsealed panics at who changes a graph that executors use already.
func (c *Context) unsealed(op string) {
	if c.sealed {
		panic("dstream: " + op + " at " + caller() + ": the graph is built already; that is for the build function to do")
	}
}

// seal ends the construction.
func (c *Context) seal() {
	c.sealed = true
	c.plan.BatchMS = c.spec.BatchMS
	c.sealRemember()
	c.sealStates()
}

// stream is a DStream of any type, as the graph sees it.
type stream interface {
	dataset(p *pass, at id.Time) (dataset.Dataset, error) // nil: none
}

// pass makes datasets for one question of the engine. Each of them is made once, so that a stream that is reached by
// two ways is one dataset; nothing is remembered between passes.
type pass struct {
	in   dataset.Sources
	made map[dataset.ID]any // *lineage.Node by stream and time
}

// compute makes the dataset of a stream for scope's time; nil: the stream has none.
type compute[T any] func(p *pass, s *lineage.Scope) (*lineage.Node[T], error)

// DStream is a discretized stream: a dataset of T for every batch time.
type DStream[T any] struct {
	c       *Context
	id      id.Stream
	slideMS int64
	compute compute[T]
	level   StorageLevel // 0: datasets are not kept
	window  *DStream[T]  // the stream of which this is a window; nil: it is none
}

// add makes a stream and describes it in the plan.
func add[T any](c *Context, op string, slideMS int64, parents []id.Stream, parts int, f compute[T]) *DStream[T] {
	c.unsealed(op)
	s := &DStream[T]{c: c, id: id.Stream(len(c.streams)), slideMS: slideMS, compute: f}
	c.streams = append(c.streams, s)
	c.pasts = append(c.pasts, c.pastOf(op, parents))
	c.plan.Streams = append(c.plan.Streams, plan.Stream{
		ID: s.id, Operator: op, Type: typeName[T](), Parents: parents, SlideMS: slideMS, Partitions: parts, At: caller(),
	})
	return s
}

// typeName describes T for the fingerprint: with its fields if it has a codec.
func typeName[T any]() string {
	if c, err := codec.For[T](); err == nil {
		return c.Name
	}
	return reflect.TypeFor[T]().String()
}

// Name sets the name under which the stream is shown.
func (s *DStream[T]) Name(name string) *DStream[T] {
	s.c.unsealed("name")
	s.c.plan.Streams[s.id].Name = name
	return s
}

// get gives the stream's dataset at a time; nil where the time is not one of the stream's, or it has none
// (Spark: getOrCompute).
func (s *DStream[T]) get(p *pass, at id.Time) (*lineage.Node[T], error) {
	since := int64(at - s.c.spec.ZeroTime)
	if since <= 0 || since%s.slideMS != 0 {
		return nil, nil
	}
	key := dataset.ID{Stream: s.id, Time: at}
	if n, ok := p.made[key]; ok {
		return n.(*lineage.Node[T]), nil
	}
	scope := &lineage.Scope{Stream: s.id, Time: at, Partitions: s.c.spec.Partitions}
	n, err := s.compute(p, scope)
	if err == nil {
		n = s.kept(scope, n)
		err = scope.Err()
	}
	if err != nil {
		return nil, err
	}
	p.made[key] = n
	return n, nil
}

// must is get for operators that cannot do without (Spark: transform, union, count, ...).
func (s *DStream[T]) must(p *pass, at id.Time, op string) (*lineage.Node[T], error) {
	n, err := s.get(p, at)
	if err == nil && n == nil {
		d := s.c.plan.Streams[s.id]
		err = fmt.Errorf("%s: its parent, stream %d (%s at %s), has no dataset at %d ms", op, s.id, d.Operator, d.At, at)
	}
	return n, err
}

func (s *DStream[T]) dataset(p *pass, at id.Time) (dataset.Dataset, error) {
	n, err := s.get(p, at)
	if n == nil || err != nil {
		return nil, err
	}
	return n, nil
}

// graph is a finished Context, as the engine sees it.
type graph struct{ c *Context }

var _ dataset.App = graph{}

func (g graph) Plan() *plan.Plan          { return &g.c.plan }
func (g graph) Outputs() []dataset.Output { return g.c.outputs }

func (g graph) Dataset(s id.Stream, at id.Time, in dataset.Sources) (dataset.Dataset, bool, error) {
	if s < 0 || int(s) >= len(g.c.streams) {
		return nil, false, fmt.Errorf("stream %d of program %q: it has streams 0 to %d", s, g.c.spec.Name, len(g.c.streams)-1)
	}
	p := &pass{in: in, made: map[dataset.ID]any{}}
	d, err := g.c.streams[s].dataset(p, at)
	return d, d != nil, err
}

func (g graph) Receiver(s id.Stream) (dataset.Receiver, bool) {
	r, ok := g.c.receivers[s]
	return r, ok
}

func (g graph) Direct(s id.Stream) (dataset.Direct, bool) {
	d, ok := g.c.directs[s]
	return d, ok
}

// Forget has nothing to drop: every Dataset call makes its datasets anew.
func (g graph) Forget(id.Time) {}

func (g graph) Blame(frames []uintptr) (operator, at string) { return g.c.blame.find(frames) }
