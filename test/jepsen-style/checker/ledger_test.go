package checker

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// book writes a log, entry by entry.
type book struct {
	term  uint64
	lines []ledgerLine
}

// entry appends one command that took effect and gives its index. Members are of its JSON object.
func (b *book) entry(kind, members string) uint64 {
	index := uint64(len(b.lines) + 1)
	l := ledgerLine{
		Index: index, Term: b.term, N: 1, Kind: kind, Proposed: b.term, CRC: fmt.Sprintf("%08x", index),
		Command: json.RawMessage("{" + members + "}"), Result: &ledgerResult{Outcome: done, Index: index},
	}
	b.lines = append(b.lines, l)
	return index
}

// at is the line of an index.
func (b *book) at(index uint64) *ledgerLine { return &b.lines[index-1] }

// block reports one block of the producer's positions first to last, with a copy on both stores.
func (b *book) block(number, first, last uint64) uint64 {
	index := b.entry("BlocksAdded", fmt.Sprintf(`"session":4,"blocks":[{"id":{"app":5,"stream":0,"instance":7,"number":%d},"records":%d,"bytes":100,
		"crc":%d,"stores":["s1","s2"],"ranges":[{"partition":"p","first":%d,"last":%d}]}]`, number, last-first+1, number, first, last))
	b.at(index).Result.Blocks = append(b.at(index).Result.Blocks, struct {
		Outcome string `json:"outcome"`
		Index   uint64 `json:"index"`
	}{done, index})
	return index
}

// allocate gives batches from to to, the first one the blocks of the given numbers.
func (b *book) allocate(from, to int64, last bool, numbers ...uint64) uint64 {
	index := b.entry("BlocksAllocated", fmt.Sprintf(`"app":5,"from":%d,"to":%d,"last":%t,"direct":[]`, from, to, last))
	for _, n := range numbers {
		b.at(index).Allocated = append(b.at(index).Allocated, blockID{5, 0, 7, n})
	}
	return index
}

// complete reports a batch by the office, in the attempt that its allocation began.
func (b *book) complete(at int64, office, attempt uint64) uint64 {
	return b.entry("BatchCompleted", fmt.Sprintf(`"app":5,"time":%d,"office":%d,"attempt":%d,"lost":0,"lost_blocks":[]`, at, office, attempt))
}

// goodBook is a whole life of application 5 under two leaderships. Indexes are fixed: mutations name them.
func goodBook() *book {
	b := &book{term: 2}
	b.entry("Epoch", `"term":2,"leader":"a"`)                                                                                  // 1
	b.entry("ClusterNamed", `"cluster":"c"`)                                                                                   // 2
	b.entry("SessionOpened", `"store":"s2","name":"n2"`)                                                                       // 3
	b.entry("SessionOpened", `"store":"s1","name":"n1"`)                                                                       // 4
	b.entry("ApplicationSubmitted", `"name":"app","batch_ms":100,"factor":2,"remember_ms":0,"params":{"x":1},"now_ms":100050`) // 5, zero time 100000
	b.entry("CoordinatorAssigned", `"app":5,"session":4,"prev":0`)                                                             // 6
	b.entry("ReceiverScheduled", `"app":5,"stream":0,"session":4,"prev":0`)                                                    // 7
	b.block(1, 1, 10)                                                                                                          // 8
	b.block(2, 11, 15)                                                                                                         // 9
	b.allocate(100100, 100100, false, 1, 2)                                                                                    // 10
	b.block(3, 16, 16)                                                                                                         // 11
	b.complete(100100, 6, 10)                                                                                                  // 12
	b.allocate(100200, 100400, false, 3)                                                                                       // 13
	b.term = 3
	b.entry("Epoch", `"term":3,"leader":"b"`)                      // 14
	b.entry("CoordinatorAssigned", `"app":5,"session":3,"prev":6`) // 15
	b.complete(100200, 15, 15)                                     // 16
	b.entry("BatchesCleaned", `"app":5,"up_to":100100`)            // 17
	b.block(4, 17, 20)                                             // 18
	b.complete(100300, 15, 15)                                     // 19
	b.complete(100400, 15, 15)                                     // 20
	b.entry("ApplicationStopped", `"app":5,"now":false`)           // 21
	b.allocate(100500, 100500, true, 4)                            // 22
	b.complete(100500, 15, 22)                                     // 23
	b.entry("ApplicationEnded", `"app":5`)                         // 24
	return b
}

