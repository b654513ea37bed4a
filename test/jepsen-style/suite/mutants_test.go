package suite

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/nemesis"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// TestARealRunIsGreen is the ground that the mutants stand on.
func TestARealRunIsGreen(t *testing.T) {
	if v := unpack(t, greenFiles(t), "append-set", "ledger", "counter", "window").judge(); v.Outcome != Green || v.Acknowledged == 0 {
		t.Errorf("a green run is judged to be %s, %d acknowledged: %v", v.Outcome, v.Acknowledged, v.Reasons)
	}
}

// TestCheckersSeeWhatIsWrongInARealRun changes one thing in the folder of a green run, as a bug of the engine would have
// left it, and wants the check that is there for it to see it.
func TestCheckersSeeWhatIsWrongInARealRun(t *testing.T) {
	t.Parallel()
	files := greenFiles(t)
	for _, m := range slices.Concat(outputMutants, historyMutants, ledgerMutants, logMutants) {
		t.Run(m.what, func(t *testing.T) {
			t.Parallel()
			var of []string
			if workload, _, ok := strings.Cut(m.seenBy, ": "); ok {
				of = append(of, workload)
			}
			f := unpack(t, files, of...)
			m.change(f)
			v := f.judge()
			if v.Outcome != Violated {
				t.Fatalf("the run is %s: %v", v.Outcome, v.Reasons)
			}
			for _, r := range v.Results {
				if r.Name() == m.seenBy && r.Verdict == checker.Invalid {
					return
				}
			}
			t.Errorf("%s does not see it: %v", m.seenBy, v.Reasons)
		})
	}
}

// mutant is a run that is no longer right.
type mutant struct {
	what   string
	seenBy string // workload: check
	change func(f *folder)
}

var outputMutants = []mutant{
	{"an acknowledged record is dropped from an output", "append-set: exactly-once", func(f *folder) {
		f.edit(f.full("append-set")[3], func(l []string) []string { return l[1:] })
	}},
	{"a record is doubled in its batch", "append-set: exactly-once", func(f *folder) {
		f.edit(f.full("append-set")[3], func(l []string) []string { return append(l, l[0]) })
	}},
	{"a record is doubled in the last batch", "append-set: exactly-once", func(f *folder) {
		all := f.full("append-set")
		record := slices.Concat(f.parts(all[2])...)[0]
		f.edit(all[len(all)-1], func(l []string) []string { return append(l, record) })
	}},
	{"a record that nobody sent is in an output", "append-set: exactly-once", func(f *folder) {
		f.edit(f.full("append-set")[3], func(l []string) []string { return append(l, "p0-99999") })
	}},
	{"a record of another application is in an output", "append-set: exactly-once", func(f *folder) {
		f.edit(f.full("append-set")[3], func(l []string) []string { return append(l, "q0-1") })
	}},
	{"an empty line is in an output", "append-set: exactly-once", func(f *folder) {
		f.edit(f.full("append-set")[3], func(l []string) []string { return append(l, "", "") })
	}},
	{"a record is in the batch after its own", "append-set: batch contents", func(f *folder) { moveRecord(f, "append-set") }},
	{"the last batch of records is not there", "append-set: exactly-once", func(f *folder) { removeLast(f, "append-set") }},
	{"the last totals are not there", "counter: totals", func(f *folder) { removeLast(f, "counter") }},
	{"the last window is not there", "window: windows out", func(f *folder) { removeLast(f, "window") }},
	{"a batch without records is not there", "append-set: batch contents", func(f *folder) {
		for _, dir := range f.batches("append-set") {
			if len(slices.Concat(f.parts(dir)...)) == 0 {
				f.remove(dir)
				return
			}
		}
		f.t.Fatal("no batch is empty")
	}},
	{"a batch of the future is there", "append-set: batch contents", func(f *folder) {
		all := f.batches("append-set")
		last := all[len(all)-1]
		prefix, at, _ := strings.Cut(filepath.Base(last), "-")
		n, _ := strconv.ParseInt(at, 10, 64)
		next := fmt.Sprintf("%s-%d", prefix, n+500)
		b, err := os.ReadFile(filepath.Join(last, "_SUCCESS"))
		if err != nil {
			f.t.Fatal(err)
		}
		f.write(filepath.Join("w", "append-set", next, "_SUCCESS"), []byte(strings.Replace(string(b), at, fmt.Sprint(n+500), 1)))
		f.save(filepath.Join(filepath.Dir(last), next), [][]string{{}})
	}},
	{"a part is truncated", "append-set: outputs", func(f *folder) {
		f.write(f.part("append-set"), nil)
	}},
	{"a part is not there", "append-set: outputs", func(f *folder) { f.remove(filepath.Join(f.dir, f.part("append-set"))) }},
	{"a part is there that nobody committed", "append-set: outputs", func(f *folder) {
		f.write(filepath.Join(filepath.Dir(f.part("append-set")), "part-00099"), []byte("p0-1\n"))
	}},
	{"a temporary file is left", "append-set: outputs", func(f *folder) {
		f.write(filepath.Join(filepath.Dir(f.part("append-set")), ".part-00000.1.tmp"), nil)
	}},
	{"a batch was never committed", "append-set: outputs", func(f *folder) {
		f.remove(filepath.Join(f.dir, filepath.Dir(f.part("append-set")), "_SUCCESS"))
	}},
	{"a temporary directory is left", "append-set: outputs", func(f *folder) {
		f.write("w/append-set/out-1795262327500/_temporary/part-00000.1.1.x", []byte("p0-1\n"))
	}},
	{"a running total is one more in one batch", "counter: totals", func(f *folder) { count(f, "counter", 5, 1) }},
	{"a running total is one less in the last batch", "counter: final totals", func(f *folder) { count(f, "counter", -1, -1) }},
	{"a window's value is one more", "window: windows out", func(f *folder) { count(f, "window", 5, 1) }},
	{"a window's value is one less", "window: windows out", func(f *folder) { count(f, "window", 6, -1) }},
	{"a window holds a key with nothing", "window: windows out", func(f *folder) {
		f.edit(f.full("window")[5], func(l []string) []string { return append(l, "k999\t0") })
	}},
	{"totals forget a key", "counter: monotone", func(f *folder) {
		f.edit(f.full("counter")[7], func(l []string) []string { return l[1:] })
	}},
}

