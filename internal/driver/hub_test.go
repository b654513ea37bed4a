package driver_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

// start makes a rig without duties, in a bubble.
func start(t *testing.T, test func(r *drivertest.Rig)) {
	synctest.Test(t, func(t *testing.T) {
		test(drivertest.Start(t, nil, func(*drivertest.Rig) []driver.Duty { return nil }))
	})
}

func TestFollowerNamesTheLeader(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := drivertest.NewExecutor(r, r.Hub, "a")
		err := e.Dial(r.Context())
		var other *job.NotLeaderError
		if !errors.As(err, &other) || other.Leader != "127.0.0.1:2" {
			t.Errorf("got %v, expected the leader's address", err)
		}
		r.Lead()
		e.Connect()
		r.Raft.Lose()
		synctest.Wait()
		if _, err := e.Request(&job.Inventory{First: true, Last: true}); !errors.Is(err, driver.ErrClosed) {
			t.Errorf("after the loss: got %v, want %v", err, driver.ErrClosed)
		}
		if len(r.Hub.All()) != 0 {
			t.Error("connections survive the leadership")
		}
	})
}

// Rule 3: an executor works under the session of its start.
func TestSessionsOfAnExecutor(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		e := r.Executor("a")
		first := e.Session()
		old, _ := r.Hub.Of(first)
		e.Connect()
		if e.Session() != first {
			t.Errorf("session %d after a reconnect, expected %d as before", e.Session(), first)
		}
		if now, ok := r.Hub.Of(first); !ok || now.Number() <= old.Number() {
			t.Error("the new connection did not take the place of the old one")
		}
		if old.Send(&job.Peers{}) {
			t.Error("the old connection takes orders")
		}
		r.Must(&fsm.SessionClosed{Session: first})
		e.Connect()
		second := e.Session()
		if second <= first {
			t.Errorf("session %d after session %d was closed, expected a higher one", second, first)
		}
		late := drivertest.NewExecutor(r, r.Hub, "a")
		e.Hello.Generation = 2
		e.Connect()
		if e.Session() <= second {
			t.Errorf("session %d of a new start, expected one above %d", e.Session(), second)
		}
		if err := late.Dial(r.Context()); !errors.Is(err, driver.ErrRefused) {
			t.Errorf("a start that is over: got %v, want %v", err, driver.ErrRefused)
		}
	})
}

func TestSessionsOfManyAtOnce(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		var all []*drivertest.Executor
		done := make(chan error)
		for i := range 30 {
			e := drivertest.NewExecutor(r, r.Hub, fmt.Sprint(i))
			all = append(all, e)
			go func() { done <- e.Dial(r.Context()) }()
		}
		for range all {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		conns := r.Hub.All()
		for i := 1; i < len(conns); i++ {
			if conns[i-1].Session() >= conns[i].Session() {
				t.Errorf("session %d listed before %d", conns[i-1].Session(), conns[i].Session())
			}
		}
		if len(conns) != len(all) {
			t.Errorf("%d connections, expected %d", len(conns), len(all))
		}
	})
}

// Rule 2: a store of another cluster is refused, and told so.
func TestExecutorOfAnotherClusterIsRefused(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		e := drivertest.NewExecutor(r, r.Hub, "a")
		e.Hello.Cluster = "another"
		if err := e.Dial(r.Context()); !errors.Is(err, driver.ErrRefused) {
			t.Errorf("got %v, want %v", err, driver.ErrRefused)
		}
		e.Hello.Cluster = r.View().Cluster()
		e.Connect()
		if e.Welcome().Cluster != r.View().Cluster() {
			t.Errorf("welcome names cluster %q, expected %q", e.Welcome().Cluster, r.View().Cluster())
		}
	})
}

func TestFullQueueOfOrdersEndsTheConnection(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		link, err := r.Hub.Dial(r.Context(), job.Hello{Store: "s", Generation: 1, Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		c, _ := r.Hub.Of(link.Welcome().Session)
		sent := 0
		for c.Send(&job.Peers{}) {
			sent++
		}
		if sent != 1024 || c.Room() != 0 {
			t.Errorf("%d orders were taken with room for %d, expected 1024 and 0", sent, c.Room())
		}
		if _, ok := r.Hub.Of(link.Welcome().Session); ok {
			t.Error("the connection is still there")
		}
		if loss := r.Hub.Lost(link.Welcome().Session); loss.Gone || !loss.Since.Equal(time.Now()) {
			t.Errorf("the loss is %+v", loss)
		}
	})
}

