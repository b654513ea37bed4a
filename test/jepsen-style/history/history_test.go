package history

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func write(t *testing.T, events ...Event) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history.jsonl")
	l, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		var value any
		if e.Value != nil {
			value = e.Value
		}
		l.Append(e, value)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAHistoryIsReadAsItWasRecorded(t *testing.T) {
	path := write(t,
		Event{Process: 0, Type: Invoke, Workload: "w", F: "add", Value: json.RawMessage(`[1,42]`)},
		Event{Process: Nemesis, Type: Invoke, F: "kill", Value: json.RawMessage(`{"id":1}`)},
		Event{Process: 0, Type: OK, Workload: "w", F: "add", RaftIndex: 17, Term: 3, Node: "n1"},
		Event{Process: Nemesis, Type: OK, F: "kill", Value: json.RawMessage(`{"id":1}`)},
	)
	events, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 4 || events[2].RaftIndex != 17 || string(events[0].Value) != "[1,42]" || events[1].Process != Nemesis {
		t.Errorf("read %+v", events)
	}
	ops, err := Pair(events)
	if err != nil {
		t.Fatal(err)
	}
	if len(ops) != 1 || ops[0].Type() != OK || ops[0].Return() != events[2].Time || string(ops[0].Value()) != "[1,42]" {
		t.Errorf("paired %+v", ops)
	}
	faults := Faults(events)
	if len(faults) != 1 || faults[0].Start() != events[1].Time || faults[0].Ended() != events[3].Time {
		t.Errorf("faults %+v", faults)
	}
}

func TestADamagedHistoryIsRefused(t *testing.T) {
	good := `{"index":0,"time":5,"process":0,"type":"invoke","f":"add"}` + "\n"
	tests := []struct{ name, text, want string }{
		{"torn last line", good + `{"index":1,"time":6`, "line 2 does not end"},
		{"not JSON", good + "x\n", "line 2"},
		{"a line is missing", good + `{"index":2,"time":6,"process":0,"type":"ok","f":"add"}` + "\n", "index 2, expected 1"},
		{"time goes back", good + `{"index":1,"time":4,"process":0,"type":"ok","f":"add"}` + "\n", "before"},
		{"unknown type", good + `{"index":1,"time":6,"process":0,"type":"done","f":"add"}` + "\n", `type "done"`},
		{"no operation", good + `{"index":1,"time":6,"process":0,"type":"ok"}` + "\n", "names no operation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "h")
			if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
		})
	}
}

func event(index int64, process int, of Type, f string) Event {
	return Event{Index: index, Time: index * 10, Process: process, Type: of, F: f}
}

func TestHistoriesThatAreNotWellFormedAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		events []Event
		want   string
	}{
		{"two open operations", []Event{event(0, 1, Invoke, "a"), event(1, 1, Invoke, "b")}, "its a of event 0 is open"},
		{"a retired process", []Event{event(0, 1, Invoke, "a"), event(1, 1, Info, "a"), event(2, 1, Invoke, "a")}, "outcome it does not know"},
		{"an end without a beginning", []Event{event(0, 1, OK, "a")}, "has begun nothing"},
		{"an end of something else", []Event{event(0, 1, Invoke, "a"), event(1, 1, OK, "b")}, "it has begun a"},
		{"two ends", []Event{event(0, 1, Invoke, "a"), event(1, 1, OK, "a"), event(2, 1, OK, "a")}, "has begun nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Pair(tt.events); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
		})
	}
}

func TestWhatIsNotKnownReturnsNever(t *testing.T) {
	ops, err := Pair([]Event{event(0, 1, Invoke, "a"), event(1, 2, Invoke, "b"), event(2, 1, Info, "a")})
	if err != nil {
		t.Fatal(err)
	}
	for i, ended := range []int64{20, Forever} {
		if o := ops[i]; o.Type() != Info || o.Return() != Forever || o.Ended() != ended {
			t.Errorf("operation %d ended as %v, returned at %d, was given up at %d, expected %d", i, o.Type(), o.Return(), o.Ended(), ended)
		}
	}
}

