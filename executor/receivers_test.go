package executor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/receiver"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// pushed is a receiver that stores every push, and answers when it is committed.
type pushed struct{}

func (pushed) Run(ctx context.Context, in dataset.Inlet) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-in.Pushes():
			var b []byte
			for _, r := range p.Records {
				b = append(b, r...)
			}
			last := p.First + uint64(len(p.Records)) - 1
			receipt, err := in.Add(ctx, dataset.Records{
				Bytes: b, Count: len(p.Records), Range: connector.Range{Partition: p.Producer, First: p.First, Last: last},
			})
			if err != nil {
				p.Reply(0, 0, err)
				continue
			}
			go func() {
				<-receipt.Done()
				index, err := receipt.Result()
				p.Reply(last, index, err)
			}()
		}
	}
}

func receiving(t *testing.T, n int) *cluster {
	c := newCluster(t, n, &executortest.WordCount{Reducers: 2, Depth: 1, Source: pushed{}})
	c.driver.Send(c.nodes[0].store, &job.StartReceiver{Epoch: c.driver.Epoch(), App: c.app(), Stream: 0, Instance: 200})
	c.wait(func() bool { return len(executortest.Of[*job.ReceiverStarted](c.driver)) == 1 })
	return c
}

type reply struct {
	last, index uint64
	err         error
}

func (c *cluster) push(first uint64, records ...string) (<-chan reply, error) {
	answered := make(chan reply, 1)
	p := connector.Push{Producer: "p", First: first, Reply: func(last, index uint64, err error) { answered <- reply{last, index, err} }}
	for _, r := range records {
		p.Records = append(p.Records, []byte(r+"\n"))
	}
	return answered, c.nodes[0].Push(context.Background(), appID, 0, p)
}

func TestPushIsAnsweredAfterCopiesAndCommit(t *testing.T) { // rule 5, invariant 1
	c := receiving(t, 2)
	answered, err := c.push(1, "a b", "c")
	if err != nil {
		t.Fatal(err)
	}
	if r := <-answered; r.err != nil || r.last != 2 || r.index == 0 {
		t.Errorf("answer is %+v", r)
	}
	reports := executortest.Of[*job.BlocksReport](c.driver)
	if len(reports) != 1 || len(reports[0].Blocks) != 1 || len(reports[0].Blocks[0].Stores) != 2 {
		t.Fatalf("reports are %+v, expected one block on both stores", reports)
	}
	b := reports[0].Blocks[0]
	for _, n := range c.nodes {
		if d, err := n.blocks.Get(b.ID); err != nil || string(d.Data) != "a b\nc\n" {
			t.Errorf("%s holds %q, %v", n.name, d.Data, err)
		}
	}
	c.driver.Send(c.nodes[1].store, c.batch(1000, 50, 300, job.Block{ID: b.ID, Records: b.Records, Bytes: b.Bytes, CRC: b.CRC, Stores: b.Stores}))
	if r := c.report(1000); r.Error != "" || r.Records != 2 {
		t.Errorf("report is %+v", r)
	}
	wantWords(t, c, c.graph.Results.Words(0, 1000), executortest.Count("a b c"))
}

func TestPushWhoseReportGetsNoAnswerIsCommittedByTheNextLeader(t *testing.T) {
	c := receiving(t, 1)
	c.driver.Down(true)
	answered, err := c.push(1, "a")
	if err != nil {
		t.Fatal(err)
	}
	c.driver.Lead()
	c.driver.Down(false)
	if r := <-answered; r.err != nil || r.last != 1 {
		t.Errorf("answer is %+v", r)
	}
	if r := executortest.Of[*job.BlocksReport](c.driver); len(r) != 1 || r[0].Blocks[0].ID.Number != 1 {
		t.Errorf("reports are %+v", r)
	}
}

func TestStoppedReceiverDrainsAndSaysSo(t *testing.T) {
	c := receiving(t, 1)
	answered, err := c.push(1, "a")
	if err != nil {
		t.Fatal(err)
	}
	<-answered
	c.driver.Send(c.nodes[0].store, &job.StopReceiver{Epoch: c.driver.Epoch(), App: appID, Stream: 0, Instance: 200})
	c.wait(func() bool { return len(executortest.Of[*job.ReceiverStopped](c.driver)) == 1 })
	eventually(t, func() bool { return len(c.nodes[0].Receivers()) == 0 })
	if _, err := c.push(2, "b"); !errors.Is(err, job.ErrNoReceiver) {
		t.Errorf("push to a stopped receiver: %v, expected ErrNoReceiver", err)
	}
	// A repeated order does not revive it.
	c.driver.Send(c.nodes[0].store, &job.StartReceiver{Epoch: c.driver.Epoch(), App: c.app(), Stream: 0, Instance: 200})
	c.driver.Send(c.nodes[0].store, &job.StartReceiver{Epoch: c.driver.Epoch(), App: c.app(), Stream: 0, Instance: 201})
	c.wait(func() bool { return len(executortest.Of[*job.ReceiverStarted](c.driver)) == 2 })
	if s := executortest.Of[*job.ReceiverStarted](c.driver); s[1].Instance != 201 {
		t.Errorf("instance %d started", s[1].Instance)
	}
}

func TestStopOfAnInstanceThatNeverRanIsAnswered(t *testing.T) {
	c := newCluster(t, 1, &executortest.WordCount{Reducers: 2, Depth: 1, Source: pushed{}})
	stop := &job.StopReceiver{Epoch: c.driver.Epoch(), App: appID, Stream: 0, Instance: 300}
	c.driver.Send(c.nodes[0].store, stop)
	c.driver.Send(c.nodes[0].store, stop)
	c.wait(func() bool { return len(executortest.Of[*job.ReceiverStopped](c.driver)) == 1 })
}