func TestRequestsBecomeCommands(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		e := r.Executor("a")
		app := r.Submit("wc", nil)
		instance := id.Instance(r.Must(&fsm.ReceiverScheduled{App: app, Stream: 0, Session: e.Session()}))
		if reply := e.Must(&job.ReceiverStarted{App: app, Stream: 0, Instance: instance}); len(reply.Positions) != 0 {
			t.Errorf("positions are %v, expected none", reply.Positions)
		}
		block := func(n uint64, first, last uint64) job.BlockReport {
			return job.BlockReport{
				ID:      id.Block{App: app, Stream: 0, Instance: instance, Number: n},
				Records: int64(last - first + 1), Bytes: 100, CRC: 5, Stores: []id.Store{e.Hello.Store},
				Ranges: []connector.Range{{Partition: "p", First: first, Last: last}},
			}
		}
		report := &job.BlocksReport{Blocks: []job.BlockReport{block(1, 1, 3), block(2, 4, 9), block(4, 20, 21)}}
		reply := e.Must(report)
		outcomes := make([]job.Outcome, len(reply.Blocks))
		for i, b := range reply.Blocks {
			outcomes[i] = b.Outcome
		}
		if d := cmp.Diff([]job.Outcome{job.Done, job.Done, job.Later}, outcomes); d != "" {
			t.Errorf("%s, replies %+v", d, reply.Blocks)
		}
		again := e.Must(report)
		if again.Blocks[1].Index != reply.Blocks[1].Index {
			t.Errorf("a repeated block has index %d, expected %d as before", again.Blocks[1].Index, reply.Blocks[1].Index)
		}
		started := e.Must(&job.ReceiverStarted{App: app, Stream: 0, Instance: instance})
		if d := cmp.Diff([]connector.Range{{Partition: "p", Last: 9}}, started.Positions); d != "" {
			t.Error(d)
		}
		e.Must(&job.ReceiverFailed{App: app, Stream: 0, Instance: instance, Error: "no route"})
		e.Must(&job.ReceiverStopped{App: app, Stream: 0, Instance: instance, Message: "over"})
		if v, _ := r.View().Receiver(app, 0); v.LastError != "no route" {
			t.Errorf("the receiver's error is %q", v.LastError)
		}
		stray := id.Block{App: app, Stream: 0, Instance: instance, Number: 77}
		if reply := e.Must(&job.Inventory{Blocks: []id.Block{stray}, First: true, Last: true}); len(reply.Delete) != 1 {
			t.Errorf("to be deleted are %v, expected %v", reply.Delete, stray)
		}
		if reply, err := e.Request(report); err != nil || reply.Blocks[0].Outcome != job.Done {
			t.Errorf("blocks that were taken, after the end of the instance: %+v, %v", reply, err)
		}
	})
}

// Rule 3: a session that is over takes nothing, and a request that fails for that alone has no answer.
func TestRequestsOfAClosedSessionAreNotAnswered(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		e := r.Executor("a")
		r.Must(&fsm.SessionClosed{Session: e.Session()})
		if reply, err := e.Request(&job.Inventory{First: true, Last: true}); !errors.Is(err, driver.ErrClosed) {
			t.Errorf("got %+v, %v; want %v", reply, err, driver.ErrClosed)
		}
		if _, ok := r.Hub.Of(e.Session()); ok {
			t.Error("the connection of a session that is over is still there")
		}
	})
}

// Rule 10: a command has a limit, and a request above it is not repeated for ever.
func TestRequestsThatAreTooLargeAreSplitOrRefused(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Raft.Before = func(_ context.Context, step any) error {
			switch c := step.(type) {
			case *fsm.BlocksAdded:
				if len(c.Blocks) > 2 || c.Blocks[len(c.Blocks)-1].Records == 999 {
					return fmt.Errorf("propose: %w", id.ErrTooLarge)
				}
			case *fsm.InventoryReported:
				return id.ErrTooLarge
			}
			return nil
		}
		r.Lead()
		e := r.Executor("a")
		app := r.Submit("wc", nil)
		in := id.Instance(r.Must(&fsm.ReceiverScheduled{App: app, Session: e.Session()}))
		e.Must(&job.ReceiverStarted{App: app, Instance: in})
		report := &job.BlocksReport{}
		for n := range 7 {
			report.Blocks = append(report.Blocks, job.BlockReport{
				ID: id.Block{App: app, Instance: in, Number: uint64(n + 1)}, Records: 1, Stores: []id.Store{e.Hello.Store},
			})
		}
		report.Blocks[6].Records = 999
		reply := e.Must(report)
		for i, b := range reply.Blocks {
			if want := job.Done; i < 6 && b.Outcome != want || i == 6 && (b.Outcome != job.Refused || b.Reason == "") {
				t.Errorf("block %d: %+v, expected six taken and the seventh refused", i+1, b)
			}
		}
		if len(reply.Blocks) != 7 || r.App(app).Received != 6 {
			t.Errorf("%d answers, %d records received; expected 7 and 6", len(reply.Blocks), r.App(app).Received)
		}
		if reply, err := e.Request(&job.Inventory{First: true, Last: true}); err != nil || reply.Outcome != job.Refused {
			t.Errorf("inventory: %+v, %v; expected it refused", reply, err)
		}
	})
}

func TestOverloadMeansLater(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		e := r.Executor("a")
		r.Raft.Fail(id.ErrOverloaded)
		reply, err := e.Request(&job.BlocksReport{Blocks: make([]job.BlockReport, 2)})
		if err != nil || reply.Outcome != job.Later || len(reply.Blocks) != 2 || reply.Blocks[1].Outcome != job.Later {
			t.Errorf("got %+v, %v; expected to be told later", reply, err)
		}
		unknown := errors.New("outcome unknown")
		r.Raft.Fail(unknown)
		if reply, err := e.Request(&job.BlocksReport{Blocks: make([]job.BlockReport, 1)}); !errors.Is(err, unknown) {
			t.Errorf("got %+v, %v; expected no answer", reply, err)
		}
	})
}
