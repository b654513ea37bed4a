package checker

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// The good ledger has a second leadership, which gives the office to another coordinator while three batches are pending.
func TestStatesTellsWhatAGoodLedgerCameTo(t *testing.T) {
	run := writeDumps(t, map[string]*book{"n1": goodBook(), "n2": goodBook()})
	want := map[string]int64{
		"commands": 24, "a leadership ended while batches were pending": 1, "the last command of a leadership was an allocation": 1,
		"a coordinator was replaced while its batches were pending":                1,
		"a batch was completed by another coordinator than it was allocated under": 3, "several batches were allocated at once": 1,
	}
	r := States(run)
	if r.Verdict != Valid {
		t.Fatalf("%+v", r)
	}
	if diff := cmp.Diff(want, r.Counts); diff != "" {
		t.Error(diff)
	}
}

// TestEveryRareStateIsSeen changes the good ledger so that the run comes to one state more.
func TestEveryRareStateIsSeen(t *testing.T) {
	opened := func(acked, tried, position uint64) history.Event {
		b, err := json.Marshal(history.Opening{Producer: "p", Acked: acked, Tried: tried, Position: position})
		if err != nil {
			t.Fatal(err)
		}
		return history.Event{Type: history.OK, F: history.Open, Value: b}
	}
	on := func(change func(b *book)) func(*Run, *book) { return func(_ *Run, b *book) { change(b) } }
	changes := map[string]func(*Run, *book){
		"a leadership ended while batches were pending":                            on(func(*book) {}),
		"the last command of a leadership was an allocation":                       on(func(*book) {}),
		"a coordinator was replaced while its batches were pending":                on(func(*book) {}),
		"a batch was completed by another coordinator than it was allocated under": on(func(*book) {}),
		"several batches were allocated at once":                                   on(func(*book) {}),
		"the last command of a leadership was a completion": on(func(b *book) {
			b.at(12).Kind, b.at(13).Kind, b.at(12).Command, b.at(13).Command = b.at(13).Kind, b.at(12).Kind, b.at(13).Command, b.at(12).Command
		}),
		staleRefused: on(func(b *book) { b.at(17).Result = &ledgerResult{Outcome: "refused", Stale: true} }),
		"a session ended while batches were pending": on(func(b *book) {
			b.at(15).Kind, b.at(15).Command = "SessionClosed", json.RawMessage(`{"session":4}`)
		}),
		"a completion was reported again": on(func(b *book) {
			b.complete(100500, 15, 22)
			b.at(25).Result.Index = 23
		}),
		"a coordinator that was replaced reported a batch": on(func(b *book) {
			b.complete(100500, 6, 22)
			b.at(25).Result = &ledgerResult{Outcome: "refused"}
		}),
		"keyed state went on from a checkpoint under another coordinator": on(func(b *book) {
			b.at(5).Command = json.RawMessage(`{"name":"app","batch_ms":100,"factor":2,"states":[{}],"now_ms":100050}`)
			b.at(13).Kind, b.at(13).Command = "StateCheckpointed", json.RawMessage(`{"app":5,"time":100100,"office":6,"attempt":10,"full":true}`)
		}),
		"a block was reported again": on(func(b *book) {
			at := b.block(1, 1, 10)
			b.at(at).Result.Blocks[0].Index = 8
		}),
		"lost copies were made again": on(func(b *book) { b.at(2).Kind = "BlocksCopied" }),
		"an application was stopped at once while batches were pending": on(func(b *book) {
			b.at(16).Kind, b.at(16).Command = "ApplicationStopped", json.RawMessage(`{"app":5,"now":true}`)
		}),
		"an application was resumed": on(func(b *book) {
			b.at(16).Kind, b.at(16).Command = "ApplicationResumed", json.RawMessage(`{"app":5}`)
		}),
		nodeReplaced: on(func(b *book) { b.entry("SessionOpened", `"store":"s3","name":"n2"`) }),
		votersChanged: on(func(b *book) {
			for range 2 {
				at := b.entry("raft/configuration", `"servers":[]`)
				b.at(at).N = 0
			}
		}),
		snapshotTaken: func(run *Run, b *book) { run.Ledgers["n3"] = withHead(t, b, 1, 20) },
		snapshotSent: func(run *Run, _ *book) {
			log := t.TempDir() + "/n3.log"
			put(t, log, "level=INFO msg=started\nlevel=INFO msg=\"raft: Installed remote snapshot\"\n")
			run.Logs = map[string]string{"n3": log}
		},
		cameAgain:   func(run *Run, _ *book) { run.Events = append(run.Events, opened(10, 20, 10)) },
		moreWasSafe: func(run *Run, _ *book) { run.Events = append(run.Events, opened(10, 20, 15)) },
	}
	all, required := RareStates()
	if got := slices.Sorted(maps.Keys(changes)); !slices.Equal(got, slices.Sorted(slices.Values(all))) {
		t.Fatalf("%q are tested, there are %q", got, all)
	}
	if len(required) == 0 || len(required) >= len(all) {
		t.Errorf("%d of %d states are required", len(required), len(all))
	}
	for name, change := range changes {
		b, run := goodBook(), &Run{Ledgers: map[string]string{}}
		change(run, b)
		maps.Copy(run.Ledgers, writeDumps(t, map[string]*book{"n1": b}).Ledgers)
		r := States(run)
		if r.Verdict != Valid || r.Counts[name] == 0 {
			t.Errorf("%s: not seen: %+v", name, r)
		}
	}
}

