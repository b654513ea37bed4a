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

	"github.com/raftstream/raftstream/executor/control"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// Rule 3: the old session's work has stopped, and what it asked for has failed, before the new one begins.
func TestNewSessionFailsTheRequestsOfTheOldOne(t *testing.T) {
	w := &worker{held: []id.Block{{Number: 1}}}
	run(t, w, nil, func(t *testing.T, d *executortest.Driver, c *control.Control) {
		old := c.Session()
		d.Down(true)
		failed := make(chan error, 2)
		go func() {
			_, err := c.Request(t.Context(), started(1))
			failed <- err
		}()
		go func() {
			_, err := c.Report(t.Context(), block(1))
			failed <- err
		}()
		synctest.Wait()
		w.onBegin = func(id.Session) error {
			for range 2 {
				if err := <-failed; !errors.Is(err, control.ErrSessionOver) {
					t.Errorf("request of the old session: %v, expected ErrSessionOver", err)
				}
			}
			if _, err := c.Request(t.Context(), started(2)); !errors.Is(err, control.ErrSessionOver) {
				t.Errorf("request between the sessions: %v, expected ErrSessionOver", err)
			}
			if n := len(executortest.Of[*job.Inventory](d)); n != 1 {
				t.Errorf("%d inventories were sent before the old work had stopped", n)
			}
			return nil
		}
		d.End(store)
		d.Down(false)
		pass(2 * time.Second)
		if c.Session() == old || len(w.sessions) != 2 {
			t.Errorf("sessions %v began", w.sessions)
		}
		if got := instances(d); slices.Contains(got, 1) || slices.Contains(got, 2) {
			t.Errorf("requests %v came, those of the old session among them", got)
		}
	})
}

func TestSessionThatCannotBeginIsPresentedAgain(t *testing.T) {
	tries := 0
	w := &worker{}
	w.onBegin = func(id.Session) error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	}
	run(t, w, nil, func(t *testing.T, _ *executortest.Driver, c *control.Control) {
		pass(time.Second)
		if len(w.sessions) != 3 || w.sessions[0] != w.sessions[2] || c.Session() != w.sessions[0] || !c.Status().Linked {
			t.Errorf("sessions presented: %v, status %+v", w.sessions, c.Status())
		}
	})
}

// Rule 5: inventories tell where copies are, in parts, before anything else; a broken stream starts them over.
func TestInventoryComesInPartsAndStartsOver(t *testing.T) {
	w := &worker{}
	for n := range 5000 {
		w.held = append(w.held, id.Block{Number: uint64(n + 1)})
	}
	parts := 0
	answer := func(_ context.Context, r executortest.Request) (job.Reply, error) {
		if inv, ok := r.Message.(*job.Inventory); ok {
			if parts++; parts == 2 {
				return job.Reply{}, errors.New("the stream breaks before")
			}
			return job.Reply{Outcome: job.Done, Delete: inv.Blocks[:1]}, nil
		}
		return job.Reply{Outcome: job.Done}, nil
	}
	run(t, w, func(d *executortest.Driver) { d.Answer(answer) }, func(t *testing.T, d *executortest.Driver, c *control.Control) {
		if _, err := c.Request(t.Context(), started(1)); err != nil {
			t.Error(err)
		}
		var shape []string
		for _, inv := range executortest.Of[*job.Inventory](d) {
			shape = append(shape, fmt.Sprint(len(inv.Blocks), inv.First, inv.Last))
		}
		if want := []string{"4096 true false", "4096 true false", "904 false true"}; !slices.Equal(shape, want) {
			t.Errorf("inventory came as %v, expected %v", shape, want)
		}
		if len(w.deleted) != 3 || w.deleted[2].Number != 4097 {
			t.Errorf("deleted %v", w.deleted)
		}
		d.Lead()
		pass(time.Second)
		if n := len(executortest.Of[*job.Inventory](d)); n != 3 {
			t.Errorf("%d parts after a reconnect, expected no new inventory in the same session", n)
		}
	})
}

func TestEmptyInventoryIsOnePart(t *testing.T) {
	run(t, &worker{}, nil, func(t *testing.T, d *executortest.Driver, _ *control.Control) {
		inv := executortest.Of[*job.Inventory](d)
		if len(inv) != 1 || !inv[0].First || !inv[0].Last {
			t.Errorf("inventory came as %+v", inv)
		}
	})
}

