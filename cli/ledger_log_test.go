package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/datadir"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/raftnode"
	"github.com/raftstream/raftstream/internal/vfs"
)

// printedLog is what ledger log -o json printed.
type printedLog struct {
	head  logHeadJSON
	lines []logLineJSON
	end   ledgerJSON
}

func logOf(t *testing.T, args ...string) printedLog {
	t.Helper()
	e, out, stderr := testEnv(nil, "")
	if status := e.run(t.Context(), append([]string{"-o", "json", "ledger", "log"}, args...)); status != statusDone {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var p printedLog
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	decode(t, lines[0], &p.head)
	for _, line := range lines[1 : len(lines)-1] {
		var j logLineJSON
		decode(t, line, &j)
		p.lines = append(p.lines, j)
	}
	decode(t, lines[len(lines)-1], &p.end)
	return p
}

func decode(t *testing.T, line string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), into); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
}

// fingerprint is of every name, content and time of change below a directory.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path, info.Mode(), info.ModTime().UnixNano(), info.Size())
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		sum.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// The log of a stopped node says which positions of a producer went into which block and batch, and leads to the state
// that the node had when it ran.
func TestLogOfAStoppedNodeLeadsToTheStateThatItHad(t *testing.T) {
	n := newTestNode(t)
	n.must(new(submittedJSON), "", "submit", "countwords", "--name", "wc", "--batch", "100ms", "--param", "out="+filepath.Join(t.TempDir(), "w"))
	n.must(new(struct{}), "a b\nb\nc\n", "ingest", "wc", "--producer", "p")
	n.must(new(changedJSON), "", "stop", "wc", "--wait")
	var live ledgerJSON
	n.must(&live, "", "ledger")
	status, _, stderr := n.command("", "ledger", "log", "--data", n.dir)
	if status != statusFailed || !strings.Contains(stderr, "in use by another process: stop the node first") {
		t.Errorf("while the node runs: status %d, %q, expected a refusal", status, stderr)
	}
	n.stop()

	before := fingerprint(t, n.dir)
	p := logOf(t, "--data", n.dir, "--up-to", fmt.Sprint(live.AppliedIndex))
	if p.end != live {
		t.Errorf("the log leads to %+v, the node that ran said %+v", p.end, live)
	}
	if p.head.Node != "n1" || p.head.FirstIndex != 1 || p.head.LastIndex < live.AppliedIndex || p.head.SnapshotIndex != 0 {
		t.Errorf("head %+v, expected n1's log from 1 to %d or later, without a snapshot", p.head, live.AppliedIndex)
	}
	var reported, given []id.Block
	var records uint64
	for _, l := range p.lines {
		switch l.Kind {
		case "BlocksAdded":
			var c struct {
				Blocks []struct {
					ID     struct{ App, Stream, Instance, Number uint64 }
					Ranges []struct {
						Partition   string
						First, Last uint64
					}
				}
			}
			decode(t, string(l.Command), &c)
			for _, b := range c.Blocks {
				reported = append(reported, id.Block{App: id.App(b.ID.App), Stream: id.Stream(b.ID.Stream), Instance: id.Instance(b.ID.Instance), Number: b.ID.Number})
				for _, g := range b.Ranges {
					if g.Partition != "p" || g.First != records+1 {
						t.Errorf("block %v has the range %+v after %d records of p", b.ID, g, records)
					}
					records = g.Last
				}
			}
			if l.App != "wc" || l.Result == nil || l.Result.Outcome != "done" || len(l.Result.Blocks) != len(c.Blocks) {
				t.Errorf("line %+v, expected it done, of wc", l)
			}
		case "BlocksAllocated":
			var blocks []struct{ App, Stream, Instance, Number uint64 }
			decode(t, string(l.Allocated), &blocks)
			for _, b := range blocks {
				given = append(given, id.Block{App: id.App(b.App), Stream: id.Stream(b.Stream), Instance: id.Instance(b.Instance), Number: b.Number})
			}
		}
	}
	if records != 3 || len(reported) == 0 || !slices.Equal(reported, given) {
		t.Errorf("%d records of p in the blocks %v, batches were given %v", records, reported, given)
	}
	all := logOf(t, "--data", n.dir)
	if some := logOf(t, "--data", n.dir, "--after", "3", "--last", "2"); !reflect.DeepEqual(some.lines, all.lines[len(all.lines)-2:]) || some.end != all.end {
		t.Errorf("the last two lines are %+v, expected %+v", some.lines, all.lines[len(all.lines)-2:])
	}
	e, out, _ := testEnv(nil, "")
	status = e.run(t.Context(), []string{"ledger", "log", "--data", n.dir})
	for _, want := range []string{"raft/configuration", "n1 at 127.0.0.1", "BlocksAdded", "p 1-", "in order", all.end.StateHash} {
		if status != statusDone || !strings.Contains(out.String(), want) {
			t.Errorf("status %d, expected %q in\n%s", status, want, out)
		}
	}
	if after := fingerprint(t, n.dir); after != before {
		t.Error("reading the log changed the data directory")
	}
}