func (f *folder) remove(path string) {
	f.t.Helper()
	if err := os.RemoveAll(path); err != nil {
		f.t.Fatal(err)
	}
}

// part names a file with records, below the folder.
func (f *folder) part(workload string) string {
	dir := f.full(workload)[4]
	i := slices.IndexFunc(f.parts(dir), func(p []string) bool { return len(p) > 0 })
	name, _ := filepath.Rel(f.dir, filepath.Join(dir, fmt.Sprintf("part-%05d", i)))
	return name
}

func moveRecord(f *folder, workload string) {
	all := f.full(workload)
	var record string
	f.edit(all[3], func(l []string) []string { record = l[0]; return l[1:] })
	f.edit(all[4], func(l []string) []string { return append(l, record) })
}

func removeLast(f *folder, workload string) {
	all := f.full(workload)
	f.remove(all[len(all)-1])
}

func count(f *folder, workload string, batch, more int) {
	all := f.full(workload)
	if batch < 0 {
		batch += len(all)
	}
	f.edit(all[batch], func(l []string) []string {
		key, n, _ := strings.Cut(l[0], "\t")
		v, err := strconv.Atoi(n)
		if err != nil {
			f.t.Fatal(err)
		}
		l[0] = fmt.Sprintf("%s\t%d", key, v+more)
		return l
	})
}

func staleAt(node string) func(*history.Event) bool {
	return func(e *history.Event) bool { return e.Node == node }
}

func linear(e *history.Event) bool { return e.Node == "" }

// received is a read that has seen records.
func received(e *history.Event) bool {
	var v history.Counts
	return json.Unmarshal(e.Value, &v) == nil && v.Received > 20
}

