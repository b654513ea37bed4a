package dstream_test

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// show runs an operator over batches of words, of one partition each, and prints what each batch has.
func show[U any](op func(words *dstream.DStream[string]) *dstream.DStream[U], batches ...[]string) {
	for _, b := range streamtest.Run(console{}, batches, op, streamtest.Partitions(1)) {
		fmt.Println(b)
	}
}

// show2 does so with two streams of pairs, written as "key value".
func show2[U any](op func(a, b *dstream.DStream[keyValue]) *dstream.DStream[U], a, b []string) {
	for _, batch := range streamtest.Run2(console{}, [][]string{a}, [][]string{b}, func(x, y *dstream.DStream[string]) *dstream.DStream[U] {
		return op(dstream.Map(x, keyed), dstream.Map(y, keyed))
	}, streamtest.Partitions(1)) {
		fmt.Println(batch)
	}
}

type keyValue = dstream.KV[string, string]

func keyed(s string) keyValue {
	k, v, _ := strings.Cut(s, " ")
	return dstream.Pair(k, v)
}

func length(s string) int { return len(s) }

func ExampleMap() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[int] { return dstream.Map(words, length) }, []string{"to", "be", "or"}, []string{"not"})
	// Output:
	// [2 2 2]
	// [3]
}

func ExampleFlatMap() {
	show(func(lines *dstream.DStream[string]) *dstream.DStream[string] {
		return dstream.FlatMap(lines, strings.FieldsSeq)
	}, []string{"to be or", "not to be"})
	// Output:
	// [to be or not to be]
}

// The function sees a whole partition; here it numbers the records in it.
func ExampleMapPartitions() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[string] {
		return dstream.MapPartitions(words, func(in iter.Seq[string]) iter.Seq[string] {
			return func(yield func(string) bool) {
				n := 0
				for w := range in {
					if n++; !yield(fmt.Sprint(n, ":", w)) {
						return
					}
				}
			}
		})
	}, []string{"to", "be"}, []string{"or"})
	// Output:
	// [1:to 2:be]
	// [1:or]
}

// A batch is cut into partitions at i*n/p.
func ExampleGlom() {
	batches := [][]string{{"to", "be", "or", "not", "to"}}
	for _, parts := range streamtest.Run(console{}, batches, func(words *dstream.DStream[string]) *dstream.DStream[[]string] {
		return dstream.Glom(words)
	}, streamtest.Partitions(2)) {
		fmt.Println(parts)
	}
	// Output:
	// [[to be] [or not to]]
}

func ExampleDStream_Filter() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[string] {
		return words.Filter(func(w string) bool { return len(w) > 2 })
	}, []string{"to", "be", "or", "not"}, []string{"to"})
	// Output:
	// [not]
	// []
}

// The batches of the other stream come after those of the first.
func ExampleDStream_Union() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[string] {
		return words.Union(dstream.Map(words, strings.ToUpper))
	}, []string{"to", "be"}, []string{"or"})
	// Output:
	// [to be TO BE]
	// [or OR]
}

func ExampleDStream_Repartition() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[int] {
		return dstream.Map(dstream.Glom(words.Repartition(3)), func(part []string) int { return len(part) })
	}, []string{"to", "be", "or", "not", "to", "be"})
	// Output:
	// [2 2 2]
}

// An empty batch has a count, too.
func ExampleDStream_Count() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[int64] { return words.Count() }, []string{"to", "be"}, []string{}, []string{"or"})
	// Output:
	// [2]
	// [0]
	// [1]
}

// An empty batch stays empty.
func ExampleDStream_Reduce() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[string] {
		return words.Reduce(func(a, b string) string { return max(a, b) })
	}, []string{"to", "be"}, []string{}, []string{"or"})
	// Output:
	// [to]
	// []
	// [or]
}

func ExampleCountByValue() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
		return dstream.CountByValue(words)
	}, []string{"to", "be", "to"}, []string{"be"})
	// Output:
	// [(to,2) (be,1)]
	// [(be,1)]
}

