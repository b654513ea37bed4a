package conformance_test

import (
	"fmt"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is a testing.TB that notes what the kit says of it, so that a case can expect a failure.
type quiet struct {
	testing.TB
	errors []string
}

func (q *quiet) Helper()                   {}
func (q *quiet) Errorf(f string, a ...any) { q.errors = append(q.errors, fmt.Sprintf(f, a...)) }
func (q *quiet) Fatalf(f string, a ...any) { q.errors = append(q.errors, fmt.Sprintf(f, a...)) }

// run runs a case's steps and gives what the batches held, and what the kit found wrong.
func run(t *testing.T, c *table, steps []step, opts []streamtest.Option) ([][]string, []string) {
	t.Helper()
	tb := &quiet{TB: t}
	opts = append(opts, streamtest.BatchInterval(c.interval()), streamtest.Batches(c.batches()))
	if c.Input2 == nil {
		return streamtest.Run(tb, elements(t, c.Input), func(s stream) stream {
			return program{input: s}.apply(s, steps)
		}, opts...), tb.errors
	}
	return streamtest.Run2(tb, elements(t, c.Input), elements(t, c.Input2), func(a, b stream) stream {
		return program{a, b}.apply(a, steps)
	}, opts...), tb.errors
}

// same reports whether the batches hold what is expected, in order if that counts.
func same(got, want [][]string, ordered bool) bool {
	return slices.EqualFunc(got, want, func(a, b []string) bool {
		if !ordered {
			a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
		}
		return slices.Equal(a, b)
	})
}

// ways are what happens to the processes that run a case. Losses take the most time: with two partitions both executors
// have one.
var ways = map[string]func(batch int) streamtest.Option{
	"straight": nil,
	"restarts": streamtest.RestartAfter,
	"losses":   streamtest.LoseExecutorAfter,
}

// check runs the steps in every way and compares; it counts the runs, restarts and losses in them.
func check(t *testing.T, c *table, steps []step, want [][]string, count *counts) {
	for _, partitions := range []int{1, 2, 5} {
		if partitions != 2 && c.ofPartitions() {
			continue
		}
		for way, after := range ways {
			if way == "losses" && partitions != 2 {
				continue
			}
			opts := []streamtest.Option{streamtest.Partitions(partitions)}
			if after != nil {
				for n := range c.batches() {
					opts = append(opts, after(n+1))
				}
				count.ended += c.batches()
			}
			count.runs++
			got, errs := run(t, c, steps, opts)
			if fails := c.Fails != nil && c.Fails.Batch > 0; fails != (len(errs) > 0) {
				t.Errorf("%d partitions, %s: errors %q, the case expects some: %t", partitions, way, errs, fails)
			}
			if !same(got, want, c.Ordered) {
				t.Errorf("%d partitions, %s:\n got %v\nwant %v", partitions, way, got, want)
			}
		}
	}
}

// checkPartitions checks how many partitions the datasets have.
func checkPartitions(t *testing.T, c *table) {
	got, errs := run(t, c, append(slices.Clone(c.Pipeline), step{Op: "glom"}), nil)
	if len(errs) > 0 || len(got) != len(c.Expected) {
		t.Errorf("%d batches, errors %q", len(got), errs)
	}
	for i, batch := range got {
		if len(batch) != c.OutPartitions {
			t.Errorf("batch %d has %d partitions, expected %d", i+1, len(batch), c.OutPartitions)
		}
	}
}

// counts is how much was run.
type counts struct{ cases, runs, ended, excluded int }

// ofPartitions says that the result is about partitions: it holds for the two that the case was made with.
func (c *table) ofPartitions() bool {
	return slices.ContainsFunc(c.Pipeline, func(s step) bool { return s.Op == "mapPartitions" || s.Op == "glom" })
}

// TestTables runs every table case.
func TestTables(t *testing.T) {
	count := counts{}
	excluded := map[string]bool{}
	for _, c := range all(t) {
		if len(c.Pipeline) == 0 || c.Expected == nil && c.Snapshots == nil {
			if _, ok := others[c.name()]; !ok {
				t.Errorf("%q is no table, and nothing says what shows it", c.name())
			}
			continue
		}
		if _, ok := exclusions[c.name()]; ok {
			excluded[c.name()] = true
			count.excluded++
			continue
		}
		count.cases++
		t.Run(c.name(), func(t *testing.T) {
			if c.Expected != nil {
				check(t, c, c.Pipeline, elements(t, c.Expected), &count)
			}
			if c.Snapshots != nil {
				check(t, c, append(slices.Clone(c.Pipeline), step{Op: "stateSnapshots"}), elements(t, c.Snapshots), &count)
			}
			if c.OutPartitions > 0 {
				checkPartitions(t, c)
			}
		})
	}
	for name := range exclusions {
		if !excluded[name] {
			t.Errorf("%q is excluded, but there is no such case", name)
		}
	}
	t.Logf("%d cases, %d runs with 1, 2 and 5 partitions, %d restarts and losses of executors; %d cases excluded", count.cases, count.runs, count.ended, count.excluded)
	for name, why := range exclusions {
		t.Logf("excluded: %s: %s", name, why)
	}
}
