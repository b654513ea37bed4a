package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// markdown keeps a text from being anything but text in a table.
var markdown = strings.NewReplacer("\\", "\\\\", "|", "\\|", "\n", " ", "\r", " ", "<", "&lt;", ">", "&gt;", "&", "&amp;", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]")

// summary tells people what came out.
func (r *Report) summary(d *data) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n", markdown.Replace(r.Title), markdown.Replace(r.Verdict))
	for _, reason := range r.Reasons {
		fmt.Fprintf(&b, "- %s\n", markdown.Replace(reason))
	}
	if len(r.Reasons) > 0 {
		b.WriteByte('\n')
	}
	b.WriteString("| | |\n|---|---|\n")
	for _, f := range slices.Concat(r.Facts, d.facts()) {
		fmt.Fprintf(&b, "| %s | %s |\n", markdown.Replace(f.Name), markdown.Replace(f.Value))
	}
	b.WriteString("\n## Checks\n\n| check | workload | verdict | lost | duplicated | phantom | unexplained | seen |\n|---|---|---|---|---|---|---|---|\n")
	for _, c := range r.Results {
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %d | %d | %s |\n", markdown.Replace(c.Checker), markdown.Replace(c.Workload), c.Verdict,
			c.Lost, c.Duplicated, c.Phantom, c.Unexplained, markdown.Replace(counted(c.Counts)))
	}
	for _, c := range r.Results {
		if c.Verdict == checker.Valid || len(c.Details) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s %s\n\n", markdown.Replace(c.Checker), markdown.Replace(c.Workload))
		for _, detail := range c.Details {
			fmt.Fprintf(&b, "- %s\n", markdown.Replace(detail))
		}
	}
	b.WriteString("\n## Operations\n\n| workload | operation | ok | failed | not known | p50 | p95 | p99 | slowest |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range series(d.ops) {
		q := s.quantiles(0.5, 0.95, 0.99, 1)
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %v | %v | %v | %v |\n", markdown.Replace(s.workload), markdown.Replace(s.f),
			s.n[history.OK], s.n[history.Fail], s.n[history.Info], round(q[0]), round(q[1]), round(q[2]), round(q[3]))
	}
	b.WriteString("\nSee timeline.html, latency.svg and rate.svg; repeat.sh runs it again.\n")
	return []byte(b.String())
}

// facts are those that the history tells.
func (d *data) facts() []Fact {
	kinds := map[string]int{}
	for _, f := range d.faults {
		kinds[f.Begin.F]++
	}
	var faults []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		faults = append(faults, fmt.Sprintf("%s %d", k, kinds[k]))
	}
	return []Fact{
		{"time", round(d.end).String()},
		{"operations", fmt.Sprint(len(d.ops))},
		{"faults", cmp.Or(strings.Join(faults, ", "), "none")},
		{"leaderships", fmt.Sprint(len(d.reigns))},
	}
}

func counted(counts map[string]int64) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(all, ", ")
}

// round gives a time with three digits or so.
func round(ns int64) time.Duration {
	d := time.Duration(ns)
	switch {
	case d > 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

// serie is all operations of one kind of one workload.
type serie struct {
	workload, f string
	ops         []*history.Op
	n           map[history.Type]int
}

// series groups operations, the most frequent kind first within its workload.
func series(ops []history.Op) []*serie {
	by := map[[2]string]*serie{}
	var all []*serie
	for i := range ops {
		o := &ops[i]
		key := [2]string{o.Invoke.Workload, o.Invoke.F}
		s, ok := by[key]
		if !ok {
			s = &serie{workload: key[0], f: key[1], n: map[history.Type]int{}}
			by[key] = s
			all = append(all, s)
		}
		s.ops = append(s.ops, o)
		s.n[o.Type()]++
	}
	slices.SortStableFunc(all, func(a, b *serie) int {
		return cmp.Or(cmp.Compare(a.workload, b.workload), cmp.Compare(len(b.ops), len(a.ops)), cmp.Compare(a.f, b.f))
	})
	return all
}

// quantiles gives latencies of the operations that ended as ok; zeros if none did.
func (s *serie) quantiles(qs ...float64) []int64 {
	var took []int64
	for _, o := range s.ops {
		if o.Type() == history.OK {
			took = append(took, o.End.Time-o.Start())
		}
	}
	return quantiles(took, qs...)
}

// quantiles sorts values and gives the nearest ones at or above each rank.
func quantiles(values []int64, qs ...float64) []int64 {
	out := make([]int64, len(qs))
	if len(values) == 0 {
		return out
	}
	slices.Sort(values)
	for i, q := range qs {
		at := int(q * float64(len(values)))
		out[i] = values[min(at, len(values)-1)]
	}
	return out
}
