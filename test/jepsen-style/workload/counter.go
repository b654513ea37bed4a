package workload

import (
	"fmt"
	"path/filepath"
	"strings"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
)

const (
	countedBatch = 500 // ms
	countedKeys  = 50
)

// newCounter counts words since the start, by UpdateStateByKey of the stock application, whose state is saved every 2 s.
func newCounter() Workload {
	return &fed{
		name: "counter",
		submit: func(e *Env) *raftstreamv1.SubmitRequest {
			return &raftstreamv1.SubmitRequest{
				Program: "wordcount", BatchMs: countedBatch, BlockMs: 100,
				Params: map[string]string{"source": "ingest", "running": "true", "checkpoint": "2s", "out": filepath.Join(e.Dir, outputsPrefix)},
			}
		},
		text:  func(seed uint64) text { return words(seed, countedKeys) },
		check: checkTotals,
	}
}

// newMapCounter counts words since the start by MapWithState.
func newMapCounter() Workload {
	return &fed{
		name: "map-counter",
		submit: func(e *Env) *raftstreamv1.SubmitRequest {
			return &raftstreamv1.SubmitRequest{
				Program: "totals", BatchMs: countedBatch, BlockMs: 100,
				Params: map[string]string{"checkpoint": "1500ms", "out": filepath.Join(e.Dir, outputsPrefix)},
			}
		},
		text:  func(seed uint64) text { return words(seed, countedKeys) },
		check: checkTotals,
	}
}

// checkTotals holds the totals of every batch against those of the batch before and what the ledger allocated, and the
// last ones against what was sent.
func checkTotals(v *evidence) []checker.Result {
	saved, outputs := checker.Outputs(v.workload, filepath.Join(v.dir, outputsPrefix), "")
	line := words(v.app.Seed, countedKeys)
	results := []checker.Result{outputs, v.positions()}
	batches, err := countsOf(saved)
	if err != nil {
		return append(results, unknown("totals", v.workload, err))
	}
	results = append(results, monotone(v, batches), v.bounds(batches, line))
	o, err := oracleOf(v, line)
	if err != nil {
		return append(results, unknown("totals", v.workload, err))
	}
	j := checker.Judging("totals", v.workload)
	want := map[string]int64{}
	got := byTime(batches)
	for i := range o.batches {
		for key, n := range o.counts(i, i) {
			want[key] += n
		}
		compare(j, v.workload, o.batches[i].Time, got, want)
	}
	return append(results, strangers(j, o, batches))
}

// monotone holds the totals of each batch against those before it: no key goes back or away.
func monotone(v *evidence, batches []counted) checker.Result {
	j := checker.Judging("monotone", v.workload)
	var last *counted
	for i := range batches {
		b := &batches[i]
		j.See("totals", int64(len(b.counts)))
		if last != nil {
			for key, n := range last.counts {
				if b.counts[key] < n {
					j.Bad("%s: %q has %d, it had %d in batch %d", b.dir, key, b.counts[key], n, last.time)
				}
			}
		}
		last = b
	}
	return j.Result()
}

// bounds holds the last totals against what was sent: at least what was acknowledged, at most what may have been taken.
func (v *evidence) bounds(batches []counted, line text) checker.Result {
	j := checker.Judging("final totals", v.workload)
	if len(batches) == 0 {
		return j.Result()
	}
	acked, all := map[string]int64{}, map[string]int64{}
	for _, s := range []struct {
		ids  *checker.IDs
		sure bool
	}{{v.acked, true}, {v.maybe, false}} {
		for _, name := range s.ids.Producers() {
			for n := uint64(1); n <= v.highest[name]; n++ {
				if !s.ids.Has(name, n) || !s.sure && v.acked.Has(name, n) {
					continue
				}
				for word := range strings.FieldsSeq(line(name, n)) {
					all[word]++
					if s.sure {
						acked[word]++
					}
				}
			}
		}
	}
	last := batches[len(batches)-1]
	j.See("acknowledged", v.acked.Len())
	for key, most := range all {
		n := last.counts[key]
		j.See("keys", 1)
		if n < acked[key] {
			j.Found.Lost += acked[key] - n
			j.Bad("%s: %q has %d, %d were acknowledged", last.dir, key, n, acked[key])
		}
		if n > most {
			j.Found.Duplicated += n - most
			j.Bad("%s: %q has %d, %d were sent", last.dir, key, n, most)
		}
	}
	for key, n := range last.counts {
		if all[key] == 0 {
			j.Found.Phantom += n
			j.Bad("%s: %q has %d, none was sent", last.dir, key, n)
		}
	}
	return j.Result()
}

// newWindow counts words within 3 batches, each batch, by the stock application: what leaves is subtracted.
func newWindow() Workload {
	return &fed{
		name: "window",
		submit: func(e *Env) *raftstreamv1.SubmitRequest {
			return &raftstreamv1.SubmitRequest{
				Program: "wordcount", BatchMs: countedBatch, BlockMs: 100,
				Params: map[string]string{
					"source": "ingest", "out": filepath.Join(e.Dir, outputsPrefix),
					"window": fmt.Sprintf("%dms/%dms", 3*countedBatch, countedBatch),
				},
			}
		},
		text: func(seed uint64) text { return words(seed, countedKeys) },
		check: func(v *evidence) []checker.Result {
			return append(checkWindow(v, outputsPrefix, 3, 1), v.inLedger(), v.positions())
		},
	}
}

// newWindows runs windows of every form over the same records.
func newWindows() Workload {
	return &fed{
		name: "windows",
		submit: func(e *Env) *raftstreamv1.SubmitRequest {
			return &raftstreamv1.SubmitRequest{
				Program: "windows", BatchMs: countedBatch, BlockMs: 100, Params: map[string]string{"out": filepath.Join(e.Dir, outputsPrefix)},
			}
		},
		text: func(seed uint64) text { return words(seed, countedKeys) },
		check: func(v *evidence) []checker.Result {
			results := []checker.Result{v.inLedger(), v.positions()}
			for _, o := range []struct {
				name          string
				length, slide int
			}{{"reduced", 3, 1}, {"inverse", 10, 2}, {"lines", 4, 2}, {"long", 24, 3}} {
				results = append(results, checkWindow(v, outputsPrefix+"-"+o.name, o.length, o.slide)...)
			}
			return results
		},
	}
}

// checkWindow holds every window of an output against the oracle: length and slide are in batches.
func checkWindow(v *evidence, prefix string, length, slide int) []checker.Result {
	saved, outputs := checker.Outputs(v.workload, filepath.Join(v.dir, prefix), "")
	j := checker.Judging("windows "+prefix, v.workload)
	batches, err := countsOf(saved)
	if err != nil {
		return []checker.Result{outputs, unknown(j.Found.Checker, v.workload, err)}
	}
	o, err := oracleOf(v, words(v.app.Seed, countedKeys))
	if err != nil {
		return []checker.Result{outputs, unknown(j.Found.Checker, v.workload, err)}
	}
	got := byTime(batches)
	for i := range o.batches {
		if (i+1)%slide != 0 {
			if b := got[o.batches[i].Time]; b != nil {
				j.Bad("%s: no window ends there", b.dir)
			}
			continue
		}
		compare(j, v.workload, o.batches[i].Time, got, o.counts(max(0, i-length+1), i))
	}
	return []checker.Result{outputs, strangers(j, o, batches)}
}
