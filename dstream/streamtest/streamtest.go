// Package streamtest owns the test kit of applications: it runs operators on given batches under a manual clock, in
// process, on the engine itself: the ledger is the real state machine, batches are planned by the real generator, and
// two real executors coordinate, compute and exchange encoded bytes. No port is opened and no file is written.
//
// It promises the results that a cluster gives for the same batches, also after a restart that keeps only what was
// committed. It must not know Raft or networks.
package streamtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/id"
)

type config struct {
	interval     time.Duration
	batches      int
	partitions   int
	restartAfter map[int]bool
	loseAfter    map[int]bool
}

// Option changes a default of Run.
type Option func(*config)

// BatchInterval sets the batch interval; 1 s otherwise.
func BatchInterval(d time.Duration) Option { return func(c *config) { c.interval = d } }

// Batches sets how many batches run; as many as the input has otherwise. Those beyond the input are empty.
func Batches(n int) Option { return func(c *config) { c.batches = n } }

// Partitions sets the number of input partitions, and of shuffles that say nothing else; 2 otherwise. A batch of n
// elements is cut at i*n/p.
func Partitions(n int) Option { return func(c *config) { c.partitions = n } }

// RestartAfter drops everything volatile after that batch (from 1) and goes on from what was committed: a snapshot of
// the ledger, and what executors had synced. It may be given several times.
func RestartAfter(batch int) Option { return func(c *config) { c.restartAfter[batch] = true } }

// LoseExecutorAfter ends, after that batch (from 1), the executor that does not coordinate, with its memory and its disk;
// an empty one takes its place. State that it held is made again from what others hold. It may be given several times.
func LoseExecutorAfter(batch int) Option { return func(c *config) { c.loseAfter[batch] = true } }

// Run feeds input[i] as batch i+1 under a manual clock that starts at 0, and returns what op's stream holds in each
// batch that has a dataset, in order of partition. A nil element of input means that the source has no dataset for that
// batch, an empty one an empty dataset. op is called by every process of the small cluster and must be pure.
// A partition of a batch is one block, which has a limit of 12 MiB: give more Partitions for more.
//
// A graph that cannot be built ends the test (tb.Fatalf). When a batch fails, so does the test (tb.Errorf), and what
// the batches before it gave is returned. Of tb, Helper, Errorf and Fatalf alone are called, on the caller's goroutine.
func Run[T, U any](tb testing.TB, input [][]T, op func(*dstream.DStream[T]) *dstream.DStream[U], opts ...Option) [][]U {
	tb.Helper()
	c := configOf(len(input), opts)
	a, err := feedOf(c, input)
	if err != nil {
		tb.Fatalf("streamtest: input: %v", err)
		return nil // a tb may go on
	}
	return run(tb, c, []feed{a}, func(ctx *dstream.Context) *dstream.DStream[U] { return op(a.stream(ctx)) })
}

// Run2 is Run with two input streams. Batches beyond the shorter input are empty there.
func Run2[T, V, U any](tb testing.TB, a [][]T, b [][]V, op func(*dstream.DStream[T], *dstream.DStream[V]) *dstream.DStream[U], opts ...Option) [][]U {
	tb.Helper()
	c := configOf(max(len(a), len(b)), opts)
	left, errLeft := feedOf(c, a)
	right, errRight := feedOf(c, b)
	if err := errors.Join(errLeft, errRight); err != nil {
		tb.Fatalf("streamtest: input: %v", err)
		return nil
	}
	return run(tb, c, []feed{left, right}, func(ctx *dstream.Context) *dstream.DStream[U] {
		x := left.stream(ctx)
		return op(x, right.stream(ctx))
	})
}

// RunSource is Run for streams that op makes itself, of direct sources: each batch reads what they plan for it. Receivers
// do not run here. The number of batches has no default: give Batches. A source that cannot be planned fails its batch.
func RunSource[U any](tb testing.TB, op func(*dstream.Context) *dstream.DStream[U], opts ...Option) [][]U {
	tb.Helper()
	return run(tb, configOf(0, opts), nil, op)
}

func configOf(batches int, opts []Option) config {
	c := config{interval: time.Second, batches: batches, partitions: 2, restartAfter: map[int]bool{}, loseAfter: map[int]bool{}}
	for _, o := range opts {
		o(&c)
	}
	return c
}

// check refuses what would be taken for something else; the rest is refused when the graph is built or submitted.
func (c config) check() error {
	switch {
	case c.interval%time.Millisecond != 0:
		return fmt.Errorf("batch interval %v, expected whole milliseconds", c.interval)
	case c.batches < 0:
		return fmt.Errorf("%d batches, expected 0 or more", c.batches)
	}
	return nil
}

