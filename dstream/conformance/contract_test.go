package conformance_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/files"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/connector/socket"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// Programs outside of the repository compile against docs/dstream-api.md. What follows has the shapes that stand there:
// when it does not compile, they do not either.

type (
	ds[T any]               = *dstream.DStream[T]
	kv[K comparable, V any] = dstream.KV[K, V]
	opts                    = []dstream.Option
	at                      = time.Time
	span                    = time.Duration
)

var (
	_ func(ds[int], func(int) string, ...dstream.Option) ds[string]                             = dstream.Map[int, string]
	_ func(ds[int], func(int) iter.Seq[string], ...dstream.Option) ds[string]                   = dstream.FlatMap[int, string]
	_ func(ds[int], func(iter.Seq[int]) iter.Seq[string], ...dstream.Option) ds[string]         = dstream.MapPartitions[int, string]
	_ func(ds[int], ...dstream.Option) ds[[]int]                                                = dstream.Glom[int]
	_ func(ds[int], func(int) bool, ...dstream.Option) ds[int]                                  = ds[int].Filter
	_ func(ds[int], ...ds[int]) ds[int]                                                         = ds[int].Union
	_ func(ds[int], int) ds[int]                                                                = ds[int].Repartition
	_ func(ds[int]) ds[int64]                                                                   = ds[int].Count
	_ func(ds[int], func(a, b int) int) ds[int]                                                 = ds[int].Reduce
	_ func(ds[int], ...dstream.Option) ds[kv[int, int64]]                                       = dstream.CountByValue[int]
	_ func(ds[int], func(rdd.RDD[int], at) rdd.RDD[string]) ds[string]                          = dstream.Transform[int, string]
	_ func(ds[int], ds[bool], func(rdd.RDD[int], rdd.RDD[bool], at) rdd.RDD[string]) ds[string] = dstream.TransformWith[int, bool, string]

	_ func(ds[kv[int, bool]], func(bool) string, ...dstream.Option) ds[kv[int, string]]                                                      = dstream.MapValues[int, bool, string]
	_ func(ds[kv[int, bool]], func(bool) iter.Seq[string], ...dstream.Option) ds[kv[int, string]]                                            = dstream.FlatMapValues[int, bool, string]
	_ func(ds[kv[int, bool]], ...dstream.Option) ds[kv[int, []bool]]                                                                         = dstream.GroupByKey[int, bool]
	_ func(ds[kv[int, bool]], func(a, b bool) bool, ...dstream.Option) ds[kv[int, bool]]                                                     = dstream.ReduceByKey[int, bool]
	_ func(ds[kv[int, bool]], func(bool) string, func(string, bool) string, func(a, b string) string, ...dstream.Option) ds[kv[int, string]] = dstream.CombineByKey[int, bool, string]
	_ func(ds[kv[int, bool]], ds[kv[int, string]], ...dstream.Option) ds[kv[int, dstream.CoGrouped[bool, string]]]                           = dstream.CoGroup[int, bool, string]
	_ func(ds[kv[int, bool]], ds[kv[int, string]], ...dstream.Option) ds[kv[int, dstream.Joined[bool, string]]]                              = dstream.Join[int, bool, string]
	_ func(ds[kv[int, bool]], ds[kv[int, string]], ...dstream.Option) ds[kv[int, dstream.Joined[bool, dstream.Opt[string]]]]                 = dstream.LeftOuterJoin[int, bool, string]
	_ func(ds[kv[int, bool]], ds[kv[int, string]], ...dstream.Option) ds[kv[int, dstream.Joined[dstream.Opt[bool], string]]]                 = dstream.RightOuterJoin[int, bool, string]
	_ func(ds[kv[int, bool]], ds[kv[int, string]], ...dstream.Option) ds[kv[int, dstream.Joined[dstream.Opt[bool], dstream.Opt[string]]]]    = dstream.FullOuterJoin[int, bool, string]

	_ func(ds[kv[int, bool]], func([]bool, dstream.Opt[string]) dstream.Opt[string], ...dstream.Option) ds[kv[int, string]]                                          = dstream.UpdateStateByKey[int, bool, string]
	_ func(ds[kv[int, bool]], func(at, int, dstream.Opt[bool], *dstream.State[string]) dstream.Opt[byte], ...dstream.Option) *dstream.StateStream[int, string, byte] = dstream.MapWithState[int, bool, string, byte]

	_ func(*dstream.StateStream[int, string, byte]) ds[kv[int, string]] = (*dstream.StateStream[int, string, byte]).StateSnapshots
	_ func(*dstream.State[string]) bool                                 = (*dstream.State[string]).Exists
	_ func(*dstream.State[string]) (string, bool)                       = (*dstream.State[string]).Get
	_ func(*dstream.State[string], string)                              = (*dstream.State[string]).Update
	_ func(*dstream.State[string])                                      = (*dstream.State[string]).Remove
	_ func(*dstream.State[string]) bool                                 = (*dstream.State[string]).TimingOut
	_ func(span) dstream.Option                                         = dstream.Timeout
	_ func(func() iter.Seq2[int, string]) dstream.Option                = dstream.InitialState[int, string]
	_ func(int) dstream.Option                                          = dstream.Partitions
	_ func(func(int, string) bool) dstream.Option                       = dstream.Keep[int, string]

	_ func(ds[int], span, span) ds[int]                                                                                    = ds[int].Window
	_ func(ds[int], span, span) ds[int64]                                                                                  = ds[int].CountByWindow
	_ func(ds[int], func(a, b int) int, span, span) ds[int]                                                                = ds[int].ReduceByWindow
	_ func(ds[int], func(a, b int) int, func(a, b int) int, span, span) ds[int]                                            = ds[int].ReduceByWindowInverse
	_ func(ds[int], span, span, ...dstream.Option) ds[kv[int, int64]]                                                      = dstream.CountByValueAndWindow[int]
	_ func(ds[kv[int, bool]], span, span, ...dstream.Option) ds[kv[int, []bool]]                                           = dstream.GroupByKeyAndWindow[int, bool]
	_ func(ds[kv[int, bool]], func(a, b bool) bool, span, span, ...dstream.Option) ds[kv[int, bool]]                       = dstream.ReduceByKeyAndWindow[int, bool]
	_ func(ds[kv[int, bool]], func(a, b bool) bool, func(a, b bool) bool, span, span, ...dstream.Option) ds[kv[int, bool]] = dstream.ReduceByKeyAndWindowInverse[int, bool]

	_ func(ds[int], ...int)                                                                                    = ds[int].Print
	_ func(ds[int], string, string)                                                                            = ds[int].SaveAsTextFiles
	_ func(ds[int], string, string)                                                                            = ds[int].SaveAsObjectFiles
	_ func(ds[int], func(context.Context, rdd.RDD[int], at) error)                                             = dstream.ForeachRDD[int]
	_ func(ds[int], func(context.Context, dstream.Partition, iter.Seq[int]) error)                             = dstream.ForeachPartition[int]
	_ func(ds[int], connector.Sink[int])                                                                       = dstream.To[int]
	_ func(ds[int], string) ds[int]                                                                            = ds[int].Name
	_ func(ds[int], span) ds[int]                                                                              = ds[int].Checkpoint
	_ func(*dstream.Context) span                                                                              = (*dstream.Context).BatchInterval
	_ func(*dstream.Context, span)                                                                             = (*dstream.Context).Remember
	_ func(*dstream.Context, span)                                                                             = (*dstream.Context).Checkpoint
	_ func(string, func(*dstream.Context, struct{}) error)                                                     = dstream.Register[struct{}]
	_ func(a, b int8) int8                                                                                     = dstream.Sum[int8]
	_ func(int, bool) kv[int, bool]                                                                            = dstream.Pair[int, bool]
	_ func(int) dstream.Opt[int]                                                                               = dstream.Some[int]
	_ func() dstream.Opt[int]                                                                                  = dstream.None[int]
	_ connector.Partition                                                                                      = dstream.Partition{Output: "", Time: at{}, Index: 0, Count: 0, Attempt: 0}
	_ func(testing.TB, [][]int, func(ds[int]) ds[string], ...streamtest.Option) [][]string                     = streamtest.Run[int, string]
	_ func(testing.TB, [][]int, [][]bool, func(ds[int], ds[bool]) ds[string], ...streamtest.Option) [][]string = streamtest.Run2[int, bool, string]
	_ func(span) streamtest.Option                                                                             = streamtest.BatchInterval
	_ func(int) streamtest.Option                                                                              = streamtest.Batches
	_ func(int) streamtest.Option                                                                              = streamtest.Partitions
	_ func(int) streamtest.Option                                                                              = streamtest.RestartAfter

	_ func(*dstream.Context, connector.Receiver[int], ...dstream.Option) ds[int]     = dstream.ReceiverStream[int]
	_ func(*dstream.Context, connector.DirectSource[int], ...dstream.Option) ds[int] = dstream.DirectStream[int]
)

// used uses what has options of its own, or results that nobody needs to take.
func used(c *dstream.Context) {
	lines := socket.TextStream(c, "localhost:9999").Union(files.TextStream(c, "/shared/in"), ingest.TextStream(c))
	lines.Persist()
	_ = dstream.CoGrouped[int, bool]{Left: []int{}, Right: []bool{}}
	_ = dstream.Joined[int, bool]{Left: 1, Right: true}
	_ = dstream.Opt[int]{Value: 1, OK: true}
	var snapshots *dstream.StateStream[int, string, byte]
	_ = opts{dstream.Partitions(1)}
	_ = snapshots.DStream // embedded
	dstream.ReduceByKey(dstream.Map(lines, func(w string) kv[string, int64] { return dstream.Pair(w, int64(1)) }), dstream.Sum).Print()
}

var _ = used
