package drivertest

import (
	"context"
	"sync"
	"testing"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// Executor is an executor without work: it keeps the orders that it gets and requests what the test says.
type Executor struct {
	Hello job.Hello

	t    testing.TB
	hub  job.Dialer
	mu   sync.Mutex
	link job.Link
	got  []job.ToExecutor
	read sync.WaitGroup
}

// NewExecutor makes an executor that is not connected, of build "build" with two slots.
func NewExecutor(t testing.TB, hub job.Dialer, name string) *Executor {
	e := &Executor{t: t, hub: hub, Hello: job.Hello{
		Store: id.Store("store-" + name), Generation: 1, Name: name, Addr: name + ":7077", Slots: 2, Build: "build",
	}}
	t.Cleanup(e.Close)
	return e
}

// Dial connects, and gives the error if that fails.
func (e *Executor) Dial(ctx context.Context) error {
	e.Close()
	link, err := e.hub.Dial(ctx, e.Hello)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.link = link
	e.got = nil
	e.Hello.Session = link.Welcome().Session
	e.mu.Unlock()
	e.read.Go(func() {
		for {
			m, err := link.Recv()
			if err != nil {
				return
			}
			e.mu.Lock()
			e.got = append(e.got, m)
			e.mu.Unlock()
		}
	})
	return nil
}

// Connect connects and fails the test if it cannot.
func (e *Executor) Connect() *Executor {
	e.t.Helper()
	if err := e.Dial(context.Background()); err != nil {
		e.t.Fatalf("executor %s cannot connect: %v", e.Hello.Name, err)
	}
	return e
}

// Session is the session of the last connection.
func (e *Executor) Session() id.Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.Hello.Session
}

// Welcome is what the driver said at the last connection.
func (e *Executor) Welcome() job.Welcome { return e.current().Welcome() }

func (e *Executor) current() job.Link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.link
}

// Request makes a request and gives its reply.
func (e *Executor) Request(r job.ToDriver) (job.Reply, error) {
	return e.current().Request(context.Background(), job.ControlLane, r)
}

// Must makes a request that must be answered with Done.
func (e *Executor) Must(r job.ToDriver) job.Reply {
	e.t.Helper()
	reply, err := e.Request(r)
	if err != nil || reply.Outcome != job.Done {
		e.t.Fatalf("%T: outcome %d, reason %q, error %v; expected it done", r, reply.Outcome, reply.Reason, err)
	}
	return reply
}

// Add reports a block that this executor alone stores, which must be taken.
func (e *Executor) Add(block id.Block, records int64) {
	e.t.Helper()
	reply := e.Must(&job.BlocksReport{Blocks: []job.BlockReport{
		{ID: block, Records: records, Bytes: 10 * records, CRC: 1, Stores: []id.Store{e.Hello.Store}},
	}})
	if b := reply.Blocks[0]; b.Outcome != job.Done {
		e.t.Fatalf("block %v: outcome %d, %s; expected it taken", block, b.Outcome, b.Reason)
	}
}

// Orders gives the orders of a type that came since the last connection, in order.
func Orders[M job.ToExecutor](e *Executor) []M {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []M
	for _, m := range e.got {
		if typed, ok := m.(M); ok {
			all = append(all, typed)
		}
	}
	return all
}

// Last gives the newest order of a type, the zero value for none.
func Last[M job.ToExecutor](e *Executor) M {
	var last M
	if all := Orders[M](e); len(all) > 0 {
		last = all[len(all)-1]
	}
	return last
}

// Die ends the connection as a carrier does that knows the process to be dead.
func (e *Executor) Die() { e.end(job.ErrPeerDead) }

// Close ends the connection for no known reason.
func (e *Executor) Close() { e.end(nil) }

func (e *Executor) end(cause error) {
	if link := e.current(); link != nil {
		if err := link.(job.CauseCloser).CloseCause(cause); err != nil {
			e.t.Errorf("close the link of executor %s: %v", e.Hello.Name, err)
		}
	}
	e.read.Wait()
}
