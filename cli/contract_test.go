package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// -o json of every command is one JSON value and nothing else on stdout.
func TestEveryCommandPrintsJSON(t *testing.T) {
	n := newTestNode(t)
	out := "out=" + filepath.Join(t.TempDir(), "w")
	for _, c := range []struct {
		stdin string
		args  []string
		names string // fields of the value
	}{
		{"", []string{"members"}, "term leader members"},
		{"", []string{"members", "--stale"}, "term leader members"},
		{"", []string{"apps"}, "apps"},
		{"", []string{"submit", "countwords", "--name", "wc", "--batch", "100ms", "--param", out}, "name id"},
		{"a b\n", []string{"ingest", "wc", "--producer", "p"}, "lines"},
		{"", []string{"apps", "--stale"}, "apps"},
		{"", []string{"app", "wc"}, "name app state batch_ms zero_time_ms last_allocated_ms last_completed_ms pending_batches records_received records_processed coordinator id error"},
		{"", []string{"batches", "wc", "--last", "3"}, "batches"},
		{"", []string{"receivers"}, "receivers"},
		{"", []string{"receivers", "wc"}, "receivers"},
		{"", []string{"members", "transfer", "n1"}, "name id changed message"},
		{"", []string{"ledger"}, "applied_index state_hash"},
		{"", []string{"stop", "wc", "--wait"}, "name"},
		{"", []string{"submit", "countwords", "--name", "again", "--batch", "1s", "--param", out + "2"}, "name id"},
		{"", []string{"stop", "again", "--now"}, "name"},
		{"", []string{"version"}, "version commit"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			status, stdout, stderr := n.command(c.stdin, append([]string{"-o", "json"}, c.args...)...)
			var got map[string]json.RawMessage
			if err := json.Unmarshal([]byte(stdout), &got); err != nil || status != 0 {
				t.Fatalf("status %d, stdout %q: %v; stderr %q", status, stdout, err, stderr)
			}
			for _, name := range strings.Fields(c.names) {
				if _, ok := got[name]; !ok {
					t.Errorf("%s has no %q", stdout, name)
				}
			}
		})
	}
}

// A node that is started takes what flags leave out from the environment, and what that leaves out from the file.
func TestStartedNodeTakesFlagsThenEnvironmentThenFile(t *testing.T) {
	ports, err := freePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "node.yaml")
	text := fmt.Sprintf("name: from-file\nhttp-port: 1\nrpc-port: 2\ngossip-port: %d\nbootstrap-expect: 1\ndisk-reserve: 0\nroles: [driver]\n", ports[1])
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &testNode{t: t, ports: ports, log: &lockedBuffer{}, ended: make(chan int, 1)}
	e, _, _ := testEnv(map[string]string{
		"RAFTSTREAM_CONFIG": file, "RAFTSTREAM_RPC_PORT": fmt.Sprint(ports[0]), "RAFTSTREAM_HTTP_PORT": "3",
		"RAFTSTREAM_DATA": filepath.Join(t.TempDir(), "data"),
	}, "")
	e.out, e.err = io.Discard, n.log
	n.run(e, "start", "--http-port", fmt.Sprint(ports[2]))
	defer n.stop()
	var m membersJSON
	n.must(&m, "", "members")
	if len(m.Members) != 1 || m.Members[0].Name != "from-file" || strings.Join(m.Members[0].Roles, ",") != "driver" ||
		!strings.HasSuffix(m.Members[0].HTTPAddr, fmt.Sprint(":", ports[2])) {
		t.Errorf("members are %+v, expected a driver from-file with http port %d", m.Members, ports[2])
	}
}

func TestShellsCanComplete(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		e, stdout, stderr := testEnv(nil, "")
		if status := e.run(t.Context(), []string{"completion", shell}); status != 0 || !strings.Contains(stdout.String(), "raftstream") {
			t.Errorf("completion %s: status %d, %d bytes, %s", shell, status, stdout.Len(), stderr)
		}
	}
	for _, wrong := range [][]string{{"completion", "tcsh"}, {"completion", "bash", "zsh"}} {
		e, _, stderr := testEnv(nil, "")
		if status := e.run(t.Context(), wrong); status != 2 || stderr.Len() == 0 {
			t.Errorf("%v: status %d, %q, expected wrong usage", wrong, status, stderr)
		}
	}
	e, stdout, _ := testEnv(nil, "")
	if status := e.run(t.Context(), []string{"__complete", "mem"}); status != 0 || !strings.Contains(stdout.String(), "members") {
		t.Errorf("status %d, %q, expected members", status, stdout)
	}
}
