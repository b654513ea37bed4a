package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is a line of the table.
type row struct {
	what   string
	value  string
	target string
	met    verdict
	note   string // what it was compared with, and how often it was measured
}

type verdict uint8

const (
	shown verdict = iota // without a target
	met
	missed
)

// within gives the verdict of a value that should be at most, or at least, a bound.
func atMost(v, most float64) verdict   { return judge(v <= most) }
func atLeast(v, least float64) verdict { return judge(v >= least) }

func judge(ok bool) verdict {
	if ok {
		return met
	}
	return missed
}

// table prints the rows in Markdown.
func table(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %d cores, %s/%s, %s. Times of a shared machine: ratios of one run say more than they do.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	b.WriteString("| measure | value | target | met | how |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.what, r.value, r.target, [...]string{"", "yes", "**no**"}[r.met], r.note)
	}
	return b.String()
}

// percentile gives the nearest-rank percentile of values.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func median(values []float64) float64 { return percentile(values, 50) }

// spread gives median, p90 and largest of values.
func spread(values []float64, unit string) string {
	return fmt.Sprintf("p50 %.4g, p90 %.4g, max %.4g %s", median(values), percentile(values, 90), percentile(values, 100), unit)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