// write writes dumps as raftstream ledger log does.
func writeDumps(t *testing.T, books map[string]*book) *Run {
	t.Helper()
	run := &Run{Ledgers: map[string]string{}}
	dir := t.TempDir()
	for node, b := range books {
		path := filepath.Join(dir, node+".jsonl")
		put(t, path, b.dump(node))
		run.Ledgers[node] = path
		run.Nodes = append(run.Nodes, node)
	}
	return run
}

func (b *book) dump(node string) string {
	var out strings.Builder
	encode := func(v any) {
		line, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		out.Write(append(line, '\n'))
	}
	first, last := uint64(1), uint64(0)
	if len(b.lines) > 0 {
		first, last = b.lines[0].Index, b.lines[len(b.lines)-1].Index
	}
	encode(map[string]any{"node": node, "first_index": first, "last_index": last, "snapshot_index": 0})
	for _, l := range b.lines {
		encode(l)
	}
	encode(map[string]any{"node": node, "applied_index": last, "state_hash": fmt.Sprintf("%064x", last)})
	return out.String()
}

func verdictOf(t *testing.T, results []Result, checker string) Result {
	t.Helper()
	i := slices.IndexFunc(results, func(r Result) bool { return r.Checker == checker })
	if i < 0 {
		return Result{}
	}
	return results[i]
}

