package properties_test

import (
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
)

type (
	ints    = *dstream.DStream[int]
	strs    = *dstream.DStream[string]
	kvs     = *dstream.DStream[dstream.KV[string, int]]
	numbers = []int
)

func even(v int) bool { return v%2 == 0 }

func twice(v int) iter.Seq[int] {
	if v < 0 {
		return nil
	}
	return slices.Values(numbers{v, 2 * v})
}

func sumSeq(seq iter.Seq[int]) iter.Seq[int] {
	sum := 0
	for v := range seq {
		sum += v
	}
	return slices.Values(numbers{sum})
}

func mapped[T, U any](f func(T) []U) func([]T, drawn) []U {
	return func(batch []T, _ drawn) (out []U) {
		for _, v := range batch {
			out = append(out, f(v)...)
		}
		return out
	}
}

func counted[T comparable](batch []T) (out []dstream.KV[T, int64]) {
	for _, v := range batch {
		i := slices.IndexFunc(out, func(p dstream.KV[T, int64]) bool { return p.Key == v })
		if i < 0 {
			out = append(out, dstream.Pair(v, int64(0)))
			i = len(out) - 1
		}
		out[i].Value++
	}
	return out
}

func reduced(f func(a, b int) int) func(numbers, drawn) numbers {
	return func(batch numbers, _ drawn) numbers {
		if len(batch) == 0 {
			return nil
		}
		v := batch[0]
		for _, w := range batch[1:] {
			v = f(v, w)
		}
		return numbers{v}
	}
}

// elementProperties are the operators on elements.
func elementProperties() []property {
	return []property{
		holds("map", small(), true, func(s ints) strs { return dstream.Map(s, strconv.Itoa) },
			each(mapped(func(v int) []string { return []string{strconv.Itoa(v)} }))),
		holds("flatMap", small(), true, func(s ints) ints { return dstream.FlatMap(s, twice) },
			each(mapped(func(v int) numbers {
				if v < 0 {
					return nil
				}
				return numbers{v, 2 * v}
			}))),
		holds("filter", small(), true, func(s ints) ints { return s.Filter(even) },
			each(mapped(func(v int) numbers {
				if !even(v) {
					return nil
				}
				return numbers{v}
			}))),
		holds("mapPartitions", small(), true, func(s ints) ints { return dstream.MapPartitions(s, sumSeq) },
			each(func(batch numbers, d drawn) (out numbers) {
				for _, p := range cut(batch, d) {
					out = append(out, slices.Collect(sumSeq(slices.Values(p)))...)
				}
				return out
			})),
		holds("glom", small(), true, func(s ints) *dstream.DStream[numbers] { return dstream.Glom(s) },
			each(func(batch numbers, d drawn) []numbers { return cut(batch, d) })),
		holds("union", small(), false, func(s ints) ints { return s.Union(dstream.Map(s, func(v int) int { return v + 100 }), s) },
			each(mapped(func(v int) numbers { return numbers{v, v + 100, v} }))),
		holds("repartition", small(), false, func(s ints) ints { return s.Repartition(3) },
			each(mapped(func(v int) numbers { return numbers{v} }))),
		holds("count", small(), false, func(s ints) *dstream.DStream[int64] { return s.Count() },
			each(func(batch numbers, _ drawn) []int64 { return []int64{int64(len(batch))} })),
		holds("reduce", small(), true, func(s ints) ints { return s.Reduce(dstream.Sum) }, each(reduced(dstream.Sum[int]))),
		holds("countByValue", words(), true, func(s strs) *dstream.DStream[dstream.KV[string, int64]] { return dstream.CountByValue(s) },
			each(func(batch []string, _ drawn) []dstream.KV[string, int64] { return counted(batch) })),
		holds("transform", small(), false, func(s ints) ints {
			return dstream.Transform(s, func(r rdd.RDD[int], t time.Time) rdd.RDD[int] {
				return rdd.Map(r.Filter(even), func(v int) int { return v + int(t.Unix()) })
			})
		}, func(in []numbers, _ drawn) (out []numbers) {
			for n, batch := range in {
				out = append(out, numbers{})
				for _, v := range batch {
					if even(v) {
						out[n] = append(out[n], v+n+1)
					}
				}
			}
			return out
		}),
		holds("transformAll", small(), false, func(s ints) ints {
			return dstream.TransformAll([]ints{s, s.Filter(even)}, func(rs []rdd.RDD[int], _ time.Time) rdd.RDD[int] { return rs[0].Union(rs[1]) })
		}, each(mapped(func(v int) numbers {
			if even(v) {
				return numbers{v, v}
			}
			return numbers{v}
		}))),
		holds("persist", small(), true, func(s ints) ints {
			p := dstream.Map(s, func(v int) int { return v * v }).Persist()
			return p.Window(3*interval, interval)
		}, windowsOf(3, 1, func(batch numbers) numbers {
			out := numbers{}
			for _, v := range batch {
				out = append(out, v*v)
			}
			return out
		})),
	}
}

// windowsOf makes the oracle of a window of so many batches, every so many, of what f makes of all of its elements.
func windowsOf[T, U any](length, slide int, f func([]T) []U) func([][]T, drawn) [][]U {
	return func(in [][]T, _ drawn) (out [][]U) {
		for n := slide; n <= len(in); n += slide {
			out = append(out, f(slices.Concat(in[max(0, n-length):n]...)))
		}
		return out
	}
}
