package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// goBenchmarks runs benchmarks of a package of this module once and gives their metrics, by name and unit.
func goBenchmarks(ctx context.Context, pkg, pattern, time string) (map[string]map[string]float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", time, pkg)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("benchmarks %s of %s: %w\n%s", pattern, pkg, err, out.String())
	}
	return parseBenchmarks(out.String()), nil
}

// parseBenchmarks reads what go test prints: name-procs, runs, then value and unit in turn.
func parseBenchmarks(out string) map[string]map[string]float64 {
	all := map[string]map[string]float64{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		all[name] = map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				all[name][fields[i+1]] = v
			}
		}
	}
	return all
}

// collect runs benchmarks several times and gives the values of one unit by name, one per round.
func collect(ctx context.Context, rounds int, pkg, pattern, time, unit string) (map[string][]float64, error) {
	all := map[string][]float64{}
	for range rounds {
		got, err := goBenchmarks(ctx, pkg, pattern, time)
		if err != nil {
			return all, err
		}
		for name, metrics := range got {
			if v, ok := metrics[unit]; ok {
				all[name] = append(all[name], v)
			}
		}
	}
	return all, nil
}

// tasks is what a batch costs when its tasks cost nothing.
func tasks(ctx context.Context, o options) ([]row, error) {
	got, err := collect(ctx, o.rounds, "./executor", "TwoStagesOfEightEmptyTasks", "300x", "p50-ms")
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, way := range []string{"in_process", "over_grpc"} {
		v := median(got["TwoStagesOfEightEmptyTasks/"+way])
		rows = append(rows, row{
			what:  "two stages of 8 empty tasks on three executors, " + strings.ReplaceAll(way, "_", " "),
			value: fmt.Sprintf("%.2f ms", v), target: "at most 2 ms at the median", met: atMost(v, 2),
			note: fmt.Sprintf("median of 300 batches, median of %d rounds", o.rounds),
		})
	}
	return rows, nil
}

// words compares the fused loop of a word count with one written by hand over a Go map.
func words(ctx context.Context, o options) ([]row, error) {
	hand, fused, table := []float64{}, []float64{}, []float64{}
	for range o.rounds {
		got, err := goBenchmarks(ctx, "./internal/lineage", "WordCount/.*/100000$", "2s")
		if err != nil {
			return nil, err
		}
		hand = append(hand, got["WordCount/map/100000"]["ns/word"])
		fused = append(fused, got["WordCount/fused/100000"]["ns/word"])
		table = append(table, got["WordCount/hand/100000"]["ns/word"])
	}
	ratio := ratios(hand, fused)
	return []row{
		{
			what:  "word count inside an executor, 100,000 distinct words, speed against a hand loop with a Go map",
			value: fmt.Sprintf("%.2f", median(ratio)), target: "at least 0.7", met: atLeast(median(ratio), 0.7),
			note: fmt.Sprintf("%.1f against %.1f ns/word, %d rounds", median(fused), median(hand), o.rounds),
		},
		{
			what:  "the same against a hand loop over the engine's own table",
			value: fmt.Sprintf("%.2f", median(ratios(table, fused))),
			note:  fmt.Sprintf("%.1f ns/word by hand", median(table)),
		},
	}, nil
}

// ratios divides pair by pair.
func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}
