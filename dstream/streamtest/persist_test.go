package streamtest_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// long makes batches of which a window does not fit into the memory that streamtest gives to persisted partitions.
func long(batches int) (input [][]int) {
	for b := range batches {
		var all []int
		for i := range 200 {
			all = append(all, b*1000+i)
		}
		input = append(input, all)
	}
	return input
}

var persisted = map[string]func(stream[string]) stream[string]{
	"memory only":     func(s stream[string]) stream[string] { return s.Persist() },
	"memory and disk": func(s stream[string]) stream[string] { return s.Persist(dstream.MemoryAndDisk) },
}

// Rule 6: Persist changes nothing but the time that it takes.
func TestResultsAreTheSameWithPersist(t *testing.T) {
	input := long(12)
	text := func(s stream[int]) stream[string] {
		return dstream.Map(s, func(v int) string { return fmt.Sprintf("%d/%s", v, strings.Repeat("x", v%40)) })
	}
	programs := map[string]func(stream[string], *stream[string]) stream[string]{
		"a window": func(s stream[string], _ *stream[string]) stream[string] { return s.Window(5*second, 1*second) },
		"two reads": func(s stream[string], _ *stream[string]) stream[string] {
			return s.Union(s.Filter(func(v string) bool { return len(v) > 20 }))
		},
		"through a shuffle": func(s stream[string], _ *stream[string]) stream[string] {
			return dstream.Map(dstream.CountByValue(s), func(p kv[string, int64]) string { return fmt.Sprint(p) })
		},
		"another output that takes a few": func(s stream[string], _ *stream[string]) stream[string] {
			s.Print(3)
			return s
		},
	}
	for name, program := range programs {
		want := streamtest.Run(t, input, func(s stream[int]) stream[string] { return program(text(s), nil) })
		for level, persist := range persisted {
			for restart, opts := range restarts() {
				t.Run(fmt.Sprintf("%s/%s/%s", name, level, restart), func(t *testing.T) {
					t.Parallel()
					got := streamtest.Run(t, input, func(s stream[int]) stream[string] { return program(persist(text(s)), nil) }, opts...)
					if !reflect.DeepEqual(got, want) {
						t.Error("results differ from those without Persist")
					}
				})
			}
		}
	}
}

// Above a shuffle and above keyed state.
func TestPersistedStreamsBelowShufflesAndStateAreTheSame(t *testing.T) {
	for below, f := range over {
		t.Run(below, func(t *testing.T) {
			t.Parallel()
			program := func(s stream[int], persist bool) stream[int] {
				s = dstream.Map(f(s), plus4)
				if persist {
					s = s.Persist(dstream.MemoryAndDisk)
				}
				s.Print()
				return s.Window(3*second, 1*second)
			}
			want := streamtest.Run(t, long(6), func(s stream[int]) stream[int] { return program(s, false) })
			got := streamtest.Run(t, long(6), func(s stream[int]) stream[int] { return program(s, true) }, streamtest.RestartAfter(3))
			for i := range got {
				slices.Sort(got[i])
				slices.Sort(want[i])
			}
			if !reflect.DeepEqual(got, want) {
				t.Error("results differ from those without Persist")
			}
		})
	}
}
