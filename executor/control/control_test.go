package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/control"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// worker is a Handler that records.
type worker struct {
	held    []id.Block
	onBegin func(s id.Session) error

	mu       sync.Mutex
	sessions []id.Session
	orders   []job.ToExecutor
	deleted  []id.Block
}

func (w *worker) Session(_ context.Context, s id.Session) error {
	w.mu.Lock()
	w.sessions = append(w.sessions, s)
	w.mu.Unlock()
	if w.onBegin != nil {
		return w.onBegin(s)
	}
	return nil
}

func (w *worker) Inventory() []id.Block { return w.held }

func (w *worker) Delete(b []id.Block) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deleted = append(w.deleted, b...)
	return nil
}

func (w *worker) Order(m job.ToExecutor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders = append(w.orders, m)
}

// pass lets time pass in the bubble, and everything come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const store = id.Store("store")

// run runs a control against a driver inside a bubble.
func run(t *testing.T, w *worker, setUp func(*executortest.Driver), test func(*testing.T, *executortest.Driver, *control.Control)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := executortest.NewDriver()
		if setUp != nil {
			setUp(d)
		}
		c := control.New(control.Config{Dialer: d, Hello: job.Hello{Store: store}, Handler: w, Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		test(t, d, c)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := c.Request(t.Context(), &job.ReceiverStarted{}); !errors.Is(err, control.ErrClosed) {
			t.Errorf("request after the end: %v, expected ErrClosed", err)
		}
	})
}

func started(n int) *job.ReceiverStarted { return &job.ReceiverStarted{Instance: id.Instance(n)} }

func instances(d *executortest.Driver) (all []int) {
	for _, r := range executortest.Of[*job.ReceiverStarted](d) {
		all = append(all, int(r.Instance))
	}
	return all
}

func block(n int) job.BlockReport {
	return job.BlockReport{ID: id.Block{Instance: 1, Number: uint64(n)}}
}

func TestRequestsAreRepeatedInOrderUntilAnswered(t *testing.T) {
	var lost int
	answer := func(_ context.Context, r executortest.Request) (job.Reply, error) {
		if _, ok := r.Message.(*job.ReceiverStarted); ok && lost < 3 {
			lost++
			return job.Reply{}, executortest.ErrLost
		}
		return job.Reply{Outcome: job.Done, Index: 9}, nil
	}
	run(t, &worker{}, func(d *executortest.Driver) { d.Answer(answer) }, func(t *testing.T, d *executortest.Driver, c *control.Control) {
		d.Down(true) // they queue up while nobody leads
		var callers sync.WaitGroup
		for n := range 5 {
			callers.Go(func() {
				if r, err := c.Request(t.Context(), started(n)); err != nil || r.Index != 9 {
					t.Errorf("request %d: %+v, %v", n, r, err)
				}
			})
			synctest.Wait()
		}
		d.Lead()
		d.Down(false)
		callers.Wait()
		if got := instances(d); !slices.Equal(got, []int{0, 0, 0, 0, 1, 2, 3, 4}) {
			t.Errorf("requests took effect in the order %v", got)
		}
	})
}

func TestReportsThatWaitBecomeOne(t *testing.T) {
	run(t, &worker{}, nil, func(t *testing.T, d *executortest.Driver, c *control.Control) {
		d.Down(true)
		var callers sync.WaitGroup
		for n := range 300 {
			callers.Go(func() {
				if r, err := c.Report(t.Context(), block(n)); err != nil || r.Outcome != job.Done {
					t.Errorf("report %d: %+v, %v", n, r, err)
				}
			})
			synctest.Wait()
		}
		d.Down(false)
		callers.Wait()
		reports := executortest.Of[*job.BlocksReport](d)
		if len(reports) != 2 || len(reports[0].Blocks) != 256 || len(reports[1].Blocks) != 44 {
			t.Fatalf("%d reports came, expected one of 256 blocks and one of 44", len(reports))
		}
		for i, b := range append(reports[0].Blocks, reports[1].Blocks...) {
			if b.ID.Number != uint64(i) {
				t.Fatalf("block %d came at place %d", b.ID.Number, i)
			}
		}
	})
}

