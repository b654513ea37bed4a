package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

var update = flag.Bool("update", false, "write the golden files anew")

const sec = int64(time.Second)

// evil is a text that must come out as text.
const evil = `<script>alert("x")</script> & | *`

// small is a run with some of everything.
func small(t *testing.T) *Report {
	t.Helper()
	value := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var events []history.Event
	add := func(e history.Event) {
		e.Index = int64(len(events))
		events = append(events, e)
	}
	records := func(first, last uint64) json.RawMessage {
		return value(history.Range{App: "a", Producer: "p", First: first, Last: last})
	}
	add(history.Event{Time: 0, Process: 0, Type: history.Invoke, Workload: "append", F: history.Add, Value: records(1, 100)})
	add(history.Event{Time: sec, Process: 0, Type: history.OK, Workload: "append", F: history.Add, Value: records(1, 100), RaftIndex: 5})
	add(history.Event{Time: 2 * sec, Process: history.Nemesis, Type: history.Invoke, F: "kill", Node: "n1", Value: value(map[string]any{"id": 1, "targets": []string{"n1"}})})
	add(history.Event{Time: 2*sec + 1, Process: history.Nemesis, Type: history.Invoke, F: "cut", Value: value(map[string]any{"id": 2, "targets": []string{"n2", evil}})})
	add(history.Event{Time: 3 * sec, Process: 1, Type: history.Invoke, Workload: "append", F: history.Add, Value: records(101, 150)})
	add(history.Event{Time: 3 * sec, Process: 2, Type: history.Invoke, Workload: evil, F: "get", Node: "n2", Value: value(evil)})
	add(history.Event{Time: 4 * sec, Process: 1, Type: history.Info, Workload: "append", F: history.Add, Error: evil})
	add(history.Event{Time: 5 * sec, Process: history.Nemesis, Type: history.OK, F: "kill", Value: value(map[string]any{"id": 1, "bites": 1})})
	add(history.Event{Time: 6 * sec, Process: 2, Type: history.OK, Workload: evil, F: "get", RaftIndex: 9, Value: value(1)})
	add(history.Event{Time: 7 * sec, Process: 3, Type: history.Invoke, Workload: "append", F: history.Add, Value: records(101, 150)})
	add(history.Event{Time: 7*sec + sec/2, Process: 3, Type: history.Fail, Workload: "append", F: history.Add, Error: "refused"})
	add(history.Event{Time: 10 * sec, Process: 4, Type: history.Invoke, Workload: "append", F: history.Add, Value: records(101, 150)})
	dir := t.TempDir()
	ledger := filepath.Join(dir, "n1.jsonl")
	text := `{"node":"n1","first_index":1}
{"index":1,"term":2,"n":1,"kind":"Epoch","command":{"term":2,"leader":"x","name":"n1"},"crc":"1","result":{"outcome":"done","index":1}}
{"index":2,"term":3,"n":1,"kind":"Epoch","command":{"term":2,"leader":"x","name":"n1"},"crc":"2","result":{"outcome":"refused","index":0}}
{"index":7,"term":3,"n":1,"kind":"Epoch","command":{"term":3,"leader":"y","name":"<n2>"},"crc":"3","result":{"outcome":"done","index":7}}
{"node":"n1","applied_index":7,"state_hash":"aa"}
`
	if err := os.WriteFile(ledger, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return &Report{
		Title: "seed 7 " + evil, Verdict: "violated", Reasons: []string{"append: lost 3", evil}, Facts: []Fact{{"seed", "7"}, {"host", evil}},
		Results: []checker.Result{
			{Checker: "exactly-once", Workload: "append", Verdict: checker.Invalid, Lost: 3, Counts: map[string]int64{"acknowledged": 100}, Details: []string{"event 4: lost p-1 to 3", "no event", evil, "event 999: none"}},
			{Checker: "ledger", Verdict: checker.Valid, Counts: map[string]int64{"blocks": 7, "batches": 2}, Details: []string{"not shown"}},
			{Checker: "logs", Verdict: checker.Unknown, Details: []string{"no log of n3"}},
		},
		Run: &checker.Run{Dir: dir, Events: events, Ledgers: map[string]string{"n1": ledger}},
	}
}

func TestAReportIsAsItWas(t *testing.T) {
	r := small(t)
	if err := Write(r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"results.json", "summary.md", "timeline.html", "latency.svg", "rate.svg", "history.edn"} {
		got, err := os.ReadFile(filepath.Join(r.Run.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: run with -update and read the change\n%s", name, diff)
		}
		if strings.Contains(string(got), "<script") && name != "history.edn" && name != "results.json" {
			t.Errorf("%s has a text that is not escaped", name)
		}
	}
}

// Drawings are well formed whatever texts they hold.
func TestDrawingsAreWellFormed(t *testing.T) {
	r := small(t)
	d, err := gather(r)
	if err != nil {
		t.Fatal(err)
	}
	page := string(r.timeline(d))
	page = page[strings.Index(page, `<div class="chart">`):strings.Index(page, "<h2>")]
	for name, text := range map[string]string{"latency": string(latencies(d)), "rate": string(rates(d)), "timeline": page} {
		x := xml.NewDecoder(strings.NewReader(text))
		for {
			if _, err := x.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("%s has a place that is no number", name)
		}
	}
}

func TestAnEmptyRunIsReported(t *testing.T) {
	r := &Report{Title: "nothing", Verdict: "incomplete", Run: &checker.Run{Dir: t.TempDir()}}
	if err := Write(r); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(r.Run.Dir, "timeline.html"))
	if err != nil || !strings.Contains(string(b), "There were no operations") {
		t.Errorf("%s, %v", b, err)
	}
}

func TestWhatCannotBeDrawnIsToldAndTheRestIsThere(t *testing.T) {
	r := small(t)
	r.Run.Events = append(r.Run.Events, history.Event{Index: 12, Time: 11 * sec, Process: 77, Type: history.OK, F: "get"})
	r.Run.Ledgers["n2"] = filepath.Join(r.Run.Dir, "none")
	err := Write(r)
	if err == nil || !strings.Contains(err.Error(), "begun nothing") || !strings.Contains(err.Error(), "ledger of n2") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(r.Run.Dir, "summary.md")); err != nil {
		t.Error(err)
	}
}