var historyMutants = []mutant{
	{"an operation that took effect is said to have failed", "append-set: exactly-once", func(f *folder) {
		f.events[f.event("append-set", "add", history.OK, 10)].Type = history.Fail
	}},
	{"a send whose outcome is not known was never begun, and took effect", "append-set: exactly-once", func(f *folder) {
		for i := range f.events { // one whose record is acknowledged by no other operation, which is then only known from here
			e := &f.events[i]
			if e.Workload == "append-set" && e.F == "add" && e.Type == history.OK {
				e.Type = history.Info
				p := e.Process
				for j := i - 1; j >= 0; j-- {
					if f.events[j].Process == p {
						f.events = slices.Delete(slices.Delete(f.events, i, i+1), j, j+1)
						return
					}
				}
			}
		}
	}},
	{"a read counts less than was acknowledged", "ledger: ledger reads", func(f *folder) {
		e := &f.events[f.event("ledger", "read", history.OK, -1, linear, received)]
		f.value(e, func(v command) { v.set("received", v.int("received")-1); v.set("processed", v.int("processed")-1) })
	}},
	{"a read in the middle counts less than was acknowledged", "ledger: linearizable-blocks", func(f *folder) {
		e := &f.events[f.event("ledger", "read", history.OK, 20, linear, received)]
		f.value(e, func(v command) { v.set("received", v.int("received")-9) })
	}},
	{"a read counts one record too many", "ledger: linearizable-blocks", func(f *folder) {
		e := &f.events[f.event("ledger", "read", history.OK, 20, linear, received)]
		f.value(e, func(v command) { v.set("received", v.int("received")+1) })
	}},
	{"a node's applied index goes back", "ledger: ledger reads", func(f *folder) {
		f.events[f.event("ledger", "read", history.OK, 30, staleAt("n2"), received)].RaftIndex -= 40
	}},
	{"a node's copy counts one record less at its index", "ledger: ledger reads", func(f *folder) {
		e := &f.events[f.event("ledger", "read", history.OK, 40, staleAt("n2"), received)]
		f.value(e, func(v command) { v.set("received", v.int("received")-1) })
	}},
	{"a read at the leader is stale", "ledger: ledger reads", func(f *folder) {
		a := f.events[f.event("ledger", "read", history.OK, 10, linear, received)]
		b := &f.events[f.event("ledger", "read", history.OK, 40, linear, received)]
		b.Value, b.RaftIndex = a.Value, a.RaftIndex
	}},
	{"a batch of a reader has another number of records", "ledger: batches", func(f *folder) {
		e := &f.events[f.event("ledger", "batches", history.OK, -1, linear)]
		f.value(e, func(v command) { b := command(v.list("batches")[3].(map[string]any)); b.set("n", b.int("n")+1) })
	}},
	{"a batch is no longer completed", "ledger: batches", func(f *folder) {
		e := &f.events[f.event("ledger", "batches", history.OK, -1, linear)]
		f.value(e, func(v command) { v.list("batches")[3].(map[string]any)["done"] = false })
	}},
	{"a producer comes again and its records are not known", "append-set: positions", func(f *folder) {
		e := &f.events[f.event("append-set", "open", history.OK, -1)]
		f.value(e, func(v command) { v.set("acked", v.int("position")+1); v.set("tried", v.int("position")+1) })
	}},
	{"a record was acknowledged below the index of its block", "ledger: linearizable-blocks", func(f *folder) {
		f.events[f.event("ledger", "add", history.OK, 50)].RaftIndex -= 30
	}},
	{"a client has heard of an index that no node has", "ledger-copies", func(f *folder) {
		f.events[f.event("append-set", "add", history.OK, -1)].RaftIndex += 5000
	}},
	{"an outcome is not known and no fault explains it", "unexplained", func(f *folder) {
		e := &f.events[f.event("ledger", "read", history.OK, 1, linear)]
		f.move(e.Process, e.Time)
		e.Type, e.Error = history.Info, "deadline exceeded"
	}},
	{"nothing but reads was answered before the first fault", "minimum-rate", func(f *folder) {
		first := slices.IndexFunc(f.events, func(e history.Event) bool { return e.Process == history.Nemesis })
		kept := 0
		for i := range f.events[:first] {
			if e := &f.events[i]; e.F == "add" && e.Type == history.OK {
				if kept++; kept > 3 {
					e.Time = 0
				}
			}
		}
		f.events = slices.DeleteFunc(f.events, func(e history.Event) bool { return e.Time == 0 })
		retire(f) // the operations stay open
	}},
}