func TestLogSaysWhyItCannotBeRead(t *testing.T) {
	executor, damaged := filepath.Join(t.TempDir(), "n"), filepath.Join(t.TempDir(), "d")
	for _, dir := range []string{executor, damaged} {
		d, err := datadir.Open(vfs.OS{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(damaged, "raft", "raft.db"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"no directory", nil, statusUsage, "flag --data is missing"},
		{"negative", []string{"--data", executor, "--last", "-1"}, statusUsage, "expected 0 or more"},
		{"no data directory", []string{"--data", t.TempDir()}, statusFailed, "is no data directory of a node"},
		{"nothing there", []string{"--data", filepath.Join(t.TempDir(), "x")}, statusFailed, "is no data directory of a node"},
		{"no driver", []string{"--data", executor}, statusFailed, "has never been a driver"},
		{"damaged", []string{"--data", damaged}, statusFailed, "damaged " + filepath.Join(damaged, "raft", "raft.db")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, _, stderr := testEnv(nil, "")
			status := e.run(t.Context(), append([]string{"ledger", "log"}, tt.args...))
			if status != tt.status || !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("status %d, %q, expected status %d and %q", status, stderr, tt.status, tt.want)
			}
		})
	}
}

// raftOnly is a stream for a cluster of one.
type raftOnly struct{ net.Listener }

func (raftOnly) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", addr, timeout)
}

// ledgerWithSnapshot makes a data directory whose ledger has a snapshot, and entries after it; it gives what the node
// had applied.
func ledgerWithSnapshot(t *testing.T, trailing uint64) (dir string, had ledgerJSON) {
	t.Helper()
	dir = t.TempDir()
	had = withLedger(t, dir, trailing, func(propose func(fsm.Command)) {
		finished := func() bool {
			found, err := filepath.Glob(filepath.Join(dir, "raft", "snapshots", "*[0-9]", "state.bin"))
			return err == nil && len(found) > 0
		}
		generation := uint64(0)
		for !finished() {
			generation++
			propose(&fsm.SessionOpened{Store: "s", Generation: generation, Name: "e1"})
		}
		propose(&fsm.SessionClosed{Session: 1, Reason: "never opened"})
	})
	return dir, had
}