func TestAGoodLedgerKeepsTheRules(t *testing.T) {
	run := writeDumps(t, map[string]*book{"n1": goodBook(), "n2": goodBook(), "n3": goodBook()})
	run.Events = []history.Event{{Type: history.OK, RaftIndex: 24}}
	for _, r := range Ledger(run) {
		if r.Verdict != Valid {
			t.Errorf("%+v", r)
		}
	}
	got, err := Allocated(run, 5)
	if err != nil {
		t.Fatal(err)
	}
	p := func(first, last uint64) AllocatedRange {
		return AllocatedRange{Producer: "p", First: first, Last: last}
	}
	want := []AllocatedBatch{
		{Time: 100100, Completed: true, Records: 15, Ranges: []AllocatedRange{p(1, 10), p(11, 15)}},
		{Time: 100200, Completed: true, Records: 1, Ranges: []AllocatedRange{p(16, 16)}},
		{Time: 100300, Completed: true},
		{Time: 100400, Completed: true},
		{Time: 100500, Completed: true, Records: 4, Ranges: []AllocatedRange{p(17, 20)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := Allocated(run, 6); err == nil {
		t.Error("an application that there is not was given batches")
	}
}

// replaced gives a change of one text in the command of an index.
func replaced(index uint64, old, now string) func(*book) {
	return func(b *book) {
		l := b.at(index)
		text := strings.Replace(string(l.Command), old, now, 1)
		if text == string(l.Command) {
			panic(fmt.Sprintf("entry %d has no %q", index, old))
		}
		l.Command = json.RawMessage(text)
	}
}

func refused(indexes ...uint64) func(*book) {
	return func(b *book) {
		for _, i := range indexes {
			b.at(i).Result = &ledgerResult{Outcome: "refused"}
		}
	}
}

// brokenRules are single changes of a good ledger, each of which breaks a rule.
var brokenRules = []struct {
	name, want string
	change     func(*book)
}{
	{"two leaders in a term", "leads in term 2, and so does a", replaced(14, `"term":3`, `"term":2`)},
	{"a command of an old leadership takes effect", "term 3 has begun", func(b *book) { b.at(16).Proposed = 2 }},
	{"a block in two batches", "which batch 100100 has", func(b *book) {
		b.at(13).Allocated = append(b.at(13).Allocated, blockID{5, 0, 7, 2})
	}},
	{"a block twice in a batch", "block 5-0-7-3 twice", func(b *book) {
		b.at(13).Allocated = append(b.at(13).Allocated, blockID{5, 0, 7, 3})
	}},
	{"a block that nobody took", "which was never taken", func(b *book) {
		b.at(13).Allocated = append(b.at(13).Allocated, blockID{5, 0, 7, 9})
	}},
	{"the queue is cleared with one block left over", "was not given block 5-0-7-2", func(b *book) { b.at(10).Allocated = b.at(10).Allocated[:1] }},
	{"a gap between batches", "expected from 100200 in steps of 100", replaced(13, `"from":100200`, `"from":100300`)},
	{"a batch time is used again", "is allocated again", replaced(13, `"from":100200`, `"from":100100`)},
	{"a batch off the grid", "in steps of 100", replaced(13, `"to":100400`, `"to":100450`)},
	{"completed out of order", "batch 100200 is next", replaced(16, "100200", "100300")},
	{"completed twice", "is completed again", replaced(19, "100300", "100200")},
	{"completed without an allocation", "never allocated", replaced(23, "100500", "100600")},
	{"completed by the office before", "invariant 6", replaced(16, `"office":15`, `"office":6`)},
	{"completed by an attempt before", "expected 15", replaced(16, `"attempt":15`, `"attempt":13`)},
	{"loss that nobody accepted", "nobody accepted", replaced(16, `"lost":0`, `"lost":1`)},
	{"cleaned before completion", "completed up to 100200", replaced(17, "100100", "100200")},
	{"cleaned before a rebuild", "a rebuild of its state", replaced(5, `"factor"`, `"states":[{"stream":1}],"factor"`)},
	{"positions twice", "positions 10 to 15", replaced(9, `"first":11`, `"first":10`)},
	{"positions left out", "positions 12 to 15", replaced(9, `"first":11`, `"first":12`)},
	{"a number left out", "follows number 2", replaced(11, `"number":3`, `"number":4`)},
	{"too few copies", "taken with 1 copies", replaced(9, `["s1","s2"]`, `["s1","s1"]`)},
	{"a copy on a store that is not open", "taken with 1 copies", replaced(9, `["s1","s2"]`, `["s1","s3"]`)},
	{"a block of a closed session", "session 99", replaced(9, `"session":4`, `"session":99`)},
	{"another block under the same name", "taken again with", replaced(9, `"number":2`, `"number":1`)},
	{"a block is never allocated", "without its last allocation", refused(22, 23)},
	{"the last batch is left without its block", "was not given block 5-0-7-4", func(b *book) { b.at(22).Allocated = nil }},
	{"the end with a batch pending", "batches pending", refused(23)},
	{"the end without a stop", "nobody stopped it", refused(21)},
	{"a block after the last allocation", "after the last allocation", func(b *book) { newBlock(b, 23) }},
	{"the name is taken by two", "lives", func(b *book) { b.at(17).Kind, b.at(17).Command = "ApplicationSubmitted", b.at(5).Command }},
	{"an application from nowhere", "never submitted", replaced(17, `"app":5`, `"app":6`)},
	{"an office without a session", "is not open", replaced(15, `"session":3`, `"session":2`)},
}

// newBlock makes an entry take a block that is new.
func newBlock(b *book, index uint64) {
	l := b.at(index)
	r := *b.at(18).Result
	r.Index, r.Blocks = index, slices.Clone(r.Blocks)
	r.Blocks[0].Index = index
	l.Kind, l.Result = "BlocksAdded", &r
	l.Command = json.RawMessage(strings.NewReplacer(`"number":4`, `"number":5`, `"first":17`, `"first":21`, `"last":20`, `"last":24`).Replace(string(b.at(18).Command)))
}

func TestLedgersThatBreakARuleAreFound(t *testing.T) {
	for _, tt := range brokenRules {
		t.Run(tt.name, func(t *testing.T) {
			b := goodBook()
			tt.change(b)
			r := verdictOf(t, Ledger(writeDumps(t, map[string]*book{"n1": b})), "ledger")
			if r.Verdict != Invalid || !strings.Contains(strings.Join(r.Details, "\n"), tt.want) {
				t.Errorf("%+v\nexpected %q", r, tt.want)
			}
		})
	}
}

func TestCopiesThatDifferAreFound(t *testing.T) {
	short := func(n int) *book { b := goodBook(); b.lines = b.lines[:n]; return b }
	tests := []struct {
		name, want string
		heard      uint64
		other      func() *book
	}{
		{"one that is behind", "", 24, func() *book { return short(17) }},
		{"one that has nothing", "", 24, func() *book { return short(0) }},
		{"an end that was never committed", "", 10, func() *book { b := short(13); b.term = 2; b.block(9, 1, 2); return b }},
		{"one that begins later", "", 24, func() *book { b := goodBook(); b.lines = b.lines[9:]; return b }},
		{"an end that a client has heard of", "clients have heard of index 14", 14, func() *book { b := short(13); b.block(9, 1, 2); b.at(14).Term = 2; return b }},
		{"another entry in the same term", "is another one elsewhere", 0, func() *book { b := goodBook(); b.at(9).CRC = "x"; return b }},
		{"another result", "another result", 0, func() *book { b := goodBook(); b.at(9).Result.Outcome = "limited"; return b }},
		{"other blocks", "another result", 0, func() *book { b := goodBook(); b.at(10).Allocated = nil; return b }},
		{"an entry is missing", "is followed by 10", 0, func() *book { b := goodBook(); b.lines = slices.Delete(b.lines, 8, 9); return b }},
		{"a term goes back", "terms never go back", 0, func() *book { b := goodBook(); b.at(20).Term = 2; return b }},
		{"a client heard of more", "no ledger goes beyond 24", 25, goodBook},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := writeDumps(t, map[string]*book{"n1": goodBook(), "n2": tt.other()})
			run.Events = []history.Event{{Type: history.OK, RaftIndex: tt.heard}, {Type: history.Info, RaftIndex: 99}}
			r := verdictOf(t, Ledger(run), "ledger-copies")
			want := Valid
			if tt.want != "" {
				want = Invalid
			}
			if r.Verdict != want || !strings.Contains(strings.Join(r.Details, "\n"), tt.want) {
				t.Errorf("%+v\nexpected %s, %q", r, want, tt.want)
			}
		})
	}
}

// A minority of the logs need not have what is committed.
func TestAMinorityOfTheLedgersSaysNothingOfWhatIsLost(t *testing.T) {
	short := goodBook()
	short.lines = short.lines[:13]
	run := writeDumps(t, map[string]*book{"n1": short})
	run.Nodes = []string{"n1", "n2"}
	run.Events = []history.Event{{Type: history.OK, RaftIndex: 24}}
	if r := verdictOf(t, Ledger(run), "ledger-copies"); r.Verdict != Unknown {
		t.Errorf("%+v", r)
	}
	short.at(7).Kind, short.at(7).N = "raft/configuration", 0
	short.at(7).Command = json.RawMessage(`{"servers":[{"voter":true},{"voter":false}]}`)
	put(t, run.Ledgers["n1"], short.dump("n1"))
	if r := verdictOf(t, Ledger(run), "ledger-copies"); r.Verdict != Invalid {
		t.Errorf("the only driver of two nodes: %+v", r)
	}
}

func TestStatesThatDifferAreFound(t *testing.T) {
	run := writeDumps(t, map[string]*book{"n1": goodBook(), "n2": goodBook()})
	put(t, run.Ledgers["n2"], strings.Replace(goodBook().dump("n2"), fmt.Sprintf("%064x", 24), fmt.Sprintf("%064x", 25), 1))
	if r := verdictOf(t, Ledger(run), "ledger-copies"); r.Verdict != Invalid || !strings.Contains(r.Details[0], "the same log gave different states") {
		t.Errorf("%+v", r)
	}
}

func TestLedgersThatCannotBeReadAreUnknown(t *testing.T) {
	text := goodBook().dump("n1")
	for name, bad := range map[string]string{
		"broken off": text[:len(text)-100], "no end": text[:strings.LastIndex(text[:len(text)-1], "\n")+1], "not JSON": "x\n" + text,
		"empty": "", "lines behind the end": text + text, "no command": strings.Replace(text, `"kind":"Epoch"`, `"kind":""`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			run := writeDumps(t, map[string]*book{"n1": goodBook()})
			put(t, run.Ledgers["n1"], bad)
			if r := Ledger(run); r[0].Verdict != Unknown {
				t.Errorf("%+v", r)
			}
		})
	}
	late := goodBook()
	late.lines = late.lines[4:]
	if r := verdictOf(t, Ledger(writeDumps(t, map[string]*book{"n1": late})), "ledger"); r.Verdict != Unknown {
		t.Errorf("a log without its beginning gives %+v", r)
	}
	if r := Ledger(&Run{}); r[0].Verdict != Unknown || r[1].Verdict != Unknown {
		t.Errorf("no log gives %+v", r)
	}
}

