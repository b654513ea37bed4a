package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

func TestMain(m *testing.M) {
	if flags, ok := os.LookupEnv(asNode); ok {
		os.Args = append(os.Args, strings.Fields(flags)...)
		Main()
	}
	dstream.Register("countwords", func(c *dstream.Context, p struct {
		Out string `json:"out"`
	},
	) error {
		pairs := dstream.Map(dstream.FlatMap(ingest.TextStream(c), strings.FieldsSeq), func(w string) dstream.KV[string, int64] {
			return dstream.Pair(w, int64(1))
		})
		dstream.ReduceByKey(pairs, dstream.Sum).SaveAsTextFiles(p.Out, "")
		return nil
	})
	dstream.Register("hang", func(c *dstream.Context, _ struct{}) error {
		dstream.ForeachPartition(ingest.TextStream(c), func(_ context.Context, _ dstream.Partition, lines iter.Seq[string]) error {
			for range lines {
				select {
				case hanging <- struct{}{}:
				default:
				}
				<-unhang
			}
			return nil
		})
		return nil
	})
	goleak.VerifyTestMain(m)
}

// hanging is told when user code hangs, which it does until unhang is closed.
var hanging, unhang = make(chan struct{}, 1), make(chan struct{})

// testNode is one node in this process, with the commands that talk to it.
type testNode struct {
	t     *testing.T
	dir   string
	ports []int
	more  []string // flags of start
	tls   []string // flags of every command
	leave context.CancelFunc
	ended chan int // exit status of start
	log   *lockedBuffer
}

// lockedBuffer is a buffer that a node writes to while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newTestNode(t *testing.T) *testNode { return newTestNodeWith(t, nil, nil) }

