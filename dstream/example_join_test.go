package dstream_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

type (
	views = dstream.DStream[dstream.KV[string, int]]
	names = dstream.DStream[dstream.KV[string, string]]
)

// One batch of what was viewed and what is known of it.
var (
	viewed = [][]dstream.KV[string, int]{{dstream.Pair("p1", 3), dstream.Pair("p2", 5), dstream.Pair("p1", 4)}}
	known  = [][]dstream.KV[string, string]{{dstream.Pair("p1", "home"), dstream.Pair("p3", "news")}}
)

// together prints what an operator makes of the two streams.
func together[U any](op func(*views, *names) *dstream.DStream[U]) {
	var tb testing.TB = console{}
	for _, batch := range streamtest.Run2(tb, viewed, known, op, streamtest.Partitions(1)) {
		for _, record := range batch {
			fmt.Println(record)
		}
	}
}

func ExampleJoin() {
	together(func(v *views, n *names) *dstream.DStream[dstream.KV[string, dstream.Joined[int, string]]] {
		return dstream.Join(v, n)
	})
	// Output:
	// (p1,(3,home))
	// (p1,(4,home))
}

func ExampleLeftOuterJoin() {
	together(func(v *views, n *names) *dstream.DStream[dstream.KV[string, dstream.Joined[int, dstream.Opt[string]]]] {
		return dstream.LeftOuterJoin(v, n)
	})
	// Output:
	// (p1,(3,Some(home)))
	// (p2,(5,None))
	// (p1,(4,Some(home)))
}

func ExampleRightOuterJoin() {
	together(func(v *views, n *names) *dstream.DStream[dstream.KV[string, dstream.Joined[dstream.Opt[int], string]]] {
		return dstream.RightOuterJoin(v, n)
	})
	// Output:
	// (p1,(Some(3),home))
	// (p1,(Some(4),home))
	// (p3,(None,news))
}

func ExampleFullOuterJoin() {
	together(func(v *views, n *names) *dstream.DStream[dstream.KV[string, dstream.Joined[dstream.Opt[int], dstream.Opt[string]]]] {
		return dstream.FullOuterJoin(v, n)
	})
	// Output:
	// (p1,(Some(3),Some(home)))
	// (p2,(Some(5),None))
	// (p1,(Some(4),Some(home)))
	// (p3,(None,Some(news)))
}

func ExampleCoGroup() {
	together(func(v *views, n *names) *dstream.DStream[dstream.KV[string, dstream.CoGrouped[int, string]]] {
		return dstream.CoGroup(v, n)
	})
	// Output:
	// (p1,{[3 4] [home]})
	// (p2,{[5] []})
	// (p3,{[] [news]})
}

// The three most frequent words of each batch, without some that everybody uses.
func ExampleTransform() {
	frequent := func(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
		return dstream.Transform(lines, func(r rdd.RDD[string], _ time.Time) rdd.RDD[dstream.KV[string, int64]] {
			words := rdd.Subtract(rdd.FlatMap(r, strings.FieldsSeq), rdd.FromSlice(r, []string{"the", "a"}))
			return rdd.Bottom(rdd.CountByValue(words), 3, func(a, b dstream.KV[string, int64]) int {
				return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(a.Key, b.Key))
			})
		})
	}
	for _, batch := range streamtest.Run(console{}, [][]string{{"the cat the dog", "a cat"}, {"the end"}}, frequent) {
		fmt.Println(batch)
	}
	// Output:
	// [(cat,2) (dog,1)]
	// [(end,1)]
}

func ExampleTransformWith() {
	together(func(v *views, n *names) *dstream.DStream[dstream.KV[string, int]] {
		return dstream.TransformWith(v, n, func(x rdd.RDD[dstream.KV[string, int]], y rdd.RDD[dstream.KV[string, string]], _ time.Time) rdd.RDD[dstream.KV[string, int]] {
			return rdd.SubtractByKey(x, y) // views of pages that nobody knows
		})
	})
	// Output:
	// (p2,5)
}

func ExampleTransformAll() {
	distinct := func(words *dstream.DStream[string]) *dstream.DStream[string] {
		upper := dstream.Map(words, strings.ToUpper)
		return dstream.TransformAll([]*dstream.DStream[string]{words, upper}, func(rs []rdd.RDD[string], _ time.Time) rdd.RDD[string] {
			return rdd.SortBy(rdd.Distinct(rs[0].Union(rs[1:]...)), strings.ToLower)
		})
	}
	for _, batch := range streamtest.Run(console{}, [][]string{{"b", "B", "a"}}, distinct, streamtest.Partitions(1)) {
		fmt.Println(batch)
	}
	// Output:
	// [a A b B]
}