// What one node has forgotten another one still has.
func TestALogIsPutTogetherOutOfThoseOfAllNodes(t *testing.T) {
	late, early := goodBook(), goodBook()
	late.lines = late.lines[9:]
	for i := range 3 {
		late.lines[i].Result = nil
	}
	early.lines = early.lines[:15]
	run := writeDumps(t, map[string]*book{"n1": late, "n2": early})
	for _, r := range Ledger(run) {
		if r.Verdict != Valid {
			t.Errorf("%+v", r)
		}
	}
}

func TestAStopAtOnceGivesUpWhatIsPending(t *testing.T) {
	b := goodBook()
	b.lines, b.term = b.lines[:13], 2
	b.entry("ApplicationStopped", `"app":5,"now":true`) // keeps the batch that may be running, 100200
	b.complete(100200, 6, 13)
	b.entry("ApplicationEnded", `"app":5`)
	run := writeDumps(t, map[string]*book{"n1": b})
	for _, r := range Ledger(run) {
		if r.Verdict != Valid {
			t.Errorf("%+v", r)
		}
	}
	got, err := Allocated(run, 5)
	if err != nil || len(got) != 4 || !got[1].Completed || !got[2].Dropped || !got[3].Dropped {
		t.Errorf("%+v, %v", got, err)
	}
	b.complete(100300, 6, 13)
	if r := verdictOf(t, Ledger(writeDumps(t, map[string]*book{"n1": b})), "ledger"); r.Verdict != Invalid {
		t.Errorf("the completion of a batch that was given up is %+v", r)
	}
}

