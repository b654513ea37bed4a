package main

import (
	"context"
	"fmt"
	"math"
)

// benchmark of a package: which, how long it runs, and its unit.
type benchmark struct{ pkg, pattern, time, unit string }

// medians runs a benchmark in rounds and gives the median of every name.
func (b benchmark) medians(ctx context.Context, o options) (map[string]float64, error) {
	got, err := collect(ctx, o.rounds, b.pkg, b.pattern, b.time, b.unit)
	all := map[string]float64{}
	for name, values := range got {
		all[name] = median(values)
	}
	return all, err
}

// fused compares the fused loop with one written by hand, with the same splitter and the same table.
func fused(ctx context.Context, o options) ([]row, error) {
	got, err := benchmark{"./internal/lineage", "FusedAgainstHand", "4s", "ratio"}.medians(ctx, o)
	if err != nil {
		return nil, err
	}
	ratio := got["FusedAgainstHand"]
	return []row{{
		what:  "FlatMap(strings.FieldsSeq), Map and combiner, 100,000 distinct words, time per word against a hand loop with the same splitter and table",
		value: fmt.Sprintf("%.2f times", ratio), target: "at most 1.25 times", met: atMost(ratio, 1.25),
		note: fmt.Sprintf("median of the ratios of pairs that alternate, median of %d rounds", o.rounds),
	}}, nil
}

// windows compares windows by key with computing them again, and with longer ones.
func windows(ctx context.Context, o options) ([]row, error) {
	got, err := benchmark{"./internal/lineage", "Window100k", "20x", "cpu-ms/op"}.medians(ctx, o)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, of := range []string{"100%", "10%"} {
		at := func(name string) float64 { return got["Window100k/"+of+"/"+name] }
		ratio := at("by_hand/60") / at("inverse/60")
		rows = append(rows, row{
			what:  "window of 60 panes with an inverse, 100,000 keys, " + of + " of them in each pane: cheaper than computing it again",
			value: fmt.Sprintf("%.1f times", ratio), target: "at least 10 times", met: atLeast(ratio, 10),
			note: fmt.Sprintf("%.1f against %.1f ms CPU, the new pane combined and the window read in both", at("inverse/60"), at("by_hand/60")),
		})
		grown := at("reduce/240") / at("reduce/8")
		rows = append(rows, row{
			what:  "the same without an inverse: 240 panes against 8",
			value: fmt.Sprintf("%.2f times", grown), target: "at most log 240 / log 8 = 2.64 times", met: atMost(grown, math.Log(240)/math.Log(8)),
			note: fmt.Sprintf("8, 60 and 240 panes: %.1f, %.1f and %.1f ms CPU", at("reduce/8"), at("reduce/60"), at("reduce/240")),
		})
	}
	return rows, nil
}

// keyed measures keyed state: batches that touch 1 % of a million keys, their checkpoints, and ten million counts in memory.
func keyed(ctx context.Context, o options) ([]row, error) {
	batches, err := benchmark{"./internal/lineage", "MapState1M|UpdateState1PercentOf1M", "30x", "cpu-ms/batch"}.medians(ctx, o)
	if err != nil {
		return nil, err
	}
	checkpoints, err := benchmark{"./internal/lineage", "MapState1M|UpdateState1PercentOf1M", "30x", "cpu-ms/checkpoint"}.medians(ctx, o)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, r := range []struct {
		what, name string
		most       float64
	}{
		{"UpdateStateByKey, its function's calls included", "UpdateState1PercentOf1M", 20},
		{"MapWithState", "MapState1M/for-ever", 6},
		{"MapWithState with a timeout", "MapState1M/with-timeout", 6},
	} {
		v, c := batches[r.name+"/batch"], checkpoints[r.name+"/checkpoint"]
		rows = append(rows,
			row{
				what:  "batch over 1,000,000 keys with 1 % touched: " + r.what,
				value: fmt.Sprintf("%.1f ms CPU", v), target: fmt.Sprintf("at most %g ms", r.most), met: atMost(v, r.most),
				note: fmt.Sprintf("from blocks to the installed change, median of %d rounds", o.rounds),
			},
			row{
				what:  "changes of that batch, encoded for a checkpoint",
				value: fmt.Sprintf("%.1f ms CPU", c), target: "at most 10 ms", met: atMost(c, 10),
			})
	}
	peak, err := benchmark{"./internal/lineage", "Counts10M", "1x", "MiB-peak"}.medians(ctx, options{rounds: 1})
	if err != nil {
		return rows, err
	}
	mib := peak["Counts10M"]
	return append(rows, row{
		what:  "10,000,000 integer counts under string keys of 12 bytes, resident at most",
		value: fmt.Sprintf("%.0f MiB", mib), target: "under 1 GB", met: atMost(mib*(1<<20), 1e9), note: "a whole process, building included",
	}), nil
}

// codecs measures encoding and decoding a record.
func codecs(ctx context.Context, o options) ([]row, error) {
	got, err := benchmark{"./internal/codec", "(KV|Struct)$", "1s", "cpu-ns/op"}.medians(ctx, o)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, r := range []struct {
		what, name string
		most       float64
	}{{"KV[string,int64]", "KV", 40}, {"struct of five fields", "Struct", 100}} {
		rows = append(rows, row{
			what:  "encode and decode a " + r.what,
			value: fmt.Sprintf("%.0f ns CPU", got[r.name]), target: fmt.Sprintf("at most %g ns", r.most), met: atMost(got[r.name], r.most),
			note: fmt.Sprintf("one core, median of %d rounds", o.rounds),
		})
	}
	return rows, nil
}