func TestEachBlockGetsItsOwnAnswer(t *testing.T) {
	answer := func(_ context.Context, r executortest.Request) (job.Reply, error) {
		reply := job.Reply{Outcome: job.Done}
		if b, ok := r.Message.(*job.BlocksReport); ok {
			for _, x := range b.Blocks {
				reply.Blocks = append(reply.Blocks, job.BlockReply{Outcome: job.Later, Reason: fmt.Sprint(x.ID.Number)})
			}
		}
		return reply, nil
	}
	run(t, &worker{}, func(d *executortest.Driver) { d.Answer(answer) }, func(t *testing.T, _ *executortest.Driver, c *control.Control) {
		var callers sync.WaitGroup
		for n := range 10 {
			callers.Go(func() {
				if r, err := c.Report(t.Context(), block(n)); err != nil || r.Outcome != job.Later || r.Reason != fmt.Sprint(n) {
					t.Errorf("report %d: %+v, %v", n, r, err)
				}
			})
		}
		callers.Wait()
	})
}

func TestBlocksDoNotHoldUpOtherRequests(t *testing.T) {
	var held chan struct{} // made inside the bubble
	answer := func(ctx context.Context, r executortest.Request) (job.Reply, error) {
		if r.Lane == job.BlockLane {
			select {
			case <-held:
			case <-ctx.Done():
			}
		}
		return job.Reply{Outcome: job.Done}, nil
	}
	run(t, &worker{}, func(d *executortest.Driver) { d.Answer(answer); held = make(chan struct{}) }, func(t *testing.T, _ *executortest.Driver, c *control.Control) {
		var caller sync.WaitGroup
		caller.Go(func() { _, _ = c.Report(t.Context(), block(1)) })
		synctest.Wait()
		if _, err := c.Request(t.Context(), started(1)); err != nil {
			t.Error(err)
		}
		close(held)
		caller.Wait()
	})
}

func TestLaterIsRepeatedWithBackOff(t *testing.T) {
	tries := 0
	answer := func(_ context.Context, r executortest.Request) (job.Reply, error) {
		if _, ok := r.Message.(*job.ReceiverStarted); ok {
			if tries++; tries < 5 {
				return job.Reply{Outcome: job.Later}, nil
			}
		}
		return job.Reply{Outcome: job.Done}, nil
	}
	run(t, &worker{}, func(d *executortest.Driver) { d.Answer(answer) }, func(t *testing.T, _ *executortest.Driver, c *control.Control) {
		began := time.Now()
		if r, err := c.Request(t.Context(), started(1)); err != nil || r.Outcome != job.Done {
			t.Errorf("%+v, %v", r, err)
		}
		if took := time.Since(began); took < 375*time.Millisecond || took > 750*time.Millisecond {
			t.Errorf("four repetitions took %v, expected half to the whole of 50+100+200+400 ms", took)
		}
	})
}

func TestRequestThatIsGivenUpIsNotSent(t *testing.T) {
	run(t, &worker{}, nil, func(t *testing.T, d *executortest.Driver, c *control.Control) {
		d.Down(true)
		ctx, cancel := context.WithCancel(t.Context())
		var caller sync.WaitGroup
		caller.Go(func() {
			if _, err := c.Request(ctx, started(1)); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		caller.Wait()
		if n := c.Status().Queued; n != [job.Lanes]int{} {
			t.Errorf("%v requests wait", n)
		}
		d.Down(false)
		if _, err := c.Request(t.Context(), started(2)); err != nil {
			t.Error(err)
		}
		if got := instances(d); !slices.Equal(got, []int{2}) {
			t.Errorf("requests %v came", got)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	run(t, &worker{}, nil, func(t *testing.T, d *executortest.Driver, c *control.Control) {
		d.Down(true)
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for n := range 1100 {
			callers.Go(func() { _, _ = c.Request(ctx, started(n)) })
		}
		synctest.Wait()
		if n := c.Status().Queued[job.ControlLane]; n != 1024 {
			t.Errorf("%d requests wait, expected 1024 and the others before the queue", n)
		}
		cancel()
		callers.Wait()
	})
}