// batch numbers the batch of a time, from 1.
func (c config) batch(at id.Time) int { return int(int64(at) / c.interval.Milliseconds()) }

// at is the time of batch n.
func (c config) at(n int) id.Time { return id.Time(int64(n) * c.interval.Milliseconds()) }

// run builds the program around op, runs the batches and collects what op's stream held.
func run[U any](tb testing.TB, c config, feeds []feed, op func(*dstream.Context) *dstream.DStream[U]) [][]U {
	tb.Helper()
	var got results[U]
	var building sync.Mutex // executors build at the same time, and op may be a closure that notes what it sees
	programs := dstream.NewRegistry()
	dstream.RegisterIn(programs, program, func(ctx *dstream.Context, _ struct{}) error {
		building.Lock()
		defer building.Unlock()
		s := op(ctx)
		if s == nil {
			return fmt.Errorf("op gave no stream")
		}
		dstream.ForeachPartition(s, got.take)
		return nil
	})
	cl, err := start(c, feeds, programs)
	if err != nil {
		tb.Fatalf("streamtest: %v", err)
		return nil
	}
	out, err := batches(cl, &got)
	if err = errors.Join(err, cl.stop()); err != nil {
		tb.Errorf("streamtest: %v", err)
	}
	return out
}

// batches gives what each batch held, up to the first that fails.
func batches[U any](cl *cluster, got *results[U]) ([][]U, error) {
	c := cl.c
	out := make([][]U, 0, c.batches)
	for n := 1; n <= c.batches; n++ {
		parts, err := cl.batch(n)
		if err != nil {
			return out, fmt.Errorf("batch %d at %d ms: %w", n, c.at(n), err)
		}
		if parts >= 0 {
			out = append(out, got.batch(c.at(n), parts))
		}
		if c.loseAfter[n] {
			if err := cl.lose(); err != nil {
				return out, fmt.Errorf("loss of an executor after batch %d: %w", n, err)
			}
		}
		if !c.restartAfter[n] {
			continue
		}
		if err := cl.restart(); err != nil {
			return out, fmt.Errorf("restart after batch %d: %w", n, err)
		}
	}
	return out, nil
}

// results collects what the output operation sees, by batch time and partition. Tasks of two executors write to it.
type results[U any] struct {
	mu    sync.Mutex
	parts map[place][]U
}

type place struct {
	at   id.Time
	part int
}

func (r *results[U]) take(_ context.Context, p dstream.Partition, seq iter.Seq[U]) error {
	var all []U
	for v := range seq {
		all = append(all, v)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.parts == nil {
		r.parts = map[place][]U{}
	}
	r.parts[place{id.At(p.Time), p.Index}] = all
	return nil
}

// batch gives the elements of a batch in order of partition.
func (r *results[U]) batch(at id.Time, parts int) []U {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []U{}
	for part := range parts {
		all = append(all, r.parts[place{at, part}]...)
	}
	return all
}

// feed is an input stream without its type.
type feed interface {
	// blocks are the encoded partitions of a batch, one record each; none where it has no dataset.
	blocks(batch int) [][]byte
}

// input is a feed of elements of T. A partition is one record, the list of its elements, so that one without elements
// is a block too. The input is the receiver of its stream, but never run: the cluster stores its blocks.
type input[T any] struct {
	c       config
	batches [][]T
	codec   *codec.Codec[[]T]
}

func feedOf[T any](c config, batches [][]T) (*input[T], error) {
	rows, err := codec.For[[]T]()
	return &input[T]{c: c, batches: batches, codec: rows}, err
}

func (in *input[T]) stream(ctx *dstream.Context) *dstream.DStream[T] {
	return dstream.FlatMap(dstream.ReceiverStream[[]T](ctx, in, dstream.Source("streamtest")), slices.Values[[]T])
}

// Run implements connector.Receiver.
func (in *input[T]) Run(ctx context.Context, _ connector.Inlet[[]T]) error {
	<-ctx.Done()
	return nil
}

// Yields says in which batches the stream has a dataset; package dstream asks.
func (in *input[T]) Yields(at id.Time) bool {
	n := in.c.batch(at)
	return n > len(in.batches) || in.batches[n-1] != nil
}

func (in *input[T]) blocks(batch int) [][]byte {
	var elements []T
	if batch <= len(in.batches) {
		if elements = in.batches[batch-1]; elements == nil {
			return nil
		}
	}
	out := make([][]byte, in.c.partitions)
	for i := range out {
		first, end := i*len(elements)/len(out), (i+1)*len(elements)/len(out)
		part := elements[first:end]
		out[i] = in.codec.AppendRow(nil, &part)
	}
	return out
}
