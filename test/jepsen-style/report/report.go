// Package report owns what people see of a run: results as JSON, a summary, a timeline, and plots of latency and rate. It
// draws what a run's folder holds and what checkers found; it judges nothing, and must not know what operations mean but
// for the records that one of them adds.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// Report is what is reported of a run.
type Report struct {
	Title   string // of the pages: which run it is
	Verdict string // of the whole run
	Reasons []string
	// Facts are told in the summary, in this order: seed, layer, faults that bit.
	Facts   []Fact
	Results []checker.Result
	Run     *checker.Run
}

// Fact is a name and what there is to say.
type Fact struct{ Name, Value string }

// Write writes results.json, summary.md, timeline.html, latency.svg, rate.svg and history.edn into the run's folder. It writes as
// many of them as it can; the error says what could not be drawn.
func Write(r *Report) error {
	d, err := gather(r)
	files := []struct {
		name string
		make func() ([]byte, error)
	}{
		{"results.json", r.results},
		{"summary.md", func() ([]byte, error) { return r.summary(d), nil }},
		{"timeline.html", func() ([]byte, error) { return r.timeline(d), nil }},
		{"latency.svg", func() ([]byte, error) { return latencies(d), nil }},
		{"rate.svg", func() ([]byte, error) { return rates(d), nil }},
	}
	for _, f := range files {
		b, failed := f.make()
		if failed == nil {
			failed = os.WriteFile(filepath.Join(r.Run.Dir, f.name), b, 0o644)
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("report %s: %w", f.name, failed))
		}
	}
	return errors.Join(err, r.edn())
}

// edn writes the history for Jepsen's own tools.
func (r *Report) edn() error {
	f, err := os.Create(filepath.Join(r.Run.Dir, "history.edn"))
	if err != nil {
		return fmt.Errorf("report history.edn: %w", err)
	}
	return errors.Join(history.WriteEDN(f, r.Run.Events), f.Close())
}

// results gives the results for programs.
func (r *Report) results() ([]byte, error) {
	counts := map[checker.Verdict]int{}
	var lost, duplicated, phantom, unexplained int64
	for _, c := range r.Results {
		counts[c.Verdict]++
		lost, duplicated, phantom, unexplained = lost+c.Lost, duplicated+c.Duplicated, phantom+c.Phantom, unexplained+c.Unexplained
	}
	b, err := json.MarshalIndent(map[string]any{
		"title": r.Title, "verdict": r.Verdict, "reasons": slices.Concat([]string{}, r.Reasons),
		"checks": counts, "lost": lost, "duplicated": duplicated, "phantom": phantom, "unexplained": unexplained,
		"results": slices.Concat([]checker.Result{}, r.Results),
	}, "", "  ")
	return append(b, '\n'), err
}

// data is a run as it is drawn.
type data struct {
	ops    []history.Op
	faults []history.Fault
	reigns []reign
	end    int64 // of the run: time of the last event
	events []history.Event
}

// reign is a leadership, from the first event that knows of its entry.
type reign struct {
	checker.Leadership
	from, to int64
}

// gather prepares a run. What cannot be had is left out, and told by the error.
func gather(r *Report) (*data, error) {
	d := &data{events: r.Run.Events, faults: history.Faults(r.Run.Events)}
	if n := len(d.events); n > 0 {
		d.end = d.events[n-1].Time
	}
	var err error
	if d.ops, err = history.Pair(d.events); err != nil {
		err = fmt.Errorf("report: %w", err)
	}
	leaderships, failed := checker.Leaderships(r.Run)
	d.reign(leaderships)
	return d, errors.Join(err, failed)
}

// reign dates leaderships by the history: clocks of nodes may have been skewed. A leadership begins at the first event
// that was answered at its index or later.
func (d *data) reign(all []checker.Leadership) {
	at := 0
	for i := range d.events {
		e := &d.events[i]
		for e.Type == history.OK && at < len(all) && e.RaftIndex >= all[at].Index {
			if n := len(d.reigns); n > 0 {
				d.reigns[n-1].to = e.Time
			}
			d.reigns = append(d.reigns, reign{Leadership: all[at], from: e.Time, to: d.end})
			at++
		}
	}
}

// upTo is a time of the run: what never ended lasts to the end.
func (d *data) upTo(t int64) int64 { return min(t, d.end) }
