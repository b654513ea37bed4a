package dstream

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/plan"
)

// sometimes is a receiver whose stream has no dataset at some times. Tests use it to see what operators do without a
// parent; streams of real sources have one for every batch.
type sometimes interface {
	Yields(at id.Time) bool
}

// ReceiverStream is the stream of what a receiver brings in. T needs a codec. Options: Source, Pushed, PreferredNode, MaxRate, Check.
func ReceiverStream[T any](c *Context, r connector.Receiver[T], opts ...Option) *DStream[T] {
	o := c.options("receiverStream", opts, "Source", "Pushed", "PreferredNode", "MaxRate")
	rows, err := codec.For[T]()
	if err != nil {
		c.fail("receiverStream", err)
	}
	yields := func(id.Time) bool { return true }
	if r == nil {
		c.fail("receiverStream", errors.New("the receiver is nil"))
	} else {
		c.blame.method("receiverStream", r, "Run")
		if some, ok := r.(sometimes); ok {
			yields = some.Yields
		}
		if o.source == "" {
			o.source = reflect.TypeOf(r).String()
		}
	}
	var stream id.Stream
	s := add(c, "receiverStream", c.spec.BatchMS, nil, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[T], error) {
		if !yields(sc.Time) {
			return nil, nil
		}
		return lineage.Source(sc, p.in.Partitions(stream, sc.Time), rows), nil
	})
	stream = s.id
	c.plan.Inputs = append(c.plan.Inputs, plan.Input{
		Stream: s.id, Source: o.source, Receiver: true, Pushed: o.pushed, Preferred: o.preferred, MaxRate: o.maxRate,
	})
	c.receivers[s.id] = receiver[T]{r, rows}
	return s
}

// receiver is a connector.Receiver behind its codec.
type receiver[T any] struct {
	r     connector.Receiver[T]
	codec *codec.Codec[T]
}

func (r receiver[T]) Run(ctx context.Context, in dataset.Inlet) error {
	return r.r.Run(ctx, &inlet[T]{in: in, codec: r.codec})
}

// inlet encodes records on their way into a block. Its methods are called by several goroutines.
type inlet[T any] struct {
	in      dataset.Inlet
	codec   *codec.Codec[T]
	buffers sync.Pool // of *[]byte
}

// keepBuffer bounds the buffers that are used again: a huge record must not stay in memory for ever.
const keepBuffer = 1 << 20

func (i *inlet[T]) add(ctx context.Context, r connector.Range, records []T) (connector.Receipt, error) {
	buf, _ := i.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	b := (*buf)[:0]
	for j := range records {
		b = i.codec.AppendRow(b, &records[j])
	}
	receipt, err := i.in.Add(ctx, dataset.Records{Bytes: b, Count: len(records), Range: r})
	if cap(b) <= keepBuffer {
		*buf = b
		i.buffers.Put(buf)
	}
	return receipt, err
}

func (i *inlet[T]) Store(ctx context.Context, records ...T) error {
	if len(records) == 0 {
		return nil
	}
	_, err := i.add(ctx, connector.Range{}, records)
	return err
}

func (i *inlet[T]) StoreAt(ctx context.Context, r connector.Range, records ...T) (connector.Receipt, error) {
	if len(records) == 0 || r.Last < r.First || r.Last-r.First != uint64(len(records)-1) {
		return nil, fmt.Errorf("range %d to %d of partition %q given for %d records", r.First, r.Last, r.Partition, len(records))
	}
	if r.Partition == "" {
		return nil, errors.New("the range names no partition of the source")
	}
	return i.add(ctx, r, records)
}

func (i *inlet[T]) Position(partition string) uint64 { return i.in.Position(partition) }

func (i *inlet[T]) Pushes() <-chan connector.Push { return i.in.Pushes() }
