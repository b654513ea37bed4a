package suite

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// oneNode is a node whose process is whatever it is said to be.
type oneNode struct{ pid int }

func (*oneNode) Names() []string  { return []string{"n1"} }
func (n *oneNode) Pid(string) int { return n.pid }

func TestSamplesTellWhatAProcessHolds(t *testing.T) {
	if _, _, err := held(os.Getpid()); err != nil {
		t.Skip("LEFT OUT: no /proc that tells: ", err)
	}
	dir := t.TempDir()
	log, err := history.Create(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	node := &oneNode{os.Getpid()}
	s, err := startSampler(node, log, filepath.Join(dir, samplesFile))
	if err != nil {
		t.Fatal(err)
	}
	s.end() // what follows is taken by hand
	s.work.Wait()
	more := make([]byte, 64<<20)
	for i := range more {
		more[i] = 1
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.take()
	more[0]++
	node.pid = ended.Process.Pid
	s.take()
	node.pid = os.Getpid()
	s.take()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	all, err := checker.LoadSamples(filepath.Join(dir, samplesFile))
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v, expected 3 samples", all, err)
	}
	if a, b := all[0], all[1]; b.Memory-a.Memory < 60<<20 || b.Files <= a.Files || a.Start != 1 || b.Start != 1 || a.Node != "n1" || b.Seconds < a.Seconds {
		t.Errorf("%+v, then %+v", a, b)
	}
	if all[2].Start != 3 {
		t.Errorf("%+v, expected that of the third process", all[2])
	}
}

func TestLeaksAreJudgedWhereAProcessLivedLongEnough(t *testing.T) {
	sampled := func(minutes int, memory func(i int) int64) string {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, samplesFile))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := range minutes * 30 {
			if err := json.NewEncoder(f).Encode(checker.Sample{Node: "n1", Start: 1, Seconds: float64(2 * i), Memory: memory(i), Files: int64(40 + i%9)}); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	noise := func(i int) int64 { return int64(80+i%40) << 20 }
	leak := func(i int) int64 { return noise(i) + int64(i)<<18 } // 450 MiB an hour
	for name, c := range map[string]struct {
		dir  string
		want checker.Verdict // "": there is none
	}{
		"half an hour":                    {sampled(30, noise), checker.Valid},
		"half an hour that leaks":         {sampled(30, leak), checker.Invalid},
		"a minute":                        {sampled(1, leak), ""},
		"a minute less than is judged":    {sampled(21, leak), ""},
		"nothing can be told":             {sampled(0, leak), ""},
		"nothing was noted: what is that": {t.TempDir(), checker.Unknown},
	} {
		results, facts := leaks(c.dir)
		var got checker.Verdict
		if len(results) == 1 {
			got = results[0].Verdict
		}
		if got != c.want || (len(facts) == 1) != (c.want == "") {
			t.Errorf("%s: %+v, %v, expected %q", name, results, facts, c.want)
		}
	}
}