// Random lives of an application are good, whatever is sent, allocated and completed when; a block that is taken out of
// the batch that has it, or put into another one too, is always found.
func TestRandomLedgers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := goodBook()
		b.lines, b.term = b.lines[:7], 2
		var number, position uint64
		var waits []uint64
		var pending []int64
		allocated, starts := int64(100000), map[int64]uint64{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"block", "block", "allocate", "complete"}).Draw(t, "step") {
			case "block":
				number++
				n := rapid.Uint64Range(1, 9).Draw(t, "records")
				b.block(number, position+1, position+n)
				position += n
				waits = append(waits, number)
			case "allocate":
				n := rapid.Int64Range(1, 3).Draw(t, "batches")
				index := b.allocate(allocated+100, allocated+100*n, false, waits...)
				waits = nil
				for range n {
					allocated += 100
					pending = append(pending, allocated)
					starts[allocated] = index
				}
			case "complete":
				if len(pending) > 0 {
					b.complete(pending[0], 6, max(6, starts[pending[0]]))
					pending = pending[1:]
				}
			}
		}
		j := Judging("ledger", "")
		if replay(b.lines, j); j.wrong > 0 || j.unknown {
			t.Fatalf("a good ledger: %q", j.Found.Details)
		}
		var with []int // allocations that gave blocks
		for i, l := range b.lines {
			if len(l.Allocated) > 0 {
				with = append(with, i)
			}
		}
		if len(with) == 0 {
			return
		}
		i := rapid.SampledFrom(with).Draw(t, "allocation")
		l := &b.lines[i]
		if given := l.Allocated; rapid.Bool().Draw(t, "drop") {
			l.Allocated = given[:len(given)-1]
		} else {
			l.Allocated = append(slices.Clone(given), blockID{5, 0, 7, rapid.Uint64Range(1, number+1).Draw(t, "block")})
		}
		j = Judging("ledger", "")
		if replay(b.lines, j); j.wrong == 0 {
			t.Fatalf("entry %d gives %v, and nothing was found", l.Index, l.Allocated)
		}
	})
}
