package suite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/nemesis"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
)

func TestTheEndOfAProcessIsExplainedByItsFaultAloneAndByItsStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		known  standing
		status int
		byself meaning
		asked  string // what is wrong where it was asked to leave
	}{
		"in order":                           {standing{}, 0, surprise, ""},
		"refused, and nothing is wrong":      {standing{}, 1, surprise, "status 1"},
		"refused what is damaged":            {standing{damaged: true}, 1, refusal, ""},
		"crashed on what is damaged":         {standing{damaged: true}, 2, surprise, "status 2"},
		"its disk fails":                     {standing{mayEnd: true}, 1, explained, ""},
		"its disk fails and it crashes":      {standing{mayEnd: true}, 2, surprise, "status 2"},
		"at a failpoint":                     {standing{failpoints: true}, chaos.ExitFailpoint, explained, ""},
		"as at a failpoint, without any":     {standing{}, chaos.ExitFailpoint, surprise, "status 86"},
		"killed":                             {standing{damaged: true, mayEnd: true, failpoints: true}, -1, surprise, "was killed"},
		"killed, without a processor":        {standing{starved: true}, -1, surprise, ""},
		"failed, though without a processor": {standing{starved: true}, 1, surprise, "status 1"},
	} {
		if got := tt.known.meaning(tt.status); got != tt.byself {
			t.Errorf("%s: by itself %d, expected %d", name, got, tt.byself)
		}
		if got := tt.known.disorder(tt.status); (got == "") != (tt.asked == "") || !strings.Contains(got, tt.asked) {
			t.Errorf("%s: asked to leave: %q, expected %q", name, got, tt.asked)
		}
	}
}

func TestANodeMayOnlySurpriseSoOften(t *testing.T) {
	r := &run{}
	for n := 1; n <= 2*mostSurprises; n++ {
		if got := r.surprised("n1"); got != (n > mostSurprises) {
			t.Errorf("end %d of n1: left alone: %t", n, got)
		}
	}
	if r.surprised("n2") {
		t.Error("n2 is left alone for what n1 did")
	}
}

func TestWhatFaultsTellOfNodesIsInTheVerdict(t *testing.T) {
	r := &run{outcomes: []nemesis.Outcome{
		{Event: schedule.Event{ID: 4, Kind: schedule.SyncError}, Proof: chaos.Proof{Bites: 1, Violation: "n1 went on"}},
		{Event: schedule.Event{ID: 5, Kind: schedule.BitFlip}, Targets: []string{"n2"}, Proof: chaos.Proof{Bites: 1, Replaced: 1}},
		{Event: schedule.Event{ID: 6, Kind: schedule.Kill}, Targets: []string{"n2"}, Proof: chaos.Proof{Bites: 1}},
	}}
	r.behaved()
	if len(r.results) != 1 || r.results[0].Verdict != checker.Invalid || !strings.Contains(r.results[0].Details[0], "event 4 (sync-error): n1 went on") {
		t.Errorf("found %+v, expected one violation", r.results)
	}
	r.replace("n3", "4s after the start")
	if all := r.replacements(); len(all) != 1 || all[0].Verdict != checker.Valid || all[0].Counts["nodes"] != 2 || len(all[0].Details) != 2 {
		t.Errorf("replaced %+v, expected n2 and n3", all)
	}
	if all := (&run{}).replacements(); len(all) != 0 {
		t.Errorf("replaced %+v of none", all)
	}
}

func TestALogTellsOfADiskWithoutSpace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n1.log")
	text := "level=INFO msg=\"raft: disk has room again\"\nlevel=ERROR msg=\"raft: disk reserve is reached\"\nwrite wal/1: no space left on device"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if n, err := refusals(path); n != 2 || err != nil {
		t.Errorf("%d, %v, expected 2", n, err)
	}
	if _, err := refusals(path + "x"); err == nil {
		t.Error("a log that is not there says nothing")
	}
}
