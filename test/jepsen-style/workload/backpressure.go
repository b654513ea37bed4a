package workload

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// backpressure sends far more than program slow gets done, for a while. Everything that was acknowledged is processed in
// the end, and acknowledgements are quick again when the backlog is gone.
type backpressure struct {
	app       *application
	producers []*producer
}

const (
	burstProducers = 3
	burstRecords   = 12_000 // of each producer: the backlog of all is gone within seconds after the last fault
	burstRange     = 2_000  // of one operation
	slowPerSecond  = 5_000  // of each task

	calmProducer = "calm"
	calmProbes   = 20
	// calmLatency bounds the latency of 9 in 10 acknowledgements when there is no backlog and no fault.
	calmLatency = 2 * time.Second
)

func (*backpressure) Name() string { return "backpressure" }

func (w *backpressure) Start(ctx context.Context, e *Env) (err error) {
	w.app, err = begin(ctx, e, &raftstreamv1.SubmitRequest{
		Program: "slow", Name: w.Name(), BatchMs: 500, BlockMs: 50,
		Params: map[string]string{"out": filepath.Join(e.Dir, outputsPrefix), "per_second": strconv.Itoa(slowPerSecond)},
	})
	for k := range burstProducers {
		w.producers = append(w.producers, newProducer(e, w.Name(), w.app, fmt.Sprintf("p%d", k), identity))
	}
	return err
}

// Run sends as fast as it is let, until enough was sent, and looks at what waits.
func (w *backpressure) Run(ctx context.Context, e *Env) error {
	var work sync.WaitGroup
	for _, p := range w.producers {
		work.Go(func() {
			for p.acked < burstRecords && ctx.Err() == nil {
				op, cancel := operation(ctx)
				_ = p.send(op, max(p.tried, min(p.acked+burstRange, burstRecords)))
				cancel()
			}
		})
	}
	r, err := w.reader(e)
	if err != nil {
		return err
	}
	defer r.client.Close()
	every(ctx, 500*time.Millisecond, func() {
		op, cancel := operation(ctx)
		defer cancel()
		r.counts(op)
	})
	work.Wait()
	return nil
}

func (w *backpressure) reader(e *Env) (*reader, error) {
	c, err := e.Client()
	return &reader{app: w.app, actor: newActor(e, w.Name(), ""), client: c}, err
}

// Finish waits until there is no backlog, and looks how long acknowledgements take then.
func (w *backpressure) Finish(ctx context.Context, e *Env) error {
	if err := finish(ctx, w.producers); err != nil {
		return err
	}
	r, err := w.reader(e)
	if err != nil {
		return err
	}
	defer r.client.Close()
	err = until(ctx, func() (bool, error) {
		a, err := r.client.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: w.app.ID})
		return a.GetApp().GetRecordsQueued() == 0 && a.GetApp().GetPendingBatches() <= 1, err
	})
	if err != nil {
		return fmt.Errorf("the backlog does not go: %w", err)
	}
	calm := newProducer(e, w.Name(), w.app, calmProducer, identity)
	for n := range calmProbes {
		if err := calm.send(ctx, uint64(n)+1); err != nil {
			return err
		}
	}
	err = errors.Join(calm.finish(ctx), w.app.drain(ctx, e))
	r.counts(ctx)
	return err
}

func (w *backpressure) Check(dir string, run *checker.Run) []checker.Result {
	v, err := gather(w.Name(), dir, run)
	if err != nil {
		return []checker.Result{unknown("exactly-once", w.Name(), err)}
	}
	return append(v.once(), v.calm(), v.backlog())
}

// calm looks how long acknowledgements took after the backlog was gone.
func (v *evidence) calm() checker.Result {
	j := checker.Judging("latency", v.workload)
	var took []time.Duration
	for i := range v.ops {
		o := &v.ops[i]
		if r, err := value[history.Range](o); o.Invoke.F == history.Add && err == nil && r.Producer == calmProducer && o.Type() == history.OK {
			took = append(took, time.Duration(o.End.Time-o.Invoke.Time))
		}
	}
	j.See("acknowledgements", int64(len(took)))
	if len(took) == 0 {
		return j.Result()
	}
	slices.Sort(took)
	p90 := took[len(took)*9/10]
	j.Found.Counts["p90_ms"] = p90.Milliseconds()
	if p90 > calmLatency {
		j.Bad("9 in 10 acknowledgements took up to %v when there was no backlog, expected up to %v", p90, calmLatency)
	}
	return j.Result()
}

// backlog: there was one, and in the end all that was received is processed.
func (v *evidence) backlog() checker.Result {
	j := checker.Judging("backlog", v.workload)
	views := viewsOf[history.Counts](v, history.Read, j)
	most := int64(0)
	for _, x := range views {
		j.See("reads", 1)
		most = max(most, x.value.Received-x.value.Processed)
	}
	j.Found.Counts["most records that waited"] = most
	if len(views) == 0 {
		return j.Result()
	}
	last := views[len(views)-1].value
	if last.State != history.Stopped || last.Received != last.Processed {
		j.Bad("in the end the application is %s, %d records were received and %d processed", last.State, last.Received, last.Processed)
	}
	if acked := v.acked.Len(); last.Received < acked {
		j.Bad("in the end %d records were received, %d were acknowledged", last.Received, acked)
	}
	return j.Result()
}