func TestOverlappingFaultsAreToldApart(t *testing.T) {
	value := func(e Event, v string) Event { e.Value = json.RawMessage(v); return e }
	faults := Faults([]Event{
		value(event(0, Nemesis, Invoke, "kill"), `{"id":1}`), value(event(1, Nemesis, Invoke, "kill"), `{"id":2}`),
		value(event(2, Nemesis, OK, "kill"), `{"id":2,"bites":1}`), value(event(3, Nemesis, OK, "kill"), `{"event":{"id":9}}`),
		value(event(4, Nemesis, Invoke, "cut"), `{"event":{"id":9}}`), value(event(5, Nemesis, Info, "cut"), `{"event":{"id":9},"bites":0}`),
	})
	var ends []int64
	for _, f := range faults {
		ends = append(ends, f.Ended())
	}
	if diff := cmp.Diff([]int64{Forever, 20, 50}, ends); diff != "" {
		t.Error(diff)
	}
}

func TestEDNIsAsJepsenWritesIt(t *testing.T) {
	events := []Event{
		{Index: 17, Time: 123, Process: 3, Type: OK, F: "add", Value: json.RawMessage(`[1,42]`)},
		{Index: 18, Time: 124, Process: Nemesis, Type: Invoke, F: "clock-jump", Value: json.RawMessage(`{"offset_ms":-90000,"targets":["n1"],"both":true}`)},
		{Index: 19, Time: 125, Process: 4, Type: Info, Workload: "w", F: "get", Node: "n2", RaftIndex: 9, Term: 2, Error: "said \"no\"\nand <left>"},
		{Index: 20, Time: 126, Process: 5, Type: Invoke, F: "two words", Value: json.RawMessage(`{"a b":1.5e3,"n":12345678901234567890,"x":null}`)},
	}
	const want = `{:index 17, :time 123, :process 3, :type :ok, :f :add, :value [1 42]}
{:index 18, :time 124, :process :nemesis, :type :info, :f :clock-jump, :value {:both true, :offset-ms -90000, :targets ["n1"]}}
{:index 19, :time 125, :process 4, :type :info, :f :get, :value nil, :workload "w", :node "n2", :error "said \"no\"\nand <left>", :raft-index 9, :term 2}
{:index 20, :time 126, :process 5, :type :invoke, :f "two words", :value {"a b" 1.5e3, :n 12345678901234567890, :x nil}}
`
	var b strings.Builder
	if err := WriteEDN(&b, events); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// Whatever processes do in turn, as long as each has one operation at a time, every invocation is one operation.
func TestPairFindsEveryOperation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []Event
		open, next := map[int]bool{}, 0
		var live []int
		want := map[Type]int{}
		for i := range rapid.IntRange(0, 200).Draw(t, "events") {
			if len(live) < 3 {
				live = append(live, next)
				next++
			}
			at := rapid.IntRange(0, len(live)-1).Draw(t, "process")
			p := live[at]
			if !open[p] {
				open[p] = true
				events = append(events, event(int64(i), p, Invoke, "f"))
				continue
			}
			end := rapid.SampledFrom([]Type{OK, Fail, Info}).Draw(t, "end")
			events = append(events, event(int64(i), p, end, "f"))
			delete(open, p)
			want[end]++
			if end == Info {
				live = append(live[:at], live[at+1:]...)
			}
		}
		ops, err := Pair(events)
		if err != nil {
			t.Fatal(err)
		}
		want[Info] += len(open)
		got := map[Type]int{}
		for _, o := range ops {
			got[o.Type()]++
		}
		for _, of := range []Type{OK, Fail, Info} {
			if got[of] != want[of] {
				t.Fatalf("%d operations ended as %s, expected %d", got[of], of, want[of])
			}
		}
	})
}
