package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/fsm"
)

// following is a run of events --follow in this process, read line by line.
type following struct {
	t         *testing.T
	lines     *bufio.Scanner
	interrupt context.CancelFunc
	ended     chan int
	last      uint64 // index of the last event
}

func (n *testNode) follow(args ...string) *following {
	ctx, cancel := context.WithCancel(n.t.Context())
	r, w := io.Pipe()
	e, _, stderr := testEnv(map[string]string{"RAFTSTREAM_ADDR": fmt.Sprintf("127.0.0.1:%d", n.ports[0])}, "")
	e.out = w
	f := &following{t: n.t, lines: bufio.NewScanner(r), interrupt: cancel, ended: make(chan int, 1)}
	go func() {
		status := e.run(ctx, append([]string{"-o", "json", "--timeout", "60s", "events", "--follow"}, args...))
		_ = w.CloseWithError(io.EOF)
		if status != 0 {
			n.t.Log(stderr)
		}
		f.ended <- status
	}()
	return f
}

// until reads events up to the next one of a kind.
func (f *following) until(kind string) eventJSON {
	f.t.Helper()
	for f.lines.Scan() {
		var e eventJSON
		if err := json.Unmarshal(f.lines.Bytes(), &e); err != nil {
			f.t.Fatalf("%q: %v", f.lines.Text(), err)
		}
		if e.Index < f.last {
			f.t.Errorf("event %+v came after one of entry %d", e, f.last)
		}
		f.last = e.Index
		if e.Kind == kind {
			return e
		}
	}
	f.t.Fatalf("events ended before %q", kind)
	return eventJSON{}
}

func TestEventsTellWhatHappensThroughARestart(t *testing.T) {
	n := newTestNode(t)
	f := n.follow()
	f.until(fsm.EventSessionOpened)
	out := "out=" + filepath.Join(t.TempDir(), "w")
	n.must(&submittedJSON{}, "", "submit", "countwords", "--name", "wc", "--batch", "100ms", "--param", out)
	if e := f.until(fsm.EventApplicationSubmitted); e.App != "wc" || e.AppID == 0 || e.TimeMS == 0 || e.Text == "" || e.Index == 0 {
		t.Errorf("%+v, expected the submission of wc", e)
	}
	n.stop()
	n.start()
	f.until(fsm.EventLeaderChanged) // of the second start: the first was before the submission
	n.must(&changedJSON{}, "", "stop", "wc", "--wait")
	f.until(fsm.EventApplicationEnded)
	f.interrupt()
	if status := <-f.ended; status != 0 {
		t.Errorf("status %d after it was interrupted, expected 0", status)
	}

	status, all, stderr := n.command("", "events")
	if status != 0 || !strings.HasPrefix(all, "TIME") || !strings.Contains(all, fsm.EventApplicationEnded) {
		t.Errorf("status %d, %q, %s", status, all, stderr)
	}
	if status, ours, _ := n.command("", "events", "wc", "--stale"); status != 0 || strings.Contains(ours, fsm.EventSessionOpened) ||
		!strings.Contains(ours, fsm.EventApplicationSubmitted) {
		t.Errorf("status %d, events of wc are %q", status, ours)
	}
	status, rest, _ := n.command("", "-o", "json", "events", "wc", "--after", "1000000")
	if status != 0 || rest != "" {
		t.Errorf("status %d, %q, expected nothing after the end", status, rest)
	}
	if status, stdout, stderr := n.command("", "events", "nobody"); status != 1 || stdout != "" || !strings.Contains(stderr, `"nobody"`) {
		t.Errorf("status %d, %q, %q, expected a refusal that names the application", status, stdout, stderr)
	}
}

func TestMembersAreChangedOnlyWhereAClusterIsLeft(t *testing.T) {
	n := newTestNode(t)
	var m membersJSON
	n.must(&m, "", "members")
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"members", "remove", "n1"}, 1, "it leads"},
		{[]string{"members", "remove", m.Members[0].ID, "--force"}, 1, "it leads"},
		{[]string{"members", "remove", "n7"}, 1, `"n7"`},
		{[]string{"members", "remove"}, 2, "remove NAME|ID"},
		{[]string{"members", "transfer"}, 1, "no other driver"},
		{[]string{"members", "transfer", "n7"}, 1, `"n7"`},
		{[]string{"members", "transfer", "n1"}, 0, ""},
		{[]string{"members", "dance"}, 2, "dance"},
	} {
		status, _, stderr := n.command("", test.args...)
		first, _, _ := strings.Cut(stderr, "\n")
		if status != test.status || !strings.Contains(first, test.want) {
			t.Errorf("%v: status %d, %q, expected status %d and %q", test.args, status, stderr, test.status, test.want)
		}
	}
	var changed memberChangedJSON
	n.must(&changed, "", "members", "transfer", "n1")
	if changed.Name != "n1" || changed.ID != m.Members[0].ID || changed.Changed || changed.Message == "" {
		t.Errorf("%+v, expected that n1 leads as before", changed)
	}
}

func TestEventsWithoutANodeGiveUp(t *testing.T) {
	for _, more := range [][]string{nil, {"--follow"}} {
		e, _, stderr := testEnv(nil, "")
		args := append([]string{"--addr", "127.0.0.1:1", "--timeout", "200ms", "-o", "json", "events"}, more...)
		if status := e.run(t.Context(), args); status != 3 || !strings.Contains(stderr.String(), "127.0.0.1:1") {
			t.Errorf("events %v: status %d, %q, expected status 3 and the address", more, status, stderr)
		}
	}
}
