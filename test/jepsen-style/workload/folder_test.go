package workload

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

const (
	madeApp   = 5
	madeBatch = 100     // ms
	madeZero  = 100_000 // ms
	madeSeed  = 7
)

// folder is that of a run that never was.
type folder struct {
	t       *testing.T
	name    string // of the workload
	dir     string
	run     *checker.Run
	process int
	turns   []checker.Turn // of the application, before the ledger completes its first batch; with an Index twice in one entry
}

func newFolder(t *testing.T, name string) *folder {
	t.Helper()
	dir := t.TempDir()
	f := &folder{t: t, name: name, dir: filepath.Join(dir, "w", name), run: &checker.Run{Dir: dir, Ledgers: map[string]string{}, Nodes: []string{"n1"}}}
	f.put(applicationFile, f.json(application{Name: name, ID: madeApp, BatchMS: madeBatch, Seed: madeSeed}))
	return f
}

func (f *folder) put(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) json(v any) string {
	f.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(b)
}

// event appends an event, 10 ms after the last one.
func (f *folder) event(e history.Event, value any) {
	e.Index = int64(len(f.run.Events))
	e.Time = 10_000_000 * (e.Index + 1)
	e.Workload = f.name
	e.Value = json.RawMessage(f.json(value))
	f.run.Events = append(f.run.Events, e)
}

// op is a whole operation of a process of its own.
func (f *folder) op(op string, end history.Type, index uint64, node string, value any) {
	e := history.Event{Process: f.process, Type: history.Invoke, F: op, Node: node}
	f.process++
	f.event(e, value)
	e.Type, e.RaftIndex = end, index
	f.event(e, value)
}

// add is a send of records.
func (f *folder) add(end history.Type, index uint64, producer string, first, last uint64) {
	f.op(history.Add, end, index, "", history.Range{App: f.name, ID: madeApp, Producer: producer, First: first, Last: last, Whole: first == last})
}

// opened is an opening of an ingester.
func (f *folder) opened(acked, tried, position uint64) {
	f.op(history.Open, history.OK, 0, "", history.Opening{Producer: "p0", Acked: acked, Tried: tried, Position: position})
}

// saved writes batch n, from 1, of an output.
func (f *folder) saved(prefix string, n int, lines ...string) {
	f.t.Helper()
	at := int64(madeZero + n*madeBatch)
	text := ""
	for _, l := range lines {
		text += l + "\n"
	}
	sum := func(s string) string {
		return fmt.Sprintf("%08x", crc32.Checksum([]byte(s), castagnoli))
	}
	dir := fmt.Sprintf("%s-%d/", prefix, at)
	f.put(dir+"part-00000", text)
	success := fmt.Sprintf(`{"format":"raftstream-output","version":1,"application":%d,"batch_ms":%d,"output":"o-0",`+
		`"parts":[{"name":"part-00000","records":%d,"bytes":%d,"crc32c":%q}],"crc32c":""}`, madeApp, at, len(lines), len(text), sum(text))
	f.put(dir+"_SUCCESS", strings.Replace(success, `"crc32c":""}`, fmt.Sprintf(`"crc32c":%q}`, sum(success)), 1)+"\n")
}

// ledger writes the node's ledger: batches of records of producer p0, each so many.
func (f *folder) ledger(records ...uint64) {
	f.t.Helper()
	var out strings.Builder
	index, next := uint64(0), uint64(1)
	line := func(kind, command, more string) {
		index++
		fmt.Fprintf(&out, `{"index":%d,"term":2,"n":1,"kind":%q,"proposed_term":2,"command":{%s},"crc":"%08x","result":{"outcome":"done","index":%d%s`+"\n",
			index, kind, command, index, index, more)
	}
	line("Epoch", `"term":2,"leader":"a"`, "}}")
	line("ClusterNamed", `"cluster":"c"`, "}}")
	line("SessionOpened", `"store":"s1"`, "}}")
	line("SessionOpened", `"store":"s2"`, "}}")
	line("ApplicationSubmitted", fmt.Sprintf(`"name":"app","batch_ms":%d,"factor":2,"remember_ms":0,"params":{},"now_ms":%d`, madeBatch, madeZero+50), "}}")
	line("CoordinatorAssigned", `"app":5,"session":4,"prev":0`, "}}")
	line("ReceiverScheduled", `"app":5,"stream":0,"session":4,"prev":0`, "}}")
	for i, n := range records {
		line("BlocksAdded", fmt.Sprintf(`"session":4,"blocks":[{"id":{"app":5,"stream":0,"instance":7,"number":%d},"records":%d,"bytes":100,"crc":1,`+
			`"stores":["s1","s2"],"ranges":[{"partition":"p0","first":%d,"last":%d}]}]`, i+1, n, next, next+n-1),
			fmt.Sprintf(`,"blocks":[{"outcome":"done","index":%d}]}}`, index+1))
		next += n
		at := madeZero + (i+1)*madeBatch
		line("BlocksAllocated", fmt.Sprintf(`"app":5,"from":%d,"to":%d,"last":false,"direct":[]`, at, at),
			fmt.Sprintf(`},"allocated":[{"app":5,"stream":0,"instance":7,"number":%d}]}`, i+1))
		attempt := index
		for _, turn := range f.turns {
			if turn.Failed {
				line("BatchFailed", fmt.Sprintf(`"app":5,"time":%d,"office":6,"attempt":%d,"error":%q`, at, attempt, turn.Error), "}}")
				continue
			}
			line("ApplicationResumed", fmt.Sprintf(`"app":5,"prev":%d,"accept_loss":false`, turn.After), "}}")
			attempt = index
			if turn.Index > 0 {
				text := out.String()
				last := text[strings.LastIndexByte(text[:len(text)-1], '\n')+1:]
				out.WriteString(strings.Replace(last, `"n":1`, `"n":2`, 1))
			}
		}
		f.turns = nil
		line("BatchCompleted", fmt.Sprintf(`"app":5,"time":%d,"office":6,"attempt":%d,"lost":0,"lost_blocks":[]`, at, attempt), "}}")
	}
	head := fmt.Sprintf(`{"node":"n1","first_index":1,"last_index":%d,"snapshot_index":0}`+"\n", index)
	tail := fmt.Sprintf(`{"node":"n1","applied_index":%d,"state_hash":"%064x"}`+"\n", index, index)
	f.put("../../n1.jsonl", head+out.String()+tail)
	f.run.Ledgers["n1"] = filepath.Join(f.run.Dir, "n1.jsonl")
}
