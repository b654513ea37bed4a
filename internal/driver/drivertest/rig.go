package drivertest

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

// patience bounds Until.
const patience = time.Minute

// Rig is a driver with some duties over a Raft of one node.
type Rig struct {
	testing.TB
	Raft   *Raft
	Hub    *driver.Hub
	Driver *driver.Driver
	Logger *slog.Logger
}

// Start makes a rig and runs its driver, which does not lead yet, until the test ends. duties makes its duties;
// observe is driver.Config.Observe and may be nil.
func Start(t testing.TB, observe func(fsm.View), duties func(r *Rig) []driver.Duty) *Rig {
	r := &Rig{TB: t, Raft: NewRaft(), Logger: slog.New(slog.DiscardHandler)}
	r.Hub = driver.NewHub(r.Raft, r.Logger)
	r.Driver = driver.New(driver.Config{
		Raft: r.Raft, Hub: r.Hub, Duties: duties(r), Node: Node, Name: "n1", Addr: "127.0.0.1:1",
		Observe: observe, Logger: r.Logger,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Driver.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("driver ended with %v", err)
		}
	})
	return r
}

// Lead makes the node lead and waits until the leadership is open.
func (r *Rig) Lead() {
	r.Helper()
	r.Raft.Gain()
	r.Until("the leadership is open", func() bool {
		_, leading := r.Driver.Leading()
		return leading
	})
}

// Until waits for a condition.
func (r *Rig) Until(what string, condition func() bool) {
	r.Helper()
	// A fresh timer each time: a ticker that fires while nobody waits brings the race detector of Go 1.26 down under
	// synctest.
	for end := time.Now().Add(patience); !condition(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// Executor connects an executor.
func (r *Rig) Executor(name string) *Executor {
	r.Helper()
	return NewExecutor(r, r.Hub, name).Connect()
}

// Must proposes a command that must be done, and gives its index.
func (r *Rig) Must(c fsm.Command) uint64 {
	r.Helper()
	result, err := r.Driver.Propose(context.Background(), c)
	if err != nil || result.Outcome != fsm.Done {
		r.Fatalf("%T: outcome %d, reason %q, error %v; expected it done", c, result.Outcome, result.Reason, err)
	}
	return result.Index
}

// Submit submits an application with one receiver stream, number 0, with batches of a second and factor 1. change may
// be nil.
func (r *Rig) Submit(name string, change func(*fsm.ApplicationSubmitted)) id.App {
	r.Helper()
	c := &fsm.ApplicationSubmitted{
		RequestID: name, Name: name, Program: "program", Params: []byte("{}"), BatchMS: 1000, BlockMS: 200, Partitions: 2,
		Factor: 1, Fingerprint: "f", Build: "build", RememberMS: 1000, NowMS: time.Now().UnixMilli(),
		Inputs: []fsm.InputStream{{Stream: 0, Source: "ingest", Receiver: true, Pushed: true}},
	}
	if change != nil {
		change(c)
	}
	return id.App(r.Must(c))
}

// View gives the ledger.
func (r *Rig) View() fsm.View { return r.Raft.View() }

// App gives an application as it is.
func (r *Rig) App(n id.App) *fsm.App {
	r.Helper()
	a, ok := r.View().App(n)
	if !ok {
		r.Fatalf("no application %d", n)
	}
	return a
}

// Count gives how many commands of type C were applied so far.
func Count[C fsm.Command](r *Rig) int {
	n := 0
	for _, c := range r.Raft.Applied() {
		if _, ok := c.(C); ok {
			n++
		}
	}
	return n
}
