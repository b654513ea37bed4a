package checker

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

func ids(producer string, ranges ...uint64) *IDs {
	s := &IDs{}
	for i := 0; i < len(ranges); i += 2 {
		s.Add(producer, ranges[i], ranges[i+1])
	}
	return s
}

func records(producer string, numbers ...uint64) []Record {
	var all []Record
	for _, n := range numbers {
		all = append(all, Record{Producer: producer, Number: n, Where: "batch 1"})
	}
	return all
}

func TestExactlyOnceSeesWhatIsWrong(t *testing.T) {
	acked, maybe := ids("p", 1, 5), ids("p", 5, 8)
	tests := []struct {
		name   string
		output []Record
		want   Result
		detail string
	}{
		{"all there", records("p", 1, 2, 3, 4, 5), Result{Verdict: Valid}, ""},
		{"in another order, and some that were not acknowledged", records("p", 8, 5, 4, 3, 2, 1, 6), Result{Verdict: Valid}, ""},
		{"one is lost", records("p", 1, 2, 4, 5), Result{Verdict: Invalid, Lost: 1}, "lost: p-3"},
		{"the last is lost", records("p", 1, 2, 3, 4), Result{Verdict: Invalid, Lost: 1}, "lost: p-5"},
		{"all are lost", nil, Result{Verdict: Invalid, Lost: 5}, "lost: p-1 to 5 (5 records)"},
		{"one is doubled", records("p", 1, 2, 3, 4, 5, 2), Result{Verdict: Invalid, Duplicated: 1}, "more than once: p-2, again in batch 1"},
		{"one that was not acknowledged is doubled", records("p", 1, 2, 3, 4, 5, 7, 7), Result{Verdict: Invalid, Duplicated: 1}, "more than once: p-7"},
		{"one was never sent", records("p", 1, 2, 3, 4, 5, 9), Result{Verdict: Invalid, Phantom: 1}, "never sent: p-9"},
		{"of a producer that there is not", append(records("p", 1, 2, 3, 4, 5), records("q", 1)...), Result{Verdict: Invalid, Phantom: 1}, "never sent: q-1"},
		{"no record at all", append(records("p", 1, 2, 3, 4, 5), Record{Where: "line 7"}), Result{Verdict: Invalid, Phantom: 1}, "what no producer writes, in line 7"},
		{
			"one for another one", records("p", 1, 2, 2, 4, 5, 9),
			Result{Verdict: Invalid, Lost: 1, Duplicated: 1, Phantom: 1},
			"lost: p-3",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := ExactlyOnce("w", acked, maybe, slices.Values(tt.output))
			got := Result{Verdict: r.Verdict, Lost: r.Lost, Duplicated: r.Duplicated, Phantom: r.Phantom}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n%+v", diff, r)
			}
			if !strings.Contains(strings.Join(r.Details, "\n"), tt.detail) {
				t.Errorf("details %q, expected %q", r.Details, tt.detail)
			}
		})
	}
}

func TestExactlyOnceCountsWhatCameBack(t *testing.T) {
	r := ExactlyOnce("w", ids("p", 1, 5), ids("p", 5, 8), slices.Values(records("p", 1, 2, 3, 4, 5, 6, 8)))
	want := map[string]int64{"acknowledged": 5, "records": 7, "recovered": 2, "unknown": 3}
	if diff := cmp.Diff(want, r.Counts); diff != "" || r.Verdict != Valid {
		t.Errorf("%s: %s", r.Verdict, diff)
	}
}

func TestExactlyOnceOfNothingIsUnknown(t *testing.T) {
	if r := ExactlyOnce("w", &IDs{}, ids("p", 1, 2), slices.Values([]Record(nil))); r.Verdict != Unknown {
		t.Errorf("%+v", r)
	}
}

