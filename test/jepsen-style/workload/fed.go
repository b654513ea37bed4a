package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
)

// text gives a record's text. It is a function of what it is given, so that an oracle knows a record without having seen
// it.
type text func(producer string, position uint64) string

// fed is a workload of one application whose records producers send. They lose their clients in the middle of operations
// and come again: some go on where the cluster says, some give all their records again, some take a new name and leave
// the end of the old one open.
type fed struct {
	name   string
	submit func(e *Env) *raftstreamv1.SubmitRequest
	text   func(seed uint64) text
	check  func(v *evidence) []checker.Result

	app       *application
	producers []*producer
}

const (
	fedProducers = 4
	loseEvery    = 4 * time.Second // between losses of one producer's client, more or less
)

func (w *fed) Name() string { return w.name }

func (w *fed) Start(ctx context.Context, e *Env) (err error) {
	r := w.submit(e)
	r.Name = w.name
	w.app, err = begin(ctx, e, r)
	for k := range fedProducers {
		w.producers = append(w.producers, w.producer(e, fmt.Sprintf("p%d", k)))
	}
	return err
}

func (w *fed) producer(e *Env, name string) *producer {
	return newProducer(e, w.name, w.app, name, w.text(e.Seed))
}

func (w *fed) Run(ctx context.Context, e *Env) error {
	var work sync.WaitGroup
	for k := range w.producers {
		work.Go(func() { w.live(ctx, e, k) })
	}
	work.Wait()
	return nil
}

// live is a producer's life. The first one never loses its client, the second goes on where the cluster says, the third
// gives everything again, the fourth takes a new name.
func (w *fed) live(ctx context.Context, e *Env, k int) {
	random := rand.New(rand.NewPCG(e.Seed, uint64(k)))
	w.producers[k].repeat = k == 2
	for name := 1; ctx.Err() == nil; name++ {
		life, end := context.WithCancel(ctx)
		losses := lossesOf(random)
		if k == 0 {
			losses = func() time.Duration { return 0 }
		}
		w.producers[k].run(life, float64(e.Rate)/fedProducers, func() time.Duration {
			after := losses()
			if after > 0 && k == 3 {
				end()
			}
			return after
		})
		end()
		if ctx.Err() == nil {
			w.producers[k].lose() // nobody comes back for what is open
			w.producers[k] = w.producer(e, fmt.Sprintf("p%d.%d", k, name))
		}
	}
}

// lossesOf says before each operation how long the client has to live, 0 for long.
func lossesOf(random *rand.Rand) func() time.Duration {
	wait := func() time.Time { return time.Now().Add(loseEvery/2 + time.Duration(random.Int64N(int64(loseEvery)))) }
	next := wait()
	return func() time.Duration {
		if time.Now().Before(next) {
			return 0
		}
		next = wait()
		return 1 + time.Duration(random.Int64N(int64(200*time.Millisecond)))
	}
}

func (w *fed) Finish(ctx context.Context, e *Env) error {
	return errors.Join(finish(ctx, w.producers), w.app.drain(ctx, e))
}

// finish brings all producers to their end.
func finish(ctx context.Context, producers []*producer) error {
	errs := make([]error, len(producers))
	var work sync.WaitGroup
	for i, p := range producers {
		work.Go(func() { errs[i] = p.finish(ctx) })
	}
	work.Wait()
	return errors.Join(errs...)
}

func (w *fed) Check(dir string, run *checker.Run) []checker.Result {
	v, err := gather(w.name, dir, run)
	if err != nil {
		return []checker.Result{unknown("evidence", w.name, err)}
	}
	return w.check(v)
}
