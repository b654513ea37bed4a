package rdd_test

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// order is how much somebody ordered, city where somebody lives.
type (
	order = rdd.KV[string, int]
	city  = rdd.KV[string, string]
)

// showOrders is show of these orders: the first two are one partition, the others the second.
func showOrders[U any](op func(orders rdd.RDD[order]) rdd.RDD[U]) {
	show(op, rdd.Pair("ann", 3), rdd.Pair("bob", 1), rdd.Pair("ann", 5), rdd.Pair("cy", 2))
}

// showBoth is show of an operator on some orders and some cities.
func showBoth[U any](op func(orders rdd.RDD[order], cities rdd.RDD[city]) rdd.RDD[U]) {
	orders := []order{rdd.Pair("ann", 3), rdd.Pair("bob", 1), rdd.Pair("ann", 5)}
	cities := []city{rdd.Pair("ann", "Berlin"), rdd.Pair("dan", "Rome")}
	transform := func(a *dstream.DStream[order], b *dstream.DStream[city]) *dstream.DStream[U] {
		return dstream.TransformWith(a, b, func(x rdd.RDD[order], y rdd.RDD[city], _ time.Time) rdd.RDD[U] { return op(x, y) })
	}
	for _, batch := range streamtest.Run2(screen{}, [][]order{orders}, [][]city{cities}, transform) {
		fmt.Println(batch)
	}
}

func sum(a, b int) int { return a + b }

func ExampleJoin() {
	showBoth(func(orders rdd.RDD[order], cities rdd.RDD[city]) rdd.RDD[rdd.KV[string, rdd.Joined[int, string]]] {
		return rdd.Join(orders, cities, 1)
	})
	// Output: [(ann,(3,Berlin)) (ann,(5,Berlin))]
}

func ExampleLeftOuterJoin() {
	showBoth(func(orders rdd.RDD[order], cities rdd.RDD[city]) rdd.RDD[rdd.KV[string, rdd.Joined[int, rdd.Opt[string]]]] {
		return rdd.LeftOuterJoin(orders, cities, 1)
	})
	// Output: [(ann,(3,Some(Berlin))) (bob,(1,None)) (ann,(5,Some(Berlin)))]
}

func ExampleRightOuterJoin() {
	showBoth(func(orders rdd.RDD[order], cities rdd.RDD[city]) rdd.RDD[rdd.KV[string, rdd.Joined[rdd.Opt[int], string]]] {
		return rdd.RightOuterJoin(orders, cities, 1)
	})
	// Output: [(ann,(Some(3),Berlin)) (ann,(Some(5),Berlin)) (dan,(None,Rome))]
}

func ExampleFullOuterJoin() {
	showBoth(func(orders rdd.RDD[order], cities rdd.RDD[city]) rdd.RDD[rdd.KV[string, rdd.Joined[rdd.Opt[int], rdd.Opt[string]]]] {
		return rdd.FullOuterJoin(orders, cities, 1)
	})
	// Output: [(ann,(Some(3),Some(Berlin))) (bob,(Some(1),None)) (ann,(Some(5),Some(Berlin))) (dan,(None,Some(Rome)))]
}

func ExampleCoGroup() {
	showBoth(func(orders rdd.RDD[order], cities rdd.RDD[city]) rdd.RDD[rdd.KV[string, rdd.CoGrouped[int, string]]] {
		return rdd.CoGroup(orders, cities, 1)
	})
	// Output: [(ann,{[3 5] [Berlin]}) (bob,{[1] []}) (dan,{[] [Rome]})]
}

func ExampleSubtractByKey() {
	showBoth(func(orders rdd.RDD[order], cities rdd.RDD[city]) rdd.RDD[order] {
		return rdd.SubtractByKey(orders, cities, 1)
	})
	// Output: [(bob,1)]
}

func ExampleReduceByKey() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[order] { return rdd.ReduceByKey(orders, sum, 1) })
	// Output: [(ann,8) (bob,1) (cy,2)]
}