func TestALongRunIsReadable(t *testing.T) {
	const n = 100_000
	r := &Report{Title: "long", Verdict: "green", Run: &checker.Run{Dir: t.TempDir()}}
	for i := range int64(n) {
		for _, of := range []history.Type{history.Invoke, history.OK} {
			at := i * sec / 100
			if of == history.OK {
				at += sec / 200
			}
			r.Run.Events = append(r.Run.Events, history.Event{
				Index: int64(len(r.Run.Events)), Time: at, Process: int(i % 20), Type: of, Workload: fmt.Sprintf("w%d", i%2), F: "get",
			})
		}
	}
	began := time.Now()
	if err := Write(r); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(r.Run.Dir, "timeline.html"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d operations in %v, %d bytes", n, time.Since(began), info.Size())
	if info.Size() > 10<<20 {
		t.Errorf("the timeline has %d bytes", info.Size())
	}
}

func TestARowGoesFromOneProcessToTheNext(t *testing.T) {
	op := func(process int, from, to int64) history.Op {
		e := history.Event{Process: process, Workload: "w", F: "x", Type: history.OK, Time: to}
		i := e
		i.Type, i.Time = history.Invoke, from
		return history.Op{Invoke: i, End: e}
	}
	rows, more := lanes([]history.Op{op(1, 0, 10), op(2, 5, 15), op(3, 11, 20), op(2, 16, 30), op(4, 31, 40)})
	var got []string
	for _, l := range rows {
		var of []string
		for _, o := range l.ops {
			of = append(of, fmt.Sprint(o.Invoke.Process))
		}
		got = append(got, strings.Join(of, " "))
	}
	if diff := cmp.Diff([]string{"1 3 4", "2 2"}, got); diff != "" || more != 0 {
		t.Error(diff)
	}
}