func TestSentTellsWhatIsSureFromWhatIsNot(t *testing.T) {
	value := func(app string, first, last uint64) json.RawMessage {
		b, err := json.Marshal(history.Range{App: app, Producer: "p", First: first, Last: last})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	op := func(f string, end history.Type, v json.RawMessage) history.Op {
		return history.Op{Invoke: history.Event{F: f, Value: v}, End: history.Event{F: f, Type: end}}
	}
	acked, maybe, err := Sent([]history.Op{
		op(history.Add, history.OK, value("a", 1, 3)), op(history.Add, history.Info, value("a", 3, 6)),
		op(history.Add, history.Fail, value("a", 7, 9)), op(history.Add, history.OK, value("b", 20, 30)),
		op(history.Read, history.OK, nil), op(history.Add, history.OK, value("a", 0, 0)),
	}, "a")
	if err != nil {
		t.Fatal(err)
	}
	if acked.Len() != 4 || maybe.Len() != 4 || !acked.Has("p", 3) || acked.Has("p", 4) || !maybe.Has("p", 6) || maybe.Has("p", 7) {
		t.Errorf("%d acknowledged, %d not known", acked.Len(), maybe.Len())
	}
	if _, _, err := Sent([]history.Op{op(history.Add, history.OK, nil)}, "a"); err == nil {
		t.Error("an operation without a value was taken")
	}
}

func TestIDsAtTheEdges(t *testing.T) {
	s := ids("p", 0, 1, 63, 65, 65535, 65536, 1<<64-2, 1<<64-1, 9, 8)
	var runs []string
	n := s.less(ids("p", 64, 64), func(run string) { runs = append(runs, run) })
	want := []string{
		"p-0 to 1 (2 records)", "p-63", "p-65", "p-65535 to 65536 (2 records)",
		"p-18446744073709551614 to 18446744073709551615 (2 records)",
	}
	if diff := cmp.Diff(want, runs); diff != "" || n != 8 || s.Len() != 9 {
		t.Errorf("%d of %d: %s", n, s.Len(), diff)
	}
}

// A correct pipeline, whatever of the unknown it keeps and in whatever order, is never blamed; every mutation of its
// output always is.
func TestExactlyOnceOfRandomRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		acked, maybe := &IDs{}, &IDs{}
		var out []Record
		for p := range rapid.IntRange(1, 3).Draw(t, "producers") {
			name, next := fmt.Sprintf("p%d", p), uint64(1)
			for range rapid.IntRange(1, 8).Draw(t, "operations") {
				n := rapid.Uint64Range(1, 40).Draw(t, "records")
				sure := rapid.Bool().Draw(t, "acknowledged") || acked.Len() == 0
				to, kept := maybe, rapid.Uint64Range(0, n).Draw(t, "kept")
				if sure {
					to, kept = acked, n
				}
				to.Add(name, next, next+n-1)
				for i := range kept {
					out = append(out, Record{Producer: name, Number: next + i, Where: "x"})
				}
				next += n + rapid.Uint64Range(0, 100_000).Draw(t, "gap")
			}
		}
		out = rapid.Permutation(out).Draw(t, "output")
		if r := ExactlyOnce("w", acked, maybe, slices.Values(out)); r.Verdict != Valid {
			t.Fatalf("a correct run is %+v", r)
		}
		sure := rapid.SampledFrom(slices.Collect(only(out, acked))).Draw(t, "victim")
		at := slices.Index(out, sure)
		for name, bad := range map[string][]Record{
			"drop":    slices.Delete(slices.Clone(out), at, at+1),
			"double":  append(slices.Clone(out), sure),
			"phantom": append(slices.Clone(out), Record{Producer: sure.Producer + "x", Number: sure.Number}),
			"garble":  slices.Replace(slices.Clone(out), at, at+1, Record{}),
			"rename":  slices.Replace(slices.Clone(out), at, at+1, Record{Producer: sure.Producer, Number: 1 << 40}),
		} {
			if r := ExactlyOnce("w", acked, maybe, slices.Values(bad)); r.Verdict != Invalid {
				t.Fatalf("%s of %+v is %+v", name, sure, r)
			}
		}
	})
}

// only gives the records that are in the set.
func only(all []Record, s *IDs) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, r := range all {
			if s.Has(r.Producer, r.Number) && !yield(r) {
				return
			}
		}
	}
}

func TestAMillionRecordsTakeLessThanASecond(t *testing.T) {
	const n = 1_000_000
	began := time.Now()
	acked := ids("p", 1, n)
	r := ExactlyOnce("w", acked, &IDs{}, func(yield func(Record) bool) {
		for i := range uint64(n) {
			if !yield(Record{Producer: "p", Number: n - i}) {
				return
			}
		}
	})
	took := time.Since(began)
	t.Logf("%d records in %v", n, took)
	if r.Verdict != Valid || took > time.Second {
		t.Errorf("%+v in %v", r, took)
	}
}