func newTestNodeWith(t *testing.T, more, tls []string) *testNode {
	t.Helper()
	ports, err := freePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	n := &testNode{t: t, dir: filepath.Join(t.TempDir(), "n1"), ports: ports, more: more, tls: tls}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

func (n *testNode) args(more ...string) []string {
	return append([]string{
		"start", "--data", n.dir, "--name", "n1", "--bootstrap-expect", "1", "--disk-reserve", "0",
		"--rpc-port", fmt.Sprint(n.ports[0]), "--gossip-port", fmt.Sprint(n.ports[1]), "--http-port", fmt.Sprint(n.ports[2]),
	}, more...)
}

// start starts the node and waits until it answers.
func (n *testNode) start() {
	n.t.Helper()
	n.ended, n.log = make(chan int, 1), &lockedBuffer{}
	e := &env{in: strings.NewReader(""), out: io.Discard, err: n.log, getenv: func(string) (string, bool) { return "", false }}
	n.run(e, n.args(n.more...)...)
	if status, _, stderr := n.command("", "members"); status != 0 {
		n.t.Fatalf("members: status %d, %s\nlog of the node:\n%s", status, stderr, n.log)
	}
}

// run runs start until stop.
func (n *testNode) run(e *env, args ...string) {
	ctx, cancel := context.WithCancel(context.Background())
	n.leave = cancel
	go func() { n.ended <- e.run(ctx, args) }()
}

// stop lets the node leave and gives its exit status.
func (n *testNode) stop() int {
	n.leave()
	status := <-n.ended
	n.ended <- status // for the next one who asks
	return status
}

// command runs a command against the node.
func (n *testNode) command(stdin string, args ...string) (status int, stdout, stderr string) {
	n.t.Helper()
	e, out, err := testEnv(map[string]string{"RAFTSTREAM_ADDR": fmt.Sprintf("127.0.0.1:%d", n.ports[0])}, stdin)
	status = e.run(n.t.Context(), slices.Concat(n.tls, []string{"--timeout", "20s"}, args))
	return status, out.String(), err.String()
}

// must runs a command that has to succeed and decodes its JSON.
func (n *testNode) must(into any, stdin string, args ...string) {
	n.t.Helper()
	status, stdout, stderr := n.command(stdin, append([]string{"-o", "json"}, args...)...)
	if status != 0 {
		n.t.Fatalf("%v: status %d, %s\nlog of the node:\n%s", args, status, stderr, n.log)
	}
	if err := json.Unmarshal([]byte(stdout), into); err != nil {
		n.t.Fatalf("%v printed %q: %v", args, stdout, err)
	}
}

func TestOneNodeCountsWordsFromSubmissionToStop(t *testing.T) {
	n := newTestNode(t)
	prefix := filepath.Join(t.TempDir(), "words")
	var submitted submittedJSON
	n.must(&submitted, "", "submit", "countwords", "--name", "wc", "--batch", "100ms", "--param", "out="+prefix)
	var taken struct{ Lines int }
	n.must(&taken, "a b a\nb\n\nlast a", "ingest", "wc", "--producer", "p")
	if taken.Lines != 4 {
		t.Errorf("%d lines were taken, expected 4", taken.Lines)
	}
	n.must(&taken, "a b a\nb\n\nlast a\nmore", "ingest", "wc", "--producer", "p") // the first four are taken already
	var receivers receiversJSON
	n.must(&receivers, "", "receivers", "wc")
	if len(receivers.Receivers) != 1 || receivers.Receivers[0].State != "active" || receivers.Receivers[0].Node != "n1" {
		t.Errorf("receivers %+v, expected one that is active on n1", receivers)
	}
	var changed changedJSON
	n.must(&changed, "", "stop", "wc", "--wait")
	var app appJSON
	n.must(&app, "", "app", "wc")
	if app.State != "stopped" || app.RecordsReceived != 5 || app.RecordsProcessed != 5 || app.PendingBatches != 0 || app.ID != submitted.ID {
		t.Errorf("application %+v, expected 5 records received and processed, and that it has stopped", app)
	}
	var batches batchesJSON
	n.must(&batches, "", "batches", "wc", "--last", "1000")
	records := int64(0)
	for i, b := range batches.Batches {
		records += b.Records
		if b.State != "completed" || i > 0 && b.TimeMS != batches.Batches[i-1].TimeMS+100 {
			t.Errorf("batch %d is %+v, expected it completed and 100 ms after the one before", i, b)
		}
	}
	if records != 5 {
		t.Errorf("batches hold %d records, expected 5", records)
	}
	got, err := sumBatches(prefix)
	if err != nil || got["a"] != 3 || got["b"] != 2 || got["last"] != 1 || got["more"] != 1 {
		t.Errorf("counted %v, %v", got, err)
	}
	if status := n.stop(); status != statusDone {
		t.Errorf("start ended with status %d after it was told to leave, expected 0\n%s", status, n.log)
	}
}

// What a node knew before it left, it knows when it is started again.
func TestRestartedNodeKeepsTheLedger(t *testing.T) {
	n := newTestNode(t)
	n.must(new(submittedJSON), "", "submit", "countwords", "--name", "wc", "--batch", "1s", "--param", "out="+filepath.Join(t.TempDir(), "w"))
	n.must(new(struct{}), "x\ny\n", "ingest", "wc", "--producer", "p")
	n.stop()
	n.start()
	n.must(new(struct{}), "x\ny\nz\n", "ingest", "wc", "--producer", "p")
	n.must(new(changedJSON), "", "stop", "wc", "--wait")
	var app appJSON
	n.must(&app, "", "app", "wc")
	if app.RecordsProcessed != 3 {
		t.Errorf("%d records were processed, expected 3", app.RecordsProcessed)
	}
}

func TestStartSaysWhyItCannotFirst(t *testing.T) {
	n := newTestNode(t)
	free, err := freePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	ports := func(rpc, gossip, http int) []string {
		return []string{"--rpc-port", fmt.Sprint(rpc), "--gossip-port", fmt.Sprint(gossip), "--http-port", fmt.Sprint(http)}
	}
	other := filepath.Join(t.TempDir(), "other")
	broken := filepath.Join(t.TempDir(), "broken")
	if err := errors.Join(os.Mkdir(broken, 0o755), os.WriteFile(filepath.Join(broken, "identity"), []byte("nonsense"), 0o600)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"rpc port in use", append(ports(n.ports[0], free[1], free[2]), "--data", other), 1, fmt.Sprint(n.ports[0])},
		{"gossip port in use", append(ports(free[0], n.ports[1], free[2]), "--data", other), 1, fmt.Sprint(n.ports[1])},
		{"http port in use", append(ports(free[0], free[1], n.ports[2]), "--data", other), 1, fmt.Sprint(n.ports[2])},
		{"data directory in use", ports(free[0], free[1], free[2]), 1, "in use"},
		{"data directory of another node", append(ports(free[0], free[1], free[2]), "--data", other, "--name", "n9"), 1, "belongs to node n1"},
		{"damaged identity", append(ports(free[0], free[1], free[2]), "--data", broken), 1, "identity is damaged"},
		{"no way to a cluster", append(ports(free[0], free[1], free[2]), "--data", other, "--bootstrap-expect", "0"), 2, "--join"},
		{"equal ports", append(ports(free[0], free[0], free[2]), "--data", other), 2, "three ports"},
		{"no address", append(ports(free[0], free[1], free[2]), "--data", other, "--bind", "here"), 2, `"here"`},
		{"unknown role", append(ports(free[0], free[1], free[2]), "--data", other, "--roles", "boss"), 2, `"boss"`},
		{"short gossip key", append(ports(free[0], free[1], free[2]), "--data", other, "--gossip-key", "abcd"), 2, "64 hexadecimal digits, got 4"},
		{"gossip key of other digits", append(ports(free[0], free[1], free[2]), "--data", other, "--gossip-key", strings.Repeat("xy", 32)), 2, "--gossip-key"},
		{"half of TLS", append(ports(free[0], free[1], free[2]), "--data", other, "--tls-key", "x"), 2, "--tls-ca"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _, stderr := testEnv(nil, "")
			status := e.run(t.Context(), n.args(tt.args...))
			first, _, _ := strings.Cut(stderr.String(), "\n")
			if status != tt.status || !strings.Contains(first, tt.want) {
				t.Errorf("status %d, first line %q, expected status %d and %s", status, first, tt.status, tt.want)
			}
		})
	}
}