// withHead is a dump whose log begins at first, of a node with a snapshot. What became of entries that it holds is not known then.
func withHead(t *testing.T, b *book, first, snapshot uint64) string {
	t.Helper()
	path := t.TempDir() + "/n3.jsonl"
	cut := &book{lines: slices.Clone(b.lines[first-1:])}
	for i := range cut.lines {
		if first > 1 && cut.lines[i].Index <= snapshot {
			cut.lines[i].Result = nil
		}
	}
	text := cut.dump("n3")
	put(t, path, strings.Replace(text, `"snapshot_index":0`, fmt.Sprintf(`"snapshot_index":%d`, snapshot), 1))
	return path
}

// Entries that a snapshot holds may be gone from all logs: who needs them says that this is why it has no verdict, and the
// others come to theirs.
func TestWithoutEntriesThatSnapshotsHoldResultsSayWhyTheyAreUnknown(t *testing.T) {
	cut := func(first, snapshot uint64) *Run {
		return &Run{Ledgers: map[string]string{"n3": withHead(t, goodBook(), first, snapshot)}}
	}
	needs := map[string]func(*Run) Result{
		"ledger": func(run *Run) Result { return Ledger(run)[1] },
		"blocks": func(run *Run) Result { return Blocks(run, "w", t.TempDir()) },
		"turns": func(run *Run) Result {
			j := Judging("turns", "w")
			if _, err := Turns(run, 5); err != nil {
				j.Doubt("%v", err)
			}
			return j.Result()
		},
		"allocated": func(run *Run) Result {
			j := Judging("allocated", "w")
			if _, err := Allocated(run, 5); err != nil {
				j.Doubt("batches: %v", err)
			}
			return j.Result()
		},
	}
	for name, check := range needs {
		if r := check(cut(10, 12)); r.Verdict != Unknown || !r.Trimmed {
			t.Errorf("%s of a trimmed log: %+v, expected unknown, as it is trimmed", name, r)
		}
	}
	for _, snapshot := range []uint64{0, 1, 8} { // entry 9 is not there
		if r := Ledger(cut(10, snapshot))[1]; r.Verdict != Unknown || r.Trimmed {
			t.Errorf("ledger of a log with a gap, with a snapshot of %d: %+v", snapshot, r)
		}
	}
	if r := States(cut(10, 12)); r.Verdict != Valid || r.Counts[snapshotTaken] != 1 {
		t.Errorf("states: %+v", r)
	}
	j := Judging("both", "")
	j.Doubt("%v", errTrimmed)
	j.Doubt("something else")
	if r := j.Result(); r.Trimmed {
		t.Errorf("a result with another doubt: %+v", r)
	}
}

// A crash just after a leader's snapshot was installed leaves old entries, and a gap behind them: nobody reads them any more.
func TestAGapIsInOrderWhereTheSnapshotFillsIt(t *testing.T) {
	for snapshot, want := range map[uint64]Verdict{9: Valid, 12: Valid, 8: Invalid, 0: Invalid} {
		b := goodBook()
		b.lines = slices.Delete(b.lines, 5, 9) // 6 to 9
		path := t.TempDir() + "/n2.jsonl"
		put(t, path, strings.Replace(b.dump("n2"), `"snapshot_index":0`, fmt.Sprintf(`"snapshot_index":%d`, snapshot), 1))
		run := writeDumps(t, map[string]*book{"n1": goodBook()})
		run.Ledgers["n2"] = path
		if r := Ledger(run)[0]; r.Verdict != want {
			t.Errorf("a gap from 6 to 9 and a snapshot of %d: %+v, expected %s", snapshot, r, want)
		}
	}
}

func TestStatesOfARunWithoutLedgersIsUnknown(t *testing.T) {
	expect(t, States(&Run{}), Unknown, "no ledger")
	b := goodBook()
	b.lines = b.lines[5:]
	expect(t, States(writeDumps(t, map[string]*book{"n1": b})), Unknown, "no ledger has entry 1")
}
