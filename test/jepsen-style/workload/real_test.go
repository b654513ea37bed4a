package workload_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

var (
	realFlag  = flag.String("real", "", "names of workloads, or all: run them on three real nodes, which are killed in turn")
	timeFlag  = flag.Duration("real-time", 15*time.Second, "for how long")
	rateFlag  = flag.Int("real-rate", 2000, "records or operations a second")
	killFlag  = flag.Duration("real-kill", 5*time.Second, "from one kill to the next; 0 for none")
	againFlag = flag.String("real-again", "", "folder of an earlier run: judge it again, and run nothing")
	keepFlag  = flag.String("real-keep", "", "directory that the run's folder stays in")
)

// lab is three nodes on loopback.
type lab struct {
	t     *testing.T
	dir   string
	bin   string
	names []string
	addrs map[string]string
	args  map[string][]string
	procs map[string]*chaos.Process
}

func newLab(t *testing.T, dir string) *lab {
	t.Helper()
	l := &lab{t: t, dir: dir, bin: filepath.Join(dir, "node"), addrs: map[string]string{}, args: map[string][]string{}, procs: map[string]*chaos.Process{}}
	build := exec.Command("go", "build", "-o", l.bin, "github.com/raftstream/raftstream/test/jepsen-style/node")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the node: %v\n%s", err, out)
	}
	ports, err := chaos.FreePorts(9)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		name := fmt.Sprintf("n%d", i+1)
		l.names = append(l.names, name)
		l.addrs[name] = fmt.Sprintf("127.0.0.1:%d", ports[3*i])
		l.args[name] = []string{
			"start", "--data", filepath.Join(dir, name), "--name", name, "--bind", "127.0.0.1", "--bootstrap-expect", "3",
			"--rpc-port", fmt.Sprint(ports[3*i]), "--gossip-port", fmt.Sprint(ports[3*i+1]), "--http-port", fmt.Sprint(ports[3*i+2]),
			"--join", fmt.Sprintf("127.0.0.1:%d", ports[(3*i+4)%9]), "--join", fmt.Sprintf("127.0.0.1:%d", ports[(3*i+7)%9]),
		}
	}
	for _, name := range l.names {
		l.start(name)
	}
	t.Cleanup(l.stop)
	return l
}

func (l *lab) start(name string) {
	l.t.Helper()
	p, err := chaos.StartProcess(l.bin, filepath.Join(l.dir, name+".log"), nil, l.args[name]...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.procs[name] = p
}

func (l *lab) stop() {
	for _, p := range l.procs {
		p.Stop(5 * time.Second)
	}
}

func (l *lab) client() (*client.Client, error) {
	var all []string
	for _, name := range l.names {
		all = append(all, l.addrs[name])
	}
	return client.Dial(all)
}

func (l *lab) env(name string, h *history.Log) *workload.Env {
	return &workload.Env{
		Dir: filepath.Join(l.dir, "w", name), History: h, Client: l.client, Nodes: l.names, Seed: 7, Rate: *rateFlag,
		At: func(node string) (*client.Client, error) { return client.Dial([]string{l.addrs[node]}) },
	}
}

// kills kills the nodes in turn until ctx ends; all run when it returns.
func (l *lab) kills(ctx context.Context, h *history.Log) {
	if *killFlag == 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(*killFlag)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		name := l.names[i%3]
		e := history.Event{Process: history.Nemesis, Type: history.Invoke, F: "kill", Node: name}
		h.Append(e, nil)
		if err := l.procs[name].Kill(); err != nil {
			l.t.Error(err)
		}
		timer := time.NewTimer(time.Duration(i%3) * 500 * time.Millisecond)
		<-timer.C
		l.start(name)
		e.Type = history.Info
		h.Append(e, nil)
	}
}

// run is what the suite does, in small.
func (l *lab) run(ctx context.Context, specs []workload.Spec) []checker.Result {
	l.t.Helper()
	path := filepath.Join(l.dir, "history.jsonl")
	h, err := history.Create(path)
	if err != nil {
		l.t.Fatal(err)
	}
	c, err := l.client()
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := c.ListMembers(ctx, &raftstreamv1.ListMembersRequest{}); err != nil {
		l.t.Fatal(err)
	}
	_ = c.Close()
	var all []workload.Workload
	each := func(what string, f func(w workload.Workload, e *workload.Env) error) {
		var work sync.WaitGroup
		for _, w := range all {
			work.Go(func() {
				if err := f(w, l.env(w.Name(), h)); err != nil {
					l.t.Errorf("%s %s: %v", what, w.Name(), err)
				}
			})
		}
		work.Wait()
	}
	for _, s := range specs {
		all = append(all, s.New())
	}
	each("start", func(w workload.Workload, e *workload.Env) error { return w.Start(ctx, e) })
	if l.t.Failed() {
		l.t.FailNow()
	}
	working, cancel := context.WithTimeout(ctx, *timeFlag)
	var faults sync.WaitGroup
	faults.Go(func() { l.kills(working, h) })
	each("run", func(w workload.Workload, e *workload.Env) error { return w.Run(working, e) })
	cancel()
	faults.Wait()
	each("finish", func(w workload.Workload, e *workload.Env) error { return w.Finish(ctx, e) })
	l.stop()
	if err := h.Close(); err != nil {
		l.t.Fatal(err)
	}
	l.dump()
	return judged(l.t, l.dir, specs)
}

// judged checks a folder.
func judged(t *testing.T, dir string, specs []workload.Spec) []checker.Result {
	t.Helper()
	events, err := history.Load(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	run := &checker.Run{Dir: dir, Events: events, Ledgers: map[string]string{}}
	for _, name := range []string{"n1", "n2", "n3"} {
		run.Nodes = append(run.Nodes, name)
		run.Ledgers[name] = filepath.Join(dir, name+".ledger.jsonl")
	}
	var results []checker.Result
	for _, s := range specs {
		results = append(results, s.New().Check(filepath.Join(dir, "w", s.Name), run)...)
	}
	return results
}

// dump writes the ledgers of the nodes, which have stopped.
func (l *lab) dump() {
	for _, name := range l.names {
		path := filepath.Join(l.dir, name+".ledger.jsonl")
		out, err := exec.Command(l.bin, "-o", "json", "ledger", "log", "--data", filepath.Join(l.dir, name)).Output()
		if err == nil {
			err = os.WriteFile(path, out, 0o644)
		}
		if err != nil {
			l.t.Errorf("ledger of %s: %v", name, err)
		}
	}
}

func TestWorkloadsHoldOnRealNodes(t *testing.T) {
	if *realFlag == "" {
		t.Skip("real processes: asked for with -real=all, or by the names of workloads")
	}
	specs := workload.All()
	if *realFlag != "all" {
		var err error
		if specs, err = workload.Named(strings.Split(*realFlag, ",")...); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if *keepFlag != "" {
		dir = *keepFlag
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), *timeFlag+2*time.Minute)
	defer cancel()
	var results []checker.Result
	if *againFlag != "" {
		results = judged(t, *againFlag, specs)
	} else {
		results = newLab(t, dir).run(ctx, specs)
	}
	for _, r := range results {
		t.Logf("%s %s: %s %v lost %d, duplicated %d, phantom %d", r.Workload, r.Checker, r.Verdict, r.Counts, r.Lost, r.Duplicated, r.Phantom)
		if r.Verdict == checker.Invalid {
			t.Errorf("%s", strings.Join(r.Details, "\n"))
		} else if r.Verdict == checker.Unknown {
			t.Logf("%s", strings.Join(r.Details, "\n"))
		}
	}
}
