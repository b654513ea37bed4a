package dstream

import (
	"fmt"
	"strings"
	"time"

	"github.com/raftstream/raftstream/dstream/rdd"
)

// Option changes a default of an operator or a source. An option that means nothing to it is an error when the graph
// is built.
type Option struct {
	name  string
	apply func(*settings) error
}

type settings struct {
	partitions int
	source     string
	preferred  string
	pushed     bool
	maxRate    int64
	initial    any // func() iter.Seq2[K, S]
	timeout    time.Duration
	keep       any // func(K, V) bool
}

// Partitions sets the number of partitions of an operator that shuffles; the application's default otherwise.
func Partitions(n int) Option {
	return Option{"Partitions", func(s *settings) error {
		if n < 1 || n > rdd.MaxPartitions {
			return fmt.Errorf("Partitions(%d): expected 1 to %d", n, rdd.MaxPartitions)
		}
		s.partitions = n
		return nil
	}}
}

// Source names the kind of an input stream, as status pages and the plan show it. For connectors.
func Source(name string) Option {
	return Option{"Source", func(s *settings) error { s.source = name; return nil }}
}

// Pushed says that an input stream's receiver takes what clients push through the API. For connectors.
func Pushed() Option {
	return Option{"Pushed", func(s *settings) error { s.pushed = true; return nil }}
}

// PreferredNode names the node that an input stream's receiver would best run on.
func PreferredNode(name string) Option {
	return Option{"PreferredNode", func(s *settings) error { s.preferred = name; return nil }}
}

// MaxRate bounds what an input stream takes in, in records per second: a receiver's source waits when it sends more, and a
// direct stream's batches have no more than an interval's worth, over all partitions of the source together (Spark:
// spark.streaming.receiver.maxRate, spark.streaming.kafka.maxRatePerPartition).
func MaxRate(perSecond int64) Option {
	return Option{"MaxRate", func(s *settings) error {
		if perSecond < 1 {
			return fmt.Errorf("MaxRate(%d): expected at least 1 record per second", perSecond)
		}
		s.maxRate = perSecond
		return nil
	}}
}

// Check makes the construction of the graph fail with err, if that is not nil: constructors of streams return no error.
// It applies everywhere. For connectors.
func Check(err error) Option {
	return Option{checked, func(*settings) error { return err }}
}

const checked = "Check"

// options applies those of the options that the operator knows.
func (c *Context) options(op string, opts []Option, known ...string) settings {
	var s settings
	for _, o := range opts {
		ok := o.name == checked
		for _, k := range known {
			ok = ok || k == o.name
		}
		if !ok {
			expected := "expected none"
			if len(known) > 0 {
				expected = "expected " + strings.Join(known, ", ")
			}
			c.fail(op, fmt.Errorf("the option %q does not apply here, %s", o.name, expected))
			continue
		}
		if err := o.apply(&s); err != nil {
			c.fail(op, err)
		}
	}
	return s
}
