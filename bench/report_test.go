package main

import (
	"strings"
	"testing"
)

func TestPercentilesAreNearestRank(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, 20: 1, 21: 2, 50: 3, 90: 5, 100: 5} {
		if got := percentile(values, p); got != want {
			t.Errorf("percentile %v is %v, expected %v", p, got, want)
		}
	}
}

func TestTheTableSaysWhichTargetsWereMissed(t *testing.T) {
	got := table([]row{
		{what: "a", value: "1 ms", target: "2 ms", met: atMost(1, 2)},
		{what: "b", value: "3 ms", target: "2 ms", met: atMost(3, 2)},
		{what: "c", value: "3 times", target: "4 times", met: atLeast(3, 4)},
		{what: "d", value: "7"},
	})
	for _, want := range []string{"| a | 1 ms | 2 ms | yes |", "| b | 3 ms | 2 ms | **no** |", "| c | 3 times | 4 times | **no** |", "| d | 7 |  |  |"} {
		if !strings.Contains(got, want) {
			t.Errorf("no line %q in\n%s", want, got)
		}
	}
}

func TestMetricsOfGoBenchmarksAreRead(t *testing.T) {
	out := "goos: linux\nBenchmarkWordCount/fused/1000-4   \t  10\t 1234 ns/op\t 21.5 ns/word\t 3 B/op\nPASS\n"
	got := parseBenchmarks(out)
	if v := got["WordCount/fused/1000"]["ns/word"]; v != 21.5 {
		t.Errorf("%v, expected 21.5 ns/word of WordCount/fused/1000", got)
	}
}
