package executor_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/executor"
	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/local"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/batches"
	"github.com/raftstream/raftstream/internal/driver/coordinators"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/driver/executors"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
)

// stopped is what a process that was stopped by a signal had on its way.
type stopped struct {
	hello  job.Hello
	report *job.BatchReport
}

// freezer lets the first executor that sends a report of a batch stand still on that line, as SIGSTOP would: nothing of
// it goes out or in until thaw, and the driver hears only silence.
type freezer struct {
	hub    job.Dialer
	frozen chan stopped // takes one
	thaw   chan struct{}

	mu    sync.Mutex
	first id.Store
}

// way is one executor's way to the driver.
type way struct{ *freezer }

func (w way) Dial(ctx context.Context, h job.Hello) (job.Link, error) {
	w.wait(h.Store)
	link, err := w.hub.Dial(ctx, h)
	if err != nil {
		return nil, err
	}
	return &wayLink{Link: link, way: w, hello: h}, nil
}

// wait waits while the store's process stands still.
func (f *freezer) wait(s id.Store) {
	f.mu.Lock()
	still := f.first == s
	f.mu.Unlock()
	if still {
		<-f.thaw
	}
}

type wayLink struct {
	job.Link
	way
	hello job.Hello
}

func (l *wayLink) Request(ctx context.Context, lane job.Lane, m job.ToDriver) (job.Reply, error) {
	if r, ok := m.(*job.BatchReport); ok {
		l.mu.Lock()
		first := l.first == ""
		if first {
			l.first = l.hello.Store
		}
		l.mu.Unlock()
		if first {
			l.hello.Session = l.Welcome().Session
			l.frozen <- stopped{l.hello, r}
			_ = l.Link.(job.CauseCloser).CloseCause(job.ErrSilent) // the driver's end: three seconds have passed
		}
	}
	l.wait(l.hello.Store)
	return l.Link.Request(ctx, lane, m)
}

func (l *wayLink) Recv() (job.ToExecutor, error) {
	m, err := l.Link.Recv()
	l.wait(l.hello.Store)
	return m, err
}

// Rules 1 and 3, invariants 4 and 6: a coordinator is stopped with the report of a finished batch on its way, its
// office goes to another executor, which completes the batch. The late report, by the real coordinator for the real
// ledger, is refused; when the process wakes it begins anew and says nothing of its old office.
func TestLateCompletionIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := batches.NewClock(drivertest.Node, 0)
		rig := drivertest.Start(t, clock.Observe, func(r *drivertest.Rig) []driver.Duty {
			return []driver.Duty{executors.New(r.Hub, nil, r.Logger), coordinators.New(r.Hub, r.Logger), batches.New(r.Hub, clock, r.Logger)}
		})
		rig.Lead()
		f := &freezer{hub: rig.Hub, frozen: make(chan stopped, 1), thaw: make(chan struct{})}
		graph := &executortest.WordCount{Reducers: 2, Depth: 1, Empty: 2}
		net := local.NewNetwork()
		defer net.Close()
		for _, name := range []string{"a", "b"} {
			defer startReal(t, name, way{f}, net, graph)()
		}
		app := rig.Submit("words", func(c *fsm.ApplicationSubmitted) {
			c.Program, c.Fingerprint, c.Inputs = executortest.Program, graph.Plan().Fingerprint(), nil
		})
		late := <-f.frozen
		old := late.report.Authority.Office
		batch := func() *fsm.Batch {
			b, _ := rig.View().Batch(app, late.report.Time)
			return b
		}
		rig.Until("another office completes the batch", func() bool { b := batch(); return b != nil && b.State == fsm.Completed })
		if b := batch(); b.Office <= old {
			t.Errorf("batch was completed under office %d, expected a newer one than %d", b.Office, old)
		}
		before := *batch()

		link, err := rig.Hub.Dial(t.Context(), late.hello) // what was on its way arrives
		if err != nil {
			t.Fatal(err)
		}
		reply, err := link.Request(t.Context(), job.ControlLane, late.report)
		if err != nil || reply.Outcome != job.Refused || !strings.Contains(reply.Reason, "office") {
			t.Errorf("late completion was answered %+v, %v; expected a refusal that names the office", reply, err)
		}
		t.Logf("the late report was refused: %s", reply.Reason)
		if after := *batch(); after != before {
			t.Errorf("late completion changed the batch from %+v to %+v", before, after)
		}
		if err := link.Close(); err != nil {
			t.Error(err)
		}

		close(f.thaw)
		done := rig.App(app).Completed
		rig.Until("the application goes on", func() bool { return rig.App(app).Completed >= done+5000 })
		for _, c := range rig.Raft.Applied() {
			if c, ok := c.(*fsm.BatchCompleted); ok && c.Office == old && c.Time > late.report.Time {
				t.Errorf("batch %d was reported under office %d after it had moved", c.Time, old)
			}
		}
	})
}

// startReal starts an executor that is all there; stop joins it.
func startReal(t *testing.T, name string, d job.Dialer, net *local.Network, graph *executortest.WordCount) (stop func()) {
	log := slog.New(slog.DiscardHandler)
	store, err := blocks.Open(blocks.Config{FS: vfs.NewMem(), Dir: "wal", Store: storeOf(name), Fatal: func(err error) { t.Error(err) }, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	e, err := executor.New(executor.Config{
		Store: storeOf(name), Generation: 1, Name: name, Addr: name, Slots: 2, Build: "build",
		Dialer: d, Executors: net, Builder: &executortest.Builder{Graph: graph}, Blocks: store, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	net.Add(name, e.Server())
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}