func ExampleMapValues() {
	show(func(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int]] {
		return dstream.MapValues(dstream.Map(lines, keyed), length)
	}, []string{"ann tea", "bob cake"})
	// Output:
	// [(ann,3) (bob,4)]
}

func ExampleFlatMapValues() {
	show(func(lines *dstream.DStream[string]) *dstream.DStream[keyValue] {
		return dstream.FlatMapValues(dstream.Map(lines, keyed), strings.FieldsSeq)
	}, []string{"ann tea cake", "bob tea"})
	// Output:
	// [(ann,tea) (ann,cake) (bob,tea)]
}

// Values are in the order in which they came.
func ExampleGroupByKey() {
	show(func(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, []string]] {
		return dstream.GroupByKey(dstream.Map(lines, keyed))
	}, []string{"ann tea", "bob tea", "ann cake"})
	// Output:
	// [(ann,[tea cake]) (bob,[tea])]
}

// What is combined may be of another type than the values: here the mean of numbers is made of a sum and a count.
func ExampleCombineByKey() {
	type mean struct{ Sum, N int }
	show(func(words *dstream.DStream[string]) *dstream.DStream[string] {
		lengths := dstream.Map(words, func(w string) dstream.KV[string, int] { return dstream.Pair(w[:1], len(w)) })
		means := dstream.CombineByKey(lengths,
			func(n int) mean { return mean{n, 1} },
			func(m mean, n int) mean { return mean{m.Sum + n, m.N + 1} },
			func(a, b mean) mean { return mean{a.Sum + b.Sum, a.N + b.N} })
		return dstream.Map(means, func(p dstream.KV[string, mean]) string {
			return fmt.Sprintf("%s: %.1f", p.Key, float64(p.Value.Sum)/float64(p.Value.N))
		})
	}, []string{"tea", "cake", "tuna", "coffee"})
	// Output:
	// [t: 3.5 c: 5.0]
}

func ExampleJoin() {
	show2(func(a, b *dstream.DStream[keyValue]) *dstream.DStream[dstream.KV[string, dstream.Joined[string, string]]] {
		return dstream.Join(a, b)
	}, []string{"ann tea", "bob tea", "ann cake"}, []string{"ann Berlin", "cy Rome"})
	// Output:
	// [(ann,(tea,Berlin)) (ann,(cake,Berlin))]
}

func ExampleLeftOuterJoin() {
	show2(func(a, b *dstream.DStream[keyValue]) *dstream.DStream[dstream.KV[string, dstream.Joined[string, dstream.Opt[string]]]] {
		return dstream.LeftOuterJoin(a, b)
	}, []string{"ann tea", "bob tea"}, []string{"ann Berlin", "cy Rome"})
	// Output:
	// [(ann,(tea,Some(Berlin))) (bob,(tea,None))]
}

func ExampleRightOuterJoin() {
	show2(func(a, b *dstream.DStream[keyValue]) *dstream.DStream[dstream.KV[string, dstream.Joined[dstream.Opt[string], string]]] {
		return dstream.RightOuterJoin(a, b)
	}, []string{"ann tea", "bob tea"}, []string{"ann Berlin", "cy Rome"})
	// Output:
	// [(ann,(Some(tea),Berlin)) (cy,(None,Rome))]
}

func ExampleFullOuterJoin() {
	show2(func(a, b *dstream.DStream[keyValue]) *dstream.DStream[dstream.KV[string, dstream.Joined[dstream.Opt[string], dstream.Opt[string]]]] {
		return dstream.FullOuterJoin(a, b)
	}, []string{"ann tea", "bob tea"}, []string{"ann Berlin", "cy Rome"})
	// Output:
	// [(ann,(Some(tea),Some(Berlin))) (bob,(Some(tea),None)) (cy,(None,Some(Rome)))]
}

func ExampleCoGroup() {
	show2(func(a, b *dstream.DStream[keyValue]) *dstream.DStream[dstream.KV[string, dstream.CoGrouped[string, string]]] {
		return dstream.CoGroup(a, b)
	}, []string{"ann tea", "bob tea", "ann cake"}, []string{"ann Berlin", "cy Rome"})
	// Output:
	// [(ann,{[tea cake] [Berlin]}) (bob,{[tea] []}) (cy,{[] [Rome]})]
}