func TestCommandsEndWithTheStatusOfTheContract(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent := l.Addr().String()
	tests := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"unknown command", []string{"dance"}, 2, "dance"},
		{"unknown flag", []string{"apps", "--colour"}, 2, "colour"},
		{"missing argument", []string{"submit"}, 2, "submit APP"},
		{"unknown output", []string{"-o", "xml", "apps"}, 2, "xml"},
		{"no timeout", []string{"--timeout", "0s", "apps"}, 2, "timeout"},
		{"broken parameter", []string{"submit", "x", "--param", "novalue"}, 2, "novalue"},
		{"parameter given twice", []string{"submit", "x", "--param", "a=1", "--param", "a=2"}, 2, "twice"},
		{"broken address", []string{"--addr", "nowhere", "apps"}, 2, "nowhere"},
		{"demo without majority", []string{"demo", "--nodes", "2"}, 2, "majority"},
		{"no node", []string{"--addr", "127.0.0.1:1", "--timeout", "200ms", "apps"}, 3, "127.0.0.1:1"},
		{"silent node", []string{"--addr", silent, "--timeout", "200ms", "apps"}, 3, silent},
		{"ingest without node", []string{"--addr", "127.0.0.1:1", "--timeout", "200ms", "ingest", "x"}, 3, "127.0.0.1:1"},
		{"version", []string{"version"}, 0, ""},
		{"help", []string{"submit", "--help"}, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _, stderr := testEnv(nil, "")
			status := e.run(t.Context(), tt.args)
			first, _, _ := strings.Cut(stderr.String(), "\n")
			if status != tt.status || !strings.Contains(first, tt.want) {
				t.Errorf("status %d, %q, expected status %d and %q", status, stderr, tt.status, tt.want)
			}
		})
	}
}

// Every command has help with an example.
func TestEveryCommandHasAnExample(t *testing.T) {
	e, _, _ := testEnv(nil, "")
	for _, c := range e.rootCommand().Commands() {
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s: no example or no short description", c.Name())
		}
	}
}

// The names of docs/cli.md: programs outside read them.
func TestJSONHasTheNamesOfTheContract(t *testing.T) {
	tests := []struct {
		value any
		want  string
	}{
		{membersJSON{}, "term leader members"},
		{memberJSON{}, "name id roles status raft rpc_addr http_addr version"},
		{appsJSON{}, "apps"},
		{appJSON{Params: []byte("{}")}, "name app state batch_ms zero_time_ms last_allocated_ms last_completed_ms pending_batches records_received records_processed coordinator id error"},
		{batchesJSON{}, "batches"},
		{batchJSON{}, "time_ms state records scheduling_delay_ms processing_ms total_delay_ms attempts error"},
		{verdict{}, "sent counted lost duplicated failover_ms batches"},
		{ledgerJSON{}, "applied_index state_hash"},
	}
	for _, tt := range tests {
		text, err := json.Marshal(tt.value)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(tt.want) {
			if _, ok := got[name]; !ok {
				t.Errorf("%T has no %q", tt.value, name)
			}
		}
	}
}

func TestLinesAreReadWhole(t *testing.T) {
	long := strings.Repeat("x", 600<<10) // longer than the reader's buffer
	tests := []struct {
		name, in string
		want     []string
		bad      bool
	}{
		{"nothing", "", nil, false},
		{"no last end", "a\n\nb", []string{"a", "", "b"}, false},
		{"last end", "a\nb\n", []string{"a", "b"}, false},
		{"long line", "a\n" + long + "\nb\n", []string{"a", long, "b"}, false},
		{"too long", "a\n" + strings.Repeat("x", maxLine+1) + "\n", []string{"a"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			portions := make(chan portion)
			go readPortions(t.Context(), strings.NewReader(tt.in), portions)
			var got []string
			var bad error
			for p := range portions {
				got = append(got, p.lines...)
				bad = errors.Join(bad, p.err)
			}
			if !slices.Equal(got, tt.want) || (bad != nil) != tt.bad {
				t.Errorf("read %d lines, %v, expected %d", len(got), bad, len(tt.want))
			}
		})
	}
}

func TestHeldLogComesAfterTheReason(t *testing.T) {
	var out bytes.Buffer
	h := &heldWriter{w: &out}
	e := &env{err: &out}
	fmt.Fprintln(h, "logged")
	err := e.refuse(h, errors.New("reason"))
	fmt.Fprintln(h, "later")
	if got := out.String(); got != "raftstream: reason\nlogged\nlater\n" || statusOf(err) != statusFailed {
		t.Errorf("wrote %q, %v", got, err)
	}
}