func TestOrdersOfALowerEpochAreRefused(t *testing.T) { // rule 1
	w := &worker{}
	run(t, w, nil, func(t *testing.T, d *executortest.Driver, c *control.Control) {
		send := func(epoch id.Epoch) {
			d.Send(store, &job.StopReceiver{Epoch: epoch})
			d.Send(store, &job.StartReceiver{Epoch: epoch})
			d.Send(store, &job.Progress{Epoch: epoch})
			d.Send(store, &job.SetRate{Epoch: epoch})
			d.Send(store, &job.PlanSources{Epoch: epoch})
			d.Send(store, &job.CopyBlocks{Epoch: epoch})
			d.Send(store, &job.Batch{Authority: id.Authority{Epoch: epoch}})
		}
		send(5)
		send(4)
		d.Send(store, &job.Peers{})
		send(5)
		synctest.Wait()
		if len(w.orders) != 15 || c.Status().Epoch != 5 {
			t.Errorf("%d orders were passed on and the epoch is %d, expected 15 and 5", len(w.orders), c.Status().Epoch)
		}
	})
}

func TestWelcomeOfALowerEpochIsNotTaken(t *testing.T) { // rule 1
	w := &worker{}
	run(t, w, nil, func(t *testing.T, d *executortest.Driver, c *control.Control) {
		d.Send(store, &job.StopReceiver{Epoch: 3})
		synctest.Wait()
		d.Lead() // epoch 2: a driver that does not know that it was deposed
		pass(10 * time.Second)
		if c.Status().Linked {
			t.Error("linked to a deposed driver")
		}
		d.Lead()
		pass(2 * time.Second)
		if !c.Status().Linked || c.Status().Epoch != 3 {
			t.Errorf("status is %+v, expected a link of epoch 3", c.Status())
		}
	})
}

func TestDialsBackOffAndStartAnewAfterALink(t *testing.T) {
	var mu sync.Mutex
	var dialled []time.Time
	seen := func() []time.Time {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(dialled)
	}
	synctest.Test(t, func(t *testing.T) {
		d := executortest.NewDriver()
		d.Down(true)
		c := control.New(control.Config{
			Dialer: dialer(func(ctx context.Context, h job.Hello) (job.Link, error) {
				mu.Lock()
				dialled = append(dialled, time.Now())
				mu.Unlock()
				return d.Dial(ctx, h)
			}),
			Hello: job.Hello{Store: store}, Handler: &worker{}, Logger: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		pass(10 * time.Second)
		dials := seen()
		for i := 1; i < len(dials); i++ {
			gap := dials[i].Sub(dials[i-1])
			if most := min(10*time.Millisecond<<(i-1), time.Second); gap > most || gap < most/2 {
				t.Errorf("gap %d is %v, expected half to the whole of %v", i, gap, most)
			}
		}
		d.Down(false)
		for _, k := range []struct {
			stood, within time.Duration
		}{ // leaders that die one after the other
			{5 * time.Second, 10 * time.Millisecond},
			{500 * time.Millisecond, 10 * time.Millisecond},
			{500 * time.Millisecond, 20 * time.Millisecond},
			{5 * time.Second, 10 * time.Millisecond},
		} {
			pass(k.stood)
			last, n := time.Now(), len(seen())
			d.Lead()
			pass(60 * time.Millisecond)
			if dials = seen(); len(dials) != n+1 || dials[n].Sub(last) > k.within {
				t.Errorf("after a link of %v the next dial came after %v, expected it within %v", k.stood, dials[len(dials)-1].Sub(last), k.within)
			}
		}
		n := len(seen())
		for range 1000 { // a driver that drops every link
			d.Lead()
			pass(10 * time.Millisecond)
		}
		if n = len(seen()) - n; n > 25 {
			t.Errorf("%d dials in 10 s to a driver that drops every link, expected the waits to grow", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type dialer func(ctx context.Context, h job.Hello) (job.Link, error)

func (d dialer) Dial(ctx context.Context, h job.Hello) (job.Link, error) { return d(ctx, h) }

func TestStoreOfAnotherClusterEndsRunAndIsNotTouched(t *testing.T) { // rule 2
	d := executortest.NewDriver()
	d.Cluster = "blue"
	stamped := ""
	c := control.New(control.Config{
		Dialer: d, Hello: job.Hello{Store: store}, Handler: &worker{}, Logger: slog.New(slog.DiscardHandler),
		Cluster: func() string { return "red" },
		Stamp:   func(s string) error { stamped = s; return nil },
	})
	if err := c.Run(t.Context()); !errors.Is(err, control.ErrCluster) || stamped != "" {
		t.Errorf("Run: %v, stamped %q; expected ErrCluster and no stamp", err, stamped)
	}
}

func TestStoreWithoutClusterIsStamped(t *testing.T) { // rule 2
	synctest.Test(t, func(t *testing.T) {
		d := executortest.NewDriver()
		d.Cluster = "blue"
		own := ""
		c := control.New(control.Config{
			Dialer: d, Hello: job.Hello{Store: store}, Handler: &worker{}, Logger: slog.New(slog.DiscardHandler),
			Cluster: func() string { return own },
			Stamp:   func(s string) error { own = s; return nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		if own != "blue" {
			t.Errorf("stamped %q", own)
		}
		cancel()
		<-done
	})
}