func ExampleGroupByKey() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[rdd.KV[string, []int]] { return rdd.GroupByKey(orders, 1) })
	// Output: [(ann,[3 5]) (bob,[1]) (cy,[2])]
}

// The combiner is of another type than the values: here the least and the greatest one.
func ExampleCombineByKey() {
	type span struct{ Least, Most int }
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[rdd.KV[string, span]] {
		return rdd.CombineByKey(orders,
			func(v int) span { return span{v, v} },
			func(s span, v int) span { return span{min(s.Least, v), max(s.Most, v)} },
			func(a, b span) span { return span{min(a.Least, b.Least), max(a.Most, b.Most)} }, 1)
	})
	// Output: [(ann,{3 5}) (bob,{1 1}) (cy,{2 2})]
}

func ExampleAggregateByKey() {
	type mean struct{ Sum, Count int }
	show(func(r rdd.RDD[int]) rdd.RDD[rdd.KV[bool, mean]] {
		byParity := rdd.KeyBy(r, func(v int) bool { return v%2 == 0 })
		return rdd.AggregateByKey(byParity, mean{},
			func(m mean, v int) mean { return mean{m.Sum + v, m.Count + 1} },
			func(a, b mean) mean { return mean{a.Sum + b.Sum, a.Count + b.Count} }, 1)
	}, 1, 2, 3, 4, 5)
	// Output: [(false,{9 3}) (true,{6 2})]
}

// Every partition that has the key begins with the zero: both have orders of ann.
func ExampleFoldByKey() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[order] { return rdd.FoldByKey(orders, 100, sum, 1) })
	// Output: [(ann,208) (bob,101) (cy,102)]
}

func ExampleCountByKey() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[rdd.KV[string, int64]] { return rdd.CountByKey(orders, 1) })
	// Output: [(ann,2) (bob,1) (cy,1)]
}

func ExampleCountByValue() {
	show(func(r rdd.RDD[string]) rdd.RDD[rdd.KV[string, int64]] { return rdd.CountByValue(r, 1) }, "to", "be", "to")
	// Output: [(to,2) (be,1)]
}

func ExampleSortByKey() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[order] { return rdd.SortByKey(orders) })
	// Output: [(ann,3) (ann,5) (bob,1) (cy,2)]
}

func ExampleKeys() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[string] { return rdd.Keys(orders) })
	// Output: [ann bob ann cy]
}

func ExampleValues() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[int] { return rdd.Values(orders) })
	// Output: [3 1 5 2]
}

func ExampleMapValues() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[order] {
		return rdd.MapValues(orders, func(n int) int { return 10 * n })
	})
	// Output: [(ann,30) (bob,10) (ann,50) (cy,20)]
}

func ExampleFlatMapValues() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[order] {
		return rdd.FlatMapValues(orders, func(n int) iter.Seq[int] { return slices.Values([]int{n, -n}) })
	})
	// Output: [(ann,3) (ann,-3) (bob,1) (bob,-1) (ann,5) (ann,-5) (cy,2) (cy,-2)]
}

func ExampleKeyBy() {
	show(func(r rdd.RDD[string]) rdd.RDD[rdd.KV[int, string]] {
		return rdd.KeyBy(r, func(s string) int { return len(s) })
	}, "to", "be", "not")
	// Output: [(2,to) (2,be) (3,not)]
}

func ExampleGroupBy() {
	show(func(r rdd.RDD[int]) rdd.RDD[rdd.KV[int, []int]] {
		return rdd.GroupBy(r, func(v int) int { return v / 10 }, 1)
	}, 13, 21, 11)
	// Output: [(1,[13 11]) (2,[21])]
}

// All orders of ann are in one partition now. Which keys share one depends on their encoding alone.
func ExamplePartitionBy() {
	showOrders(func(orders rdd.RDD[order]) rdd.RDD[[]order] { return rdd.Glom(rdd.PartitionBy(orders, 2)) })
	// Output: [[(cy,2)] [(ann,3) (bob,1) (ann,5)]]
}