// withLedger lets a cluster of one run on a data directory, and gives what it had applied in the end.
func withLedger(t *testing.T, dir string, trailing uint64, use func(propose func(fsm.Command))) ledgerJSON {
	t.Helper()
	d, err := datadir.Open(vfs.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, err := raftnode.Open(raftnode.Config{
		Dir: d.Raft(), ID: d.Node(), Name: "n1", Addr: l.Addr().String(), Expect: 1, Stream: raftOnly{l},
		SnapshotThreshold: 8, SnapshotInterval: 5 * time.Millisecond, TrailingLogs: trailing,
		Fatal: func(err error) { t.Error("fatal:", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	leads := <-n.Leadership()
	for !leads.Leader {
		leads = <-n.Leadership()
	}
	propose := func(c fsm.Command) {
		if _, err := n.Propose(ctx, leads.Term, c); err != nil {
			t.Fatal(err)
		}
	}
	propose(&fsm.Epoch{Term: leads.Term, Leader: d.Node(), Name: "n1"})
	use(propose)
	v := n.View()
	if err := errors.Join(n.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	return ledgerJSON{"", v.Index(), fmt.Sprintf("%x", v.Hash())}
}

// Copies of one ledger agree as long as one only goes on; two that went on apart have a history each.
func TestCheckTellsLedgersThatAgreeFromThoseThatDoNot(t *testing.T) {
	dir, had := ledgerWithSnapshot(t, 1<<20)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	check := func(want bool, problem string) ledgerCheckJSON {
		t.Helper()
		e, out, stderr := testEnv(nil, "")
		status := e.run(t.Context(), []string{"-o", "json", "ledger", "check", "--data", dir, "--data", other})
		var j ledgerCheckJSON
		decode(t, out.String(), &j)
		if j.Agree != want || (status == statusDone) != want || !strings.Contains(stderr.String(), problem) {
			t.Fatalf("status %d, %s, %s, expected agreement to be %t", status, out, stderr, want)
		}
		return j
	}
	if j := check(true, ""); len(j.Nodes) != 2 || j.Nodes[1].StateHash != had.StateHash || j.Nodes[0].AppliedIndex != had.AppliedIndex {
		t.Errorf("%+v, expected both to have %+v", j, had)
	}
	goOn := func(dir, reason string) {
		withLedger(t, dir, 1<<20, func(propose func(fsm.Command)) { propose(&fsm.SessionClosed{Session: 1, Reason: reason}) })
	}
	goOn(dir, "one")
	if j := check(true, ""); j.CommonIndex != j.Nodes[1].LastIndex || j.Nodes[0].LastIndex <= j.CommonIndex || j.Nodes[0].StateHash != had.StateHash {
		t.Errorf("%+v, expected both to have %+v at the end of the shorter one", j, had)
	}
	goOn(other, "another")
	check(false, "differs between")
	e, out, _ := testEnv(nil, "")
	if status := e.run(t.Context(), []string{"ledger", "check", "--data", dir}); status != statusDone || !strings.Contains(out.String(), "the ledgers agree up to index") {
		t.Errorf("one directory alone: status %d, %s", status, out)
	}
}

// A snapshot stands for the entries that the log has no more, and is held against those that it still has.
func TestLogWithASnapshot(t *testing.T) {
	for _, tt := range []struct {
		name     string
		trailing uint64
		whole    bool
	}{
		{"of which the log has every entry", 1 << 20, true},
		{"of which the log has the last entries", 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, had := ledgerWithSnapshot(t, tt.trailing)
			p := logOf(t, "--data", dir)
			if p.end != had {
				t.Errorf("the log leads to %+v, the node had %+v", p.end, had)
			}
			if p.head.SnapshotIndex == 0 || tt.whole != (p.head.FirstIndex == 1) {
				t.Fatalf("head %+v, expected a snapshot", p.head)
			}
			for _, l := range p.lines {
				if known := tt.whole || l.Index > p.head.SnapshotIndex; l.N > 0 && known != (l.Result != nil) {
					t.Errorf("entry %d has the result %v, after a snapshot of %d", l.Index, l.Result, p.head.SnapshotIndex)
				}
			}
			e, _, stderr := testEnv(nil, "")
			status := e.run(t.Context(), []string{"ledger", "log", "--data", dir, "--up-to", "3"})
			if refused := strings.Contains(stderr.String(), "state at index 3 is not known"); refused == tt.whole || refused != (status == statusFailed) {
				t.Errorf("up to 3: status %d, %s", status, stderr)
			}
		})
	}
}

// The names are part of the contract: a field that is renamed in the engine keeps its name here.
func TestCommandsKeepTheirNamesInJSON(t *testing.T) {
	block := id.Block{App: 1, Stream: 2, Instance: 3, Number: 4}
	golden := []struct {
		command fsm.Command
		want    string
	}{
		{&fsm.Epoch{}, `{"term":0,"leader":"","name":"","addr":"","now_ms":0}`},
		{&fsm.ClusterNamed{Cluster: "<c>"}, `{"cluster":"<c>"}`},
		{&fsm.SessionOpened{}, `{"store":"","generation":0,"name":"","addr":"","slots":0,"build":"","now_ms":0}`},
		{&fsm.SessionClosed{}, `{"session":0,"reason":"","now_ms":0}`},
		{&fsm.InventoryReported{Blocks: []id.Block{block}}, `{"session":0,"blocks":[{"app":1,"stream":2,"instance":3,"number":4}],"first":false,"last":false}`},
		{
			&fsm.ApplicationSubmitted{Params: []byte("{\"a\": 1}"), Inputs: []fsm.InputStream{{}}, States: []fsm.StateStream{{}}},
			`{"request_id":"","name":"","program":"","params":{"a":1},"batch_ms":0,"block_ms":0,"partitions":0,"factor":0,"fingerprint":"","build":"","remember_ms":0,"inputs":[{"stream":0,"source":"","receiver":false,"pushed":false,"preferred":"","rate":0}],"states":[{"stream":0,"slide_ms":0,"partitions":0}],"checkpoint_url":"","now_ms":0}`,
		},
		{&fsm.ApplicationStopped{Now: true}, `{"app":0,"now":true,"now_ms":0}`},
		{&fsm.ApplicationEnded{}, `{"app":0,"now_ms":0}`},
		{&fsm.ApplicationResumed{}, `{"app":0,"prev":0,"accept_loss":false,"now_ms":0}`},
		{&fsm.ReceiverScheduled{}, `{"app":0,"stream":0,"session":0,"prev":0,"now_ms":0}`},
		{&fsm.ReceiverRegistered{}, `{"app":0,"stream":0,"instance":0,"session":0,"now_ms":0}`},
		{&fsm.ReceiverDeregistered{}, `{"app":0,"stream":0,"instance":0,"message":"","error":"","now_ms":0}`},
		{&fsm.ReceiverFailed{}, `{"app":0,"stream":0,"instance":0,"error":"","now_ms":0}`},
		{
			&fsm.BlocksAdded{Blocks: []fsm.AddedBlock{{ID: block, Stores: []id.Store{"s"}, Ranges: []connector.Range{{Partition: "\xff", First: 1, Last: 2}}}}},
			`{"session":0,"blocks":[{"id":{"app":1,"stream":2,"instance":3,"number":4},"records":0,"bytes":0,"crc":0,"stores":["s"],"ranges":[{"partition":{"base64":"/w=="},"first":1,"last":2}]}],"now_ms":0}`,
		},
		{
			&fsm.BlocksAllocated{Direct: []fsm.StreamPlan{{Plan: connector.Plan{Parts: []connector.Part{{Data: []byte("d")}}}}}},
			`{"app":0,"from":0,"to":0,"last":false,"direct":[{"stream":0,"plan":{"parts":[{"data":"d","records":0,"bytes":0,"ranges":[]}],"forget":[],"mark":"","warning":""}}],"unplanned":"","now_ms":0}`,
		},
		{&fsm.CoordinatorAssigned{}, `{"app":0,"session":0,"prev":0,"now_ms":0}`},
		{&fsm.BatchCompleted{}, `{"app":0,"time":0,"office":0,"attempt":0,"started_ms":0,"ended_ms":0,"tries":0,"lost":0,"lost_blocks":[],"now_ms":0}`},
		{&fsm.BatchFailed{}, `{"app":0,"time":0,"office":0,"attempt":0,"error":"","started_ms":0,"ended_ms":0,"tries":0,"now_ms":0}`},
		{&fsm.BatchesCleaned{}, `{"app":0,"up_to":0}`},
		{
			&fsm.StateCheckpointed{Pieces: []fsm.CheckpointPiece{{ID: block}}},
			`{"app":0,"office":0,"time":0,"attempt":0,"full":false,"since":0,"pieces":[{"id":{"app":1,"stream":2,"instance":3,"number":4},"stream":0,"part":0,"rows":0,"bytes":0,"crc":0,"stores":[]}],"now_ms":0}`,
		},
		{&fsm.BlocksCopied{}, `{"session":0,"blocks":[]}`},
	}
	for i, g := range golden {
		if g.command.Kind() != fsm.Kind(i+1) {
			t.Fatalf("command %d is a %v", i+1, g.command.Kind())
		}
		got, err := snakeJSON(g.command)
		if err != nil || string(got) != g.want || !json.Valid(got) {
			t.Errorf("%v is %s, %v, expected %s", g.command.Kind(), got, err, g.want)
		}
	}
	if next := fsm.Kind(len(golden) + 1); !strings.HasPrefix(next.String(), "kind ") {
		t.Errorf("%v is not in this list", next)
	}
}
