package dstream_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/raftstream/raftstream/dstream"
)

func TestKeysThatAreComparedByAddressAreRefused(t *testing.T) {
	type message = *wrapperspb.StringValue
	_, err := build(t, func(c *dstream.Context) error {
		pairs := dstream.Map(stream[int](c), func(int) dstream.KV[message, int] { return dstream.KV[message, int]{} })
		dstream.ReduceByKey(pairs, dstream.Sum).Print()
		dstream.GroupByKey(pairs).Print()
		dstream.CountByValue(dstream.Map(stream[int](c), func(int) message { return nil })).Print()
		dstream.UpdateStateByKey(pairs, func(v []int, s dstream.Opt[int]) dstream.Opt[int] { return s }).Print()
		dstream.ReduceByKeyAndWindow(pairs, dstream.Sum, time.Second, time.Second).Print()
		dstream.ReduceByKeyAndWindowInverse(pairs, dstream.Sum, dstream.Sum, time.Second, time.Second).Print()
		dstream.GroupByKeyAndWindow(pairs, time.Second, time.Second).Print()
		dstream.CountByValueAndWindow(dstream.Map(stream[int](c), func(int) message { return nil }), time.Second, time.Second).Print()
		dstream.MapWithState(pairs, func(time.Time, message, dstream.Opt[int], *dstream.State[int]) dstream.Opt[int] {
			return dstream.None[int]()
		}).Print()
		pairs.Repartition(2).Print() // is not by key
		return nil
	})
	const why = ": type *wrapperspb.StringValue(protobuf) cannot be a key: pointers are equal if they are the same address"
	says(t, err, `program "test": 9 errors`, "dstream/keys_test.go:", "reduceByKey"+why, "groupByKey"+why, "countByValue"+why, "updateStateByKey"+why,
		"reduceByKeyAndWindow"+why, "reduceByKeyAndWindowInverse"+why, "groupByKeyAndWindow"+why, "countByValueAndWindow"+why, "mapWithState"+why)
}