// move gives the later operations of a process to another one.
func (f *folder) move(process int, after int64) {
	for i := range f.events {
		if e := &f.events[i]; e.Process == process && e.Time > after {
			e.Process += 1000
		}
	}
}

// retire gives every operation a process of its own where the one before was left open.
func retire(f *folder) {
	open, name := map[int]bool{}, map[int]int{}
	for i := range f.events {
		e := &f.events[i]
		p := e.Process
		if p == history.Nemesis {
			continue
		}
		if e.Type == history.Invoke && open[p] {
			name[p]++
		}
		open[p] = e.Type == history.Invoke
		e.Process += 1000 * name[p]
	}
}

var logMutants = []mutant{
	{"a node panicked", "logs", func(f *folder) { f.write("logs/n2.log", []byte("ok\npanic: runtime error: index out of range\n")) }},
	{"a node saw a data race", "logs", func(f *folder) { f.write("logs/n2.log", []byte("ok\nWARNING: DATA RACE\n")) }},
}

// now is a command that took effect when it was applied.
func now(c command) bool {
	r := c.in("result")
	return r["outcome"] == "done" && r["index"] == c["index"]
}

// withBlocks is an allocation that gave something.
func withBlocks(c command) bool { return len(c.list("allocated")) > 0 }

var ledgerMutants = []mutant{
	{"an entry is missing in one ledger", "ledger-copies", func(f *folder) {
		f.ledger["n2"] = slices.Delete(f.ledger["n2"], 200, 201)
	}},
	{"the end of one ledger is missing", "ledger-copies", func(f *folder) {
		l := f.ledger["n2"]
		f.ledger["n2"] = append(slices.Clone(l[:len(l)-101]), l[len(l)-1])
		n, last := command(f.ledger["n2"][len(l)-102]), command(l[len(l)-1])
		last["applied_index"], last["state_hash"] = n["index"], strings.Repeat("a", 64)
	}},
	{"one ledger is empty", "ledger-copies", func(f *folder) {
		l := f.ledger["n2"]
		last := command(l[len(l)-1])
		last["applied_index"], last["state_hash"] = json.Number("0"), strings.Repeat("a", 64)
		f.ledger["n2"] = []map[string]any{l[0], last}
	}},
	{"an entry has another term in one ledger", "ledger-copies", func(f *folder) {
		command(f.ledger["n2"][300]).set("term", command(f.ledger["n2"][300]).int("term")+1)
	}},
	{"an entry has another command in one ledger", "ledger-copies", func(f *folder) {
		at := f.nth("n2", "BatchCompleted", "append-set", 4)
		command(f.ledger["n2"][at]).in("command").set("attempt", 1)
	}},
	{"an entry had another result on one node", "ledger-copies", func(f *folder) {
		at := f.nth("n2", "BatchCompleted", "append-set", 4)
		command(f.ledger["n2"][at]).in("result")["outcome"] = "refused"
	}},
	{"a node's state is another one", "ledger-copies", func(f *folder) {
		l := f.ledger["n2"]
		l[len(l)-1]["state_hash"] = strings.Repeat("a", 64)
	}},
	{"a node's state is of another index than its log ends at", "ledger-copies", func(f *folder) {
		l := f.ledger["n2"]
		last := command(l[len(l)-1])
		last.set("applied_index", last.int("applied_index")-20)
		last["state_hash"] = strings.Repeat("a", 64)
	}},
	{"terms go back", "ledger-copies", func(f *folder) {
		f.everywhere(f.nth("n1", "BatchCompleted", "append-set", -1), func(c command) { c.set("term", 2) })
	}},
	{"two nodes lead in one term", "ledger", func(f *folder) {
		e := f.nth("n1", "Epoch", "", 0)
		at := f.nth("n1", "BatchCompleted", "probe", 3)
		f.copyTo(e, at)
		f.everywhere(at, func(c command) { c.in("command")["leader"] = "0123456789abcdef"; c.in("result")["outcome"] = "refused" })
	}},
	{"a command of an old leadership takes effect", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BatchCompleted", "append-set", -1, now), func(c command) { c.set("proposed_term", 2) })
	}},
	{"a block is allocated twice", "ledger", func(f *folder) {
		a, b := f.nth("n1", "BlocksAllocated", "append-set", 2, withBlocks), f.nth("n1", "BlocksAllocated", "append-set", 3, withBlocks)
		f.everywhere(b, func(c command) {
			c["allocated"] = append(slices.Clone(c.list("allocated")), command(f.ledger["n1"][a]).list("allocated")[0])
		})
	}},
	{"a block is left out of an allocation", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BlocksAllocated", "append-set", 2, withBlocks), func(c command) { c["allocated"] = c.list("allocated")[1:] })
	}},
	{"a batch is allocated twice", "ledger", func(f *folder) {
		f.copyTo(f.nth("n1", "BlocksAllocated", "append-set", 4), f.nth("n1", "BlocksAllocated", "append-set", 5))
	}},
	{"a batch is skipped", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BlocksAllocated", "append-set", 4), func(c command) {
			c["kind"], c["command"] = "InventoryReported", map[string]any{}
			delete(c, "allocated")
		})
	}},
	{"a batch is completed twice", "ledger", func(f *folder) {
		f.copyTo(f.nth("n1", "BatchCompleted", "append-set", 4, now), f.nth("n1", "BatchCompleted", "append-set", 5, now))
	}},
	{"a batch is completed before the one before it", "ledger", func(f *folder) {
		f.swap(f.nth("n1", "BatchCompleted", "append-set", 4, now), f.nth("n1", "BatchCompleted", "append-set", 5, now))
	}},
	{"a batch is completed before it is allocated", "ledger", func(f *folder) {
		f.swap(f.nth("n1", "BatchCompleted", "append-set", 4, now), f.nth("n1", "BlocksAllocated", "append-set", 4))
	}},
	{"a batch is completed by an attempt that is over", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BatchCompleted", "append-set", 4, now), func(c command) {
			c.in("command").set("attempt", c.in("command").int("attempt")-1)
		})
	}},
	{"a batch is completed by another office", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BatchCompleted", "append-set", 4, now), func(c command) { c.in("command").set("office", 1) })
	}},
	{"a batch gives up records", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BatchCompleted", "append-set", 4, now), func(c command) { c.in("command").set("lost", 1) })
	}},
	{"a batch is cleaned before it is completed", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BatchesCleaned", "append-set", 2), func(c command) {
			c.in("command").set("up_to", c.in("command").int("up_to")+10_000)
		})
	}},
	{"a batch is cleaned from which state is rebuilt", "ledger", func(f *folder) {
		at := f.nth("n1", "StateCheckpointed", "counter", 0)
		clean := f.nth("n1", "BatchCompleted", "probe", 0, func(c command) bool { return c.int("index") > command(f.ledger["n1"][at]).int("index") })
		upTo := command(f.ledger["n1"][at]).in("command").int("time") + 500
		f.everywhere(clean, func(c command) {
			c["kind"], c["app"] = "BatchesCleaned", "counter"
			c["command"] = map[string]any{"app": command(f.ledger["n1"][at]).in("command")["app"], "up_to": json.Number(fmt.Sprint(upTo))}
		})
	}},
	{"a block has one copy", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BlocksAdded", "append-set", 3, now), func(c command) {
			b := command(c.in("command").list("blocks")[0].(map[string]any))
			b["stores"] = b.list("stores")[:1]
		})
	}},
	{"a block has two copies in one place", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BlocksAdded", "append-set", 3, now), func(c command) {
			b := command(c.in("command").list("blocks")[0].(map[string]any))
			b["stores"] = []any{b.list("stores")[0], b.list("stores")[0]}
		})
	}},
	{"a block holds positions that were taken before", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BlocksAdded", "append-set", 9, now), func(c command) {
			r := command(command(c.in("command").list("blocks")[0].(map[string]any)).list("ranges")[0].(map[string]any))
			r.set("first", r.int("first")-1)
		})
	}},
	{"a block has another number of records than its positions", "append-set: batch contents", func(f *folder) {
		f.everywhere(f.nth("n1", "BlocksAdded", "append-set", 9, now), func(c command) {
			b := command(c.in("command").list("blocks")[0].(map[string]any))
			b.set("records", b.int("records")+1)
		})
	}},
	{"an acknowledged block was refused", "ledger: linearizable-blocks", func(f *folder) {
		f.everywhere(f.nth("n1", "BlocksAdded", "ledger", -1, now), func(c command) {
			c.in("result")["outcome"] = "refused"
			for _, b := range c.in("result").list("blocks") {
				b.(map[string]any)["outcome"] = "refused"
			}
			blocks := c.in("command").list("blocks")
			for i := range f.ledger { // no later batch has them either
				for _, l := range f.ledger[i] {
					if a := command(l).list("allocated"); len(a) > 0 {
						l["allocated"] = slices.DeleteFunc(slices.Clone(a), func(id any) bool {
							return slices.ContainsFunc(blocks, func(b any) bool {
								return fmt.Sprint(b.(map[string]any)["id"]) == fmt.Sprint(id)
							})
						})
					}
				}
			}
		})
	}},
	{"an application ends with a batch pending", "ledger", func(f *folder) {
		f.swap(f.nth("n1", "ApplicationEnded", "append-set", 0), f.nth("n1", "BatchCompleted", "append-set", -1, now))
	}},
	{"a command has a kind that nobody knows", "ledger", func(f *folder) {
		f.everywhere(f.nth("n1", "BatchCompleted", "append-set", 3, now), func(c command) { c["kind"] = "BatchDone" })
	}},
}

