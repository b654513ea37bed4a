package dstream

import (
	"errors"
	"reflect"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/plan"
)

// DirectStream is the stream of what the tasks of a batch read themselves from a source, as it was planned and committed
// before (Spark: DirectKafkaInputDStream, FileInputDStream; rule 12). Each part of the plan is a partition. T needs a
// codec only where records are shuffled, kept or collected. Options: Source, MaxRate, Check.
func DirectStream[T any](c *Context, d connector.DirectSource[T], opts ...Option) *DStream[T] {
	o := c.options("directStream", opts, "Source", "MaxRate")
	if d == nil {
		c.fail("directStream", errors.New("the source is nil"))
	} else {
		c.blame.method("directStream", d, "Plan")
		c.blame.method("directStream", d, "Read")
		if o.source == "" {
			o.source = reflect.TypeOf(d).String()
		}
	}
	var stream id.Stream
	s := add(c, "directStream", c.spec.BatchMS, nil, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[T], error) {
		return lineage.Direct(sc, p.in.Partitions(stream, sc.Time), d.Read), nil
	})
	stream = s.id
	c.plan.Inputs = append(c.plan.Inputs, plan.Input{Stream: s.id, Source: o.source, MaxRate: o.maxRate})
	if c.directs == nil {
		c.directs = map[id.Stream]dataset.Direct{}
	}
	c.directs[s.id] = d
	return s
}
