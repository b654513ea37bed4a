package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/raftstream/raftstream/chaos/nemesis"
	"github.com/raftstream/raftstream/chaos/runner"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/cluster"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// Times of a run.
const (
	startTime    = 60 * time.Second // until nodes and workloads run
	warmUp       = 3 * time.Second  // without faults: clients must get somewhere before anything is broken
	convergeTime = 90 * time.Second // after the last fault: beyond it is a violation, also on a busy machine
	finishTime   = 90 * time.Second // for all workloads to drain and stop
	patience     = 25 * time.Second // of an event whose nodes are taken by others
)

// run is one run: what its steps share.
type run struct {
	o        *Options
	began    time.Time
	log      *history.Log
	mark     *runner.Mark
	site     *site
	cluster  *cluster.Cluster
	nemesis  *nemesis.Nemesis
	plan     schedule.Schedule
	probe    *prober
	samples  *sampler
	outcomes []nemesis.Outcome
	ledgers  map[string]string

	stop    context.CancelFunc // ends the workloads' Run
	working sync.WaitGroup

	mu        sync.Mutex
	results   []checker.Result // of the run itself
	replaced  []string         // nodes whose damaged disk was, and when
	surprises map[string]int   // ends by themselves that nothing explains, by node
}

// Run runs once. The error says that there is no verdict: something here is wrong, and not with the cluster.
func Run(ctx context.Context, o Options) (Verdict, error) {
	if err := o.settle(); err != nil {
		return Verdict{}, err
	}
	r := &run{o: &o, began: time.Now()}
	v, err := r.all(ctx)
	if err != nil {
		return v, fmt.Errorf("run of seed %d in %s: %w", o.Seed, o.Dir, err)
	}
	return v, writeJSON(o.Dir, "verdict.json", v)
}

// all is the whole run: what was opened is closed whatever fails.
func (r *run) all(ctx context.Context) (v Verdict, err error) {
	if r.log, err = history.Create(filepath.Join(r.o.Dir, "history.jsonl")); err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"mark the run", r.begin},
		{"prepare", r.prepare},
		{"start the nodes", r.startNodes},
		{"start the workloads", r.startWorkloads},
		{"run the schedule", r.runSchedule},
		{"converge", r.converge},
		{"finish the workloads", r.finish},
		{"stop the nodes", r.stopNodes},
		{"dump the ledgers", r.dump},
	}
	for _, s := range steps {
		if err = s.do(ctx); err == nil {
			err = ctx.Err()
		}
		if err != nil {
			r.end()
			return v, errors.Join(fmt.Errorf("%s: %w", s.what, err), r.log.Close())
		}
	}
	if err := r.log.Close(); err != nil {
		return v, err
	}
	return r.verdict()
}

// begin sweeps what dead runners left, and marks this run so that what it leaves can be swept, should it die.
func (r *run) begin(context.Context) (err error) {
	swept, err := runner.Sweep(runner.Dir())
	for _, s := range swept {
		r.o.Say("%s", s)
	}
	if err != nil {
		r.o.Say("NOT SWEPT: %v", err)
	}
	r.mark, err = runner.Begin(runner.Dir(), r.o.Dir, r.o.Node.Path)
	return err
}

// close undoes what the run opened. The mark stays where something of that is left.
func (r *run) close() error {
	if r.site != nil {
		if err := r.site.close(); err != nil {
			return err
		}
	}
	if r.mark == nil {
		return nil
	}
	return r.mark.End()
}

// found notes something of the run itself that checkers do not see in its files.
func (r *run) found(name string, verdict checker.Verdict, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, checker.Result{Checker: name, Verdict: verdict, Details: []string{fmt.Sprintf(format, args...)}})
}

// prepare opens the site and settles the schedule.
func (r *run) prepare(context.Context) (err error) {
	r.o.Say("seed %d, %d nodes, layer %d, workloads %v, folder %s", r.o.Seed, r.o.Nodes, r.o.Layer, names(r.o.Workloads), r.o.Dir)
	if r.site, err = openSite(r.o, r.ended, r.left); err != nil {
		return err
	}
	r.cluster = r.site.cluster
	if r.plan, err = r.o.schedule(r.site.available(), r.site.points); err != nil {
		return err
	}
	if err := r.site.lacks(r.plan); err != nil {
		return err
	}
	r.nemesis = nemesis.New(nemesis.Options{
		Nodes: r.cluster, Injectors: r.site.injectors, Journal: journal(r.log, r.o.Say), Patience: patience,
	})
	if err := writeJSON(r.o.Dir, "schedule.json", r.plan); err != nil {
		return err
	}
	if err := writeJSON(r.o.Dir, "test.json", map[string]any{
		"seed": r.o.Seed, "nodes": r.o.Nodes, "layer": r.o.Layer, "rate": r.o.Rate, "time_ms": r.o.Time.Milliseconds(),
		"workloads": names(r.o.Workloads), "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH, "cpus": runtime.NumCPU(),
		"node": r.o.Node, "left_out": r.site.leftOut, "began": r.began.UTC(),
	}); err != nil {
		return err
	}
	return r.writeRepeat()
}

// writeRepeat leaves the command that repeats the run.
func (r *run) writeRepeat() error {
	command := "raftstream chaos replay"
	if len(r.o.Replay) > 0 {
		command = quoted(r.o.Replay)
	}
	text := "#!/bin/sh\n# Runs the schedule of this folder again, in a new folder.\nexec " + command + " " + quoted([]string{filepath.Join(r.o.Dir, "schedule.json")}) + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(r.o.Dir, "repeat.sh"), []byte(text), 0o755); err != nil {
		return fmt.Errorf("write repeat.sh: %w", err)
	}
	return nil
}