// TestAVerdictThatCheckedNothingIsNotGreen holds for whatever was left out.
func TestAVerdictThatCheckedNothingIsNotGreen(t *testing.T) {
	valid := checker.Result{Checker: "some", Verdict: checker.Valid, Counts: map[string]int64{acknowledged: 1}}
	bit := nemesis.Outcome{Event: schedule.Event{ID: 1, Kind: schedule.Kill}, Injected: true, Proof: chaos.Proof{Bites: 1}}
	missed, broken := bit, bit
	missed.Injected, missed.Reason = false, "no node is up"
	broken.Broken = "it stays down"
	for _, c := range []struct {
		what     string
		results  []checker.Result
		outcomes []nemesis.Outcome
		want     Outcome
	}{
		{"all is well", []checker.Result{valid}, []nemesis.Outcome{bit}, Green},
		{"no result", nil, nil, Incomplete},
		{"a check that is unknown", []checker.Result{valid, {Verdict: checker.Unknown}}, nil, Incomplete},
		{"a check without a verdict", []checker.Result{valid, {}}, nil, Violated},
		{"nothing acknowledged", []checker.Result{{Verdict: checker.Valid, Counts: map[string]int64{acknowledged: 0}}}, nil, Incomplete},
		{"an event that was not injected", []checker.Result{valid}, []nemesis.Outcome{bit, missed}, Incomplete},
		{"a fault that was not healed", []checker.Result{valid}, []nemesis.Outcome{broken}, Violated},
		{"a violation among what is unknown", []checker.Result{{Verdict: checker.Unknown}, {Verdict: checker.Invalid}, {Verdict: checker.Unknown}}, nil, Violated},
		{"a check that panicked", checked("some", "", func() []checker.Result { panic("no") }), nil, Incomplete},
		{"a check that found nothing to say", checked("some", "w", func() []checker.Result { return nil }), nil, Incomplete},
	} {
		v := &Verdict{Results: c.results}
		if v.judge(c.outcomes); v.Outcome != c.want || (c.want != Green && len(v.Reasons) == 0) {
			t.Errorf("%s: %s, %v, expected %s", c.what, v.Outcome, v.Reasons, c.want)
		}
	}
	empty := &Verdict{Results: checks(&checker.Run{Dir: t.TempDir(), Nodes: greenNodes}, nil, greenRate)}
	if empty.judge(nil); empty.Outcome == Green {
		t.Error("an empty folder is green")
	}
}
