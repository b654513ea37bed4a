package workload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
	"github.com/raftstream/raftstream/test/jepsen-style/programs"
)

// resume sends records through an application whose code fails for good now and then. An operator sees it, mends the cause,
// and resumes the application; whoever sends notices nothing.
type resume struct {
	fed
	trap string // path of the file that the program trips over
}

const (
	trapEvery = 6 * time.Second // from the end of one failure to the next
	trapMost  = 5 * time.Second // that a failure is waited for: a cluster that is broken has no time to fail
)

func newResume() Workload {
	w := &resume{}
	w.fed = fed{
		name: "resume",
		submit: func(e *Env) *raftstreamv1.SubmitRequest {
			w.trap = filepath.Join(e.Dir, "trap")
			return &raftstreamv1.SubmitRequest{
				Program: "brittle", BatchMs: 500, BlockMs: 50,
				Params: map[string]string{"out": filepath.Join(e.Dir, outputsPrefix), "trap": w.trap},
			}
		},
		text: func(uint64) text { return identity },
		check: func(v *evidence) []checker.Result {
			return append(v.once(), v.contents(), v.resumptions())
		},
	}
	return w
}

func (w *resume) Run(ctx context.Context, e *Env) error {
	o, err := w.operator(e)
	if err != nil {
		return err
	}
	defer o.client.Close()
	var work sync.WaitGroup
	work.Go(func() {
		for n := 0; err == nil && ctx.Err() == nil; n++ {
			err = o.incident(ctx, n)
			rest(ctx, trapEvery)
		}
	})
	sent := w.fed.Run(ctx, e)
	work.Wait()
	return errors.Join(sent, err)
}

// rest waits for d or the end of ctx.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Finish leaves no trap, and no failure of one.
func (w *resume) Finish(ctx context.Context, e *Env) error {
	o, err := w.operator(e)
	if err != nil {
		return err
	}
	defer o.client.Close()
	if err := o.mend(); err != nil {
		return err
	}
	// A failure may still be on its way, and a failed application does not stop.
	drained, end := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { every(drained, 500*time.Millisecond, func() { o.resumed(drained, 1) }) })
	err = errors.Join(finish(ctx, w.producers), o.idle(ctx))
	end()
	work.Wait()
	return errors.Join(err, w.app.drain(ctx, e))
}

// operator watches the application.
type operator struct {
	reader
	trap string
}

func (w *resume) operator(e *Env) (*operator, error) {
	c, err := e.Client()
	return &operator{reader: reader{app: w.app, actor: newActor(e, w.Name(), ""), client: c}, trap: w.trap}, err
}

// incident sets the trap, waits until the application has failed over it, mends it, and resumes the application. Every third
// one is resumed too early, and fails again; of every third one the operator resumes twice. The error says that the trap cannot
// be set or mended: nothing of the cluster.
func (o *operator) incident(ctx context.Context, n int) error {
	if err := os.WriteFile(o.trap, nil, 0o644); err != nil {
		return fmt.Errorf("set the trap: %w", err)
	}
	o.fails(ctx)
	if n%3 == 1 {
		o.resumed(ctx, 1)
		o.fails(ctx)
	}
	if err := o.mend(); err != nil {
		return err
	}
	o.resumed(ctx, 1+n%3/2)
	return nil
}

// fails waits for a failure, for a while: reads that it cuts short harm nothing.
func (o *operator) fails(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, trapMost)
	defer cancel()
	every(limited, 200*time.Millisecond, func() {
		if o.counts(limited).State == history.Failed {
			cancel()
		}
	})
}

func (o *operator) mend() error {
	if err := os.Remove(o.trap); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mend what the application trips over: %w", err)
	}
	return nil
}

// resumed resumes the application if it has failed, and says so several times where times is more than 1. What has no answer
// is asked again under the same key, until ctx ends: in Run as an operation that is not cut short.
func (o *operator) resumed(ctx context.Context, times int) {
	op, cancel := operation(ctx)
	seen := o.counts(op)
	cancel()
	if seen.State != history.Failed {
		return
	}
	asked := history.Resumption{App: o.app.Name, ID: o.app.ID, After: seen.Resumed}
	for times > 0 {
		err := o.wish(ctx, asked)
		switch {
		case refusal(err) != "":
			return
		case err == nil:
			times--
		case ctx.Err() != nil:
			return
		}
	}
}

func (o *operator) wish(ctx context.Context, asked history.Resumption) error {
	return o.actor.change(history.Resume, asked, func() (reply, error) {
		op, cancel := operation(ctx)
		defer cancel()
		r, err := o.client.Resume(op, &raftstreamv1.ResumeRequest{Id: asked.ID, AfterIndex: &asked.After})
		answer := asked
		answer.Refused = refusal(err)
		return reply{value: answer, index: r.GetRaftIndex()}, err
	})
}

// idle waits until the application runs and no batch is pending, which could still fail.
func (o *operator) idle(ctx context.Context) error {
	err := until(ctx, func() (bool, error) {
		r, err := o.client.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: o.app.ID})
		a := r.GetApp()
		return stateOf(a) == history.Running && a.GetRecordsQueued() == 0 && a.GetPendingBatches() == 0, err
	})
	if err != nil {
		return fmt.Errorf("%s does not come to work after its last failure: %w", o.app.Name, err)
	}
	return nil
}

// resumptions holds what the operator was told against the ledger: each wish took effect once, and an application is shown as
// failed exactly from its failure to its resumption.
func (v *evidence) resumptions() checker.Result {
	j := checker.Judging("resumptions", v.workload)
	turns, err := checker.Turns(v.run, v.app.ID)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	at, after := map[uint64]checker.Turn{}, map[uint64]uint64{}
	for _, t := range turns {
		if t.Failed {
			j.See("failures", 1)
			if !strings.Contains(t.Error, programs.Tripped) {
				j.Bad("at index %d the application failed, and not by its own code: %s", t.Index, t.Error)
			}
			continue
		}
		if other, ok := after[t.After]; ok && other != t.Index { // a repetition in the same entry is no other one
			j.Bad("the application was resumed at index %d after %d, which took effect at %d already", t.Index, t.After, other)
		}
		after[t.After], at[t.Index] = t.Index, t
	}
	j.See("resumptions", int64(len(at)))
	for i := range v.ops {
		o := &v.ops[i]
		if o.Invoke.F != history.Resume || o.Type() != history.OK {
			continue
		}
		asked, err := value[history.Resumption](o)
		if err != nil {
			j.Doubt("%v", err)
			continue
		}
		if t, ok := at[o.End.RaftIndex]; !ok || t.After != asked.After {
			j.Bad("event %d: the resumption after %d is said to have taken effect at index %d, the ledger has it at %d", o.End.Index, asked.After, o.End.RaftIndex, after[asked.After])
		}
	}
	for _, x := range viewsOf[history.Counts](v, history.Read, j) {
		j.See("views", 1)
		failed := false
		for _, t := range turns {
			if t.Index <= x.index {
				failed = t.Failed
			}
		}
		if shown := x.value.State == history.Failed; shown != failed {
			j.Bad("event %d: the application is shown as %s at index %d, by the ledger it has failed: %t", x.event, x.value.State, x.index, failed)
		}
	}
	return j.Result()
}
