package suite

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/cluster"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

var realFlag = flag.Bool("real", false, "also run clusters of real processes")

// lines is the least workload there is: numbered lines through a cluster, each of which must come out once.
type lines struct {
	sent, acked atomic.Int64
	in          *client.Ingester
	c           *client.Client
}

func (*lines) Name() string { return "lines" }

func (l *lines) Start(ctx context.Context, e *workload.Env) error {
	c, err := e.Client()
	if err != nil {
		return err
	}
	l.c = c
	if _, err := c.Submit(ctx, &raftstreamv1.SubmitRequest{
		Program: "grep", Name: "lines", BatchMs: 200, Params: map[string]string{"source": "ingest", "pattern": ".", "out": filepath.Join(e.Dir, "out")},
	}); err != nil {
		return err
	}
	l.in, err = c.Ingest(context.WithoutCancel(ctx), "lines", client.IngestOptions{Producer: "p"})
	return err
}

func (l *lines) Run(ctx context.Context, e *workload.Env) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for range max(1, e.Rate/100) {
			if l.in.Send(ctx, fmt.Sprint(l.sent.Load()+1)) != nil {
				return nil
			}
			l.sent.Add(1)
		}
	}
}

func (l *lines) Finish(ctx context.Context, _ *workload.Env) error {
	defer l.c.Close()
	if err := l.in.Close(ctx); err != nil {
		return err
	}
	l.acked.Store(int64(l.in.Acked()))
	if _, err := l.c.Stop(ctx, &raftstreamv1.StopRequest{Name: "lines"}); err != nil {
		return err
	}
	return cluster.Await(ctx, "stopped", func(ctx context.Context) error {
		r, err := l.c.GetApp(ctx, &raftstreamv1.GetAppRequest{Name: "lines"})
		if err == nil && r.GetApp().GetState() != raftstreamv1.AppState_APP_STATE_STOPPED {
			err = fmt.Errorf("it is %s", r.GetApp().GetState())
		}
		return err
	})
}

func (l *lines) Check(dir string, _ *checker.Run) []checker.Result {
	r := checker.Result{Checker: "exactly-once", Workload: "lines", Verdict: checker.Valid, Counts: map[string]int64{acknowledged: l.acked.Load()}}
	got := map[string]int64{}
	parts, _ := filepath.Glob(filepath.Join(dir, "out-*", "part-*"))
	for _, p := range parts {
		f, err := os.Open(p)
		if err != nil {
			r.Verdict = checker.Unknown
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			got[s.Text()]++
		}
		f.Close()
	}
	for i := int64(1); i <= l.acked.Load(); i++ {
		switch n := got[fmt.Sprint(i)]; {
		case n == 0:
			r.Lost++
		case n > 1:
			r.Duplicated += n - 1
		}
	}
	r.Phantom = int64(len(got)) - (l.acked.Load() - r.Lost)
	if r.Lost+r.Duplicated+r.Phantom > 0 {
		r.Verdict = checker.Invalid
	}
	return []checker.Result{r}
}

func TestARunUnderKillsAndPausesIsGreen(t *testing.T) {
	if !*realFlag {
		t.Skip("real processes for half a minute; run with -real")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "raftstream")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/raftstream/raftstream/cmd/node").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	v, err := Run(t.Context(), Options{
		Workloads: []workload.Workload{&lines{}}, Kinds: []schedule.Kind{schedule.Kill, schedule.Pause}, Seed: 1, Time: 15 * time.Second,
		Every: 2 * time.Second, Dir: filepath.Join(dir, "run"), Node: Stock(binary), Layer: Loopback, Say: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.MarshalIndent(v, "", " ")
	t.Logf("%s\n%s\n%s", v.Line(), strings.Join(v.Reasons, "\n"), text)
	if v.Outcome != Green {
		t.Errorf("the run is %s", v.Outcome)
	}
}