func (r *run) startNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := r.cluster.StartAll(); err != nil {
		return err
	}
	var err error
	if r.samples, err = startSampler(r.cluster, r.log, filepath.Join(r.o.Dir, samplesFile)); err != nil {
		return err
	}
	return cluster.Await(ctx, "ready", r.cluster.Ready)
}

// env is what a workload of the run works with.
func (r *run) env(w workload.Workload) *workload.Env {
	return &workload.Env{
		Dir: workloadDir(r.o.Dir, w), History: r.log, Client: r.cluster.Client, At: r.cluster.At, Nodes: r.cluster.Names(),
		Seed: r.o.Seed, Rate: max(1, r.o.Rate/len(r.o.Workloads)),
	}
}

// workloadDir is the folder of a workload in that of a run.
func workloadDir(dir string, w workload.Workload) string { return filepath.Join(dir, "w", w.Name()) }

// startWorkloads submits what workloads need and lets them work, without faults for a while.
func (r *run) startWorkloads(ctx context.Context) error {
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var err error
	if r.probe, err = startProber(starting, r.cluster, r.log); err != nil {
		return err
	}
	for _, w := range r.o.Workloads {
		if err := os.MkdirAll(workloadDir(r.o.Dir, w), 0o755); err != nil {
			return err
		}
		if err := w.Start(starting, r.env(w)); err != nil {
			return fmt.Errorf("workload %s: %w", w.Name(), err)
		}
	}
	running, stop := context.WithCancel(ctx)
	r.stop = stop
	for _, w := range r.o.Workloads {
		r.working.Go(func() {
			if err := w.Run(running, r.env(w)); err != nil {
				r.found("workloads", checker.Invalid, "%s broke off: %v", w.Name(), err)
			}
		})
	}
	return wait(ctx, warmUp)
}

// runSchedule lets the nemesis do its work, to the end of the run's time.
func (r *run) runSchedule(ctx context.Context) error {
	over := time.Now().Add(time.Duration(r.plan.TimeMS) * time.Millisecond)
	r.outcomes = r.nemesis.Run(ctx, r.plan)
	r.behaved()
	return wait(ctx, time.Until(over))
}

// converge waits until all nodes are there and have done all work, while the workloads go on.
func (r *run) converge(ctx context.Context) error {
	if err := r.cluster.Mend(); err != nil {
		r.found("convergence", checker.Invalid, "%v", err)
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, convergeTime)
	defer cancel()
	converged := func(ctx context.Context) error {
		return r.cluster.Converged(ctx, probeName) // its batches follow each other as closely as they can: a slow machine is behind for long
	}
	if err := cluster.Await(limited, "converged", converged); err != nil {
		r.found("convergence", checker.Invalid, "%v after the last fault was healed: %v", convergeTime, err)
	} else {
		r.mu.Lock()
		r.results = append(r.results, checker.Result{
			Checker: "convergence", Verdict: checker.Valid, Counts: map[string]int64{"milliseconds": time.Since(began).Milliseconds()},
		})
		r.mu.Unlock()
	}
	return ctx.Err()
}

// end ends the workloads, the prober and the sampler.
func (r *run) end() {
	if r.stop != nil {
		r.stop()
		r.working.Wait()
		r.stop = nil
	}
	if r.probe != nil {
		r.probe.close()
	}
	if r.samples != nil {
		_ = r.samples.close() // there is an error to tell already
	}
}

// finish lets the workloads drain, compares the states of all nodes, and ends the prober.
func (r *run) finish(ctx context.Context) error {
	r.stop()
	r.working.Wait()
	r.stop = nil
	limited, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	for _, w := range r.o.Workloads {
		if err := w.Finish(limited, r.env(w)); err != nil {
			r.found("drain", checker.Invalid, "workload %s: %v", w.Name(), err)
		}
	}
	if err := r.probe.stop(limited); err != nil {
		r.found("drain", checker.Invalid, "prober: %v", err)
	}
	r.compareHashes(limited)
	return ctx.Err()
}

// compareHashes holds the states of live nodes against each other.
func (r *run) compareHashes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, convergeTime)
	defer cancel()
	hashes, err := r.cluster.Hashes(ctx)
	if err != nil {
		r.found("state-hashes", checker.Invalid, "%v", err)
		return
	}
	for _, h := range hashes {
		e := history.Event{Process: r.log.Process(), Type: history.Invoke, F: "state-hash", Node: h.Node}
		r.log.Append(e, nil)
		e.Type, e.RaftIndex = history.OK, h.Index
		r.log.Append(e, h.Hash) // its ledger must still have that much when it is dumped
		if h.Hash != hashes[0].Hash || h.Hash == "" {
			r.found("state-hashes", checker.Invalid, "at index %d the state of %s is %q, that of %s %q", h.Index, h.Node, h.Hash, hashes[0].Node, hashes[0].Hash)
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, checker.Result{
		Checker: "state-hashes", Verdict: checker.Valid, Counts: map[string]int64{"nodes": int64(len(hashes)), "index": int64(hashes[0].Index)},
	})
}

func (r *run) stopNodes(context.Context) error {
	return errors.Join(r.samples.close(), r.cluster.Close())
}

// dump writes the ledgers of the stopped nodes.
func (r *run) dump(ctx context.Context) (err error) {
	if r.ledgers, err = r.cluster.Dump(ctx, filepath.Join(r.o.Dir, "ledger")); err != nil {
		r.found("ledger-dumps", checker.Unknown, "%v", err)
	}
	return nil
}

// wait waits for d or the end of ctx.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