// Any operator of package rdd may be applied to the dataset of each batch, with what is known beforehand; here stop words
// are left out.
func ExampleTransform() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[string] {
		return dstream.Transform(words, func(r rdd.RDD[string], _ time.Time) rdd.RDD[string] {
			return rdd.Subtract(r, rdd.FromSlice(r, []string{"to", "or"}))
		})
	}, []string{"to", "be", "or", "not"}, []string{"to"})
	// Output:
	// [be not]
	// []
}

func ExampleTransformWith() {
	show2(func(a, b *dstream.DStream[keyValue]) *dstream.DStream[keyValue] {
		return dstream.TransformWith(a, b, func(x, y rdd.RDD[keyValue], _ time.Time) rdd.RDD[keyValue] { return rdd.SubtractByKey(x, y) })
	}, []string{"ann tea", "bob tea"}, []string{"ann Berlin", "cy Rome"})
	// Output:
	// [(bob,tea)]
}

func ExampleTransformAll() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[string] {
		all := []*dstream.DStream[string]{words, dstream.Map(words, strings.ToUpper), dstream.Map(words, strings.ToLower)}
		return dstream.TransformAll(all, func(rs []rdd.RDD[string], _ time.Time) rdd.RDD[string] {
			return rdd.Distinct(rs[0].Union(rs[1:]...))
		})
	}, []string{"To", "be"})
	// Output:
	// [To be TO BE to]
}

// A second output, or a window, reads what an executor has computed instead of computing it again.
func ExampleDStream_Persist() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[int] {
		lengths := dstream.Map(words, length).Persist(dstream.MemoryAndDisk)
		return lengths.Reduce(dstream.Sum).Union(lengths.Reduce(func(a, b int) int { return max(a, b) }))
	}, []string{"to", "be", "or", "not"})
	// Output:
	// [9 3]
}

// The node that coordinates the application prints the first records of every batch to its standard output.
func ExampleDStream_Print() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[int64] {
		words.Print(2)
		return words.Count()
	}, []string{"to", "be", "or"})
	// Output:
	// -------------------------------------------
	// Time: 1000 ms
	// -------------------------------------------
	// to
	// be
	// ...
	//
	// [3]
}

func ExampleDStream_SaveAsTextFiles() {
	dir := scratch()
	defer func() { _ = os.RemoveAll(dir) }()
	show(func(words *dstream.DStream[string]) *dstream.DStream[string] {
		words.SaveAsTextFiles(filepath.Join(dir, "words"), "txt")
		return words
	}, []string{"to", "be"}, []string{"or"})
	for _, batch := range []string{"words-1000.txt", "words-2000.txt"} {
		text, err := os.ReadFile(filepath.Join(dir, batch, "part-00000"))
		fmt.Printf("%s: %q %v\n", batch, text, err)
	}
	// Output:
	// [to be]
	// [or]
	// words-1000.txt: "to\nbe\n" <nil>
	// words-2000.txt: "or\n" <nil>
}

// Records that were saved as objects are read back as they were.
func ExampleDStream_SaveAsObjectFiles() {
	dir := scratch()
	defer func() { _ = os.RemoveAll(dir) }()
	show(func(lines *dstream.DStream[string]) *dstream.DStream[keyValue] {
		pairs := dstream.Map(lines, keyed)
		pairs.SaveAsObjectFiles(filepath.Join(dir, "pairs"), "")
		return pairs
	}, []string{"ann tea", "bob cake"})
	for p, err := range dstream.ReadObjectFiles[keyValue](filepath.Join(dir, "pairs-1000")) {
		fmt.Println(p.Key, p.Value, err)
	}
	// Output:
	// [(ann,tea) (bob,cake)]
	// ann tea <nil>
	// bob cake <nil>
}

// scratch is a directory for the files of an example.
func scratch() string {
	dir, err := os.MkdirTemp("", "raftstream-example")
	if err != nil {
		panic(err)
	}
	return dir
}