func TestNewInstanceSupersedesTheOldOne(t *testing.T) { // rule 4
	c := receiving(t, 1)
	c.driver.Send(c.nodes[0].store, &job.StartReceiver{Epoch: c.driver.Epoch(), App: c.app(), Stream: 0, Instance: 250})
	c.driver.Send(c.nodes[0].store, &job.StartReceiver{Epoch: c.driver.Epoch(), App: c.app(), Stream: 0, Instance: 200})
	eventually(t, func() bool {
		st := c.nodes[0].Receivers()
		return len(st) == 1 && st[0].Instance == 250 && st[0].State == receiver.Running
	})
}

// stubborn is a receiver that returns when it is let go, and counts how many of it run.
type stubborn struct {
	runs, most atomic.Int64
	release    chan struct{}
}

func (s *stubborn) Run(ctx context.Context, _ dataset.Inlet) error {
	s.most.Store(max(s.most.Load(), s.runs.Add(1)))
	defer s.runs.Add(-1)
	<-ctx.Done()
	<-s.release
	return ctx.Err()
}

func TestNewInstanceBeginsWhenTheOldOneHasEnded(t *testing.T) { // rule 4: one instance at a time
	source := &stubborn{release: make(chan struct{})}
	c := newCluster(t, 1, &executortest.WordCount{Reducers: 2, Depth: 1, Source: source})
	for _, n := range []id.Instance{200, 250, 260} {
		c.driver.Send(c.nodes[0].store, &job.StartReceiver{Epoch: c.driver.Epoch(), App: c.app(), Stream: 0, Instance: n})
		if n == 200 {
			eventually(t, func() bool { return source.runs.Load() == 1 })
		}
	}
	c.heard(c.nodes[0])
	if st := c.nodes[0].Receivers(); len(st) != 1 || st[0].Instance != 200 {
		t.Errorf("receivers are %+v, expected the old one to be waited for", st)
	}
	close(source.release)
	eventually(t, func() bool {
		st := c.nodes[0].Receivers()
		return len(st) == 1 && st[0].Instance == 260 && source.runs.Load() == 1
	})
	if n := source.most.Load(); n != 1 {
		t.Errorf("%d receivers ran at a time", n)
	}
}

func TestRateOfAReceiverIsSetByOrders(t *testing.T) { // Spark: UpdateReceiverRateLimit
	c := newCluster(t, 1, &executortest.WordCount{Reducers: 2, Depth: 1, Source: pushed{}})
	start := func(rate int64) {
		c.driver.Send(c.nodes[0].store, &job.StartReceiver{Epoch: c.driver.Epoch(), App: c.app(), Stream: 0, Instance: 200, Rate: rate})
	}
	set := func(of id.Instance, rate int64) {
		c.driver.Send(c.nodes[0].store, &job.SetRate{Epoch: c.driver.Epoch(), App: appID, Stream: 0, Instance: of, Rate: rate})
	}
	want := func(rate float64) {
		t.Helper()
		eventually(t, func() bool {
			st := c.nodes[0].Receivers()
			return len(st) == 1 && st[0].Rate == rate
		})
	}
	start(300)
	want(300)
	set(200, 70)
	want(70)
	set(199, 5) // an instance that is over
	set(200, 80)
	want(80)
	start(90) // a new leadership orders again
	want(90)
	set(200, 0)
	want(0)
}

func TestEndOfTheSessionStopsReceivers(t *testing.T) { // rule 3
	c := receiving(t, 1)
	c.driver.End(c.nodes[0].store)
	c.wait(func() bool { return len(executortest.Of[*job.Inventory](c.driver)) == 2 })
	if st := c.nodes[0].Receivers(); len(st) != 0 {
		t.Errorf("receivers %+v outlived their session", st)
	}
	if _, err := c.push(1, "a"); !errors.Is(err, job.ErrNoReceiver) {
		t.Errorf("push: %v, expected ErrNoReceiver", err)
	}
}

func TestReceiverThatCannotBeBuiltEndsWithItsReason(t *testing.T) {
	c := newCluster(t, 1, &executortest.WordCount{Reducers: 2, Depth: 1})
	c.driver.Send(c.nodes[0].store, &job.StartReceiver{Epoch: c.driver.Epoch(), App: c.app(), Stream: 0, Instance: 200})
	c.wait(func() bool { return len(executortest.Of[*job.ReceiverStopped](c.driver)) == 1 })
	if s := executortest.Of[*job.ReceiverStopped](c.driver)[0]; s.Error == "" {
		t.Error("no reason was given")
	}
}

func TestLeavingDrainsReceivers(t *testing.T) {
	c := receiving(t, 1)
	answered, err := c.push(1, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[0].stop(); err != nil {
		t.Error(err)
	}
	if r := <-answered; r.err != nil && len(executortest.Of[*job.BlocksReport](c.driver)) != 0 {
		t.Errorf("a committed push was answered with %v", r.err)
	}
	if len(executortest.Of[*job.ReceiverStopped](c.driver)) != 1 {
		t.Error("the driver was not told")
	}
}

func TestProgressFreesBlocks(t *testing.T) {
	c := newCluster(t, 1, &executortest.WordCount{Reducers: 2, Depth: 1})
	b := c.put("a", 0)
	c.driver.Send(c.nodes[0].store, &job.Progress{Epoch: 1, App: appID, Completed: 1000, Cleaned: 1000, Instances: []job.InstanceProgress{{Stream: 0, Instance: 3, Cleaned: 1, Last: 1}}})
	eventually(t, func() bool {
		_, err := c.nodes[0].blocks.Get(b.ID)
		return errors.Is(err, job.ErrNoBlock)
	})
}
