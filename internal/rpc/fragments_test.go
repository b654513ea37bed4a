package rpc

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// manyBlocks is more input than any batch should have: hours of blocks that waited for a coordinator.
func manyBlocks(n int) []job.Input {
	in := job.Input{Stream: 3, Time: 1_760_000_000_000}
	for i := range n {
		in.Blocks = append(in.Blocks, job.Block{
			ID:      id.Block{App: 1 << 40, Stream: 3, Instance: 1 << 40, Number: uint64(i + 1)},
			Records: 100_000, Bytes: 1 << 22, CRC: uint32(i), Stores: []id.Store{
				id.Store(fmt.Sprintf("store-with-a-random-name-%08d", i%5)), id.Store(fmt.Sprintf("store-with-a-random-name-%08d", (i+1)%5)),
			},
		})
	}
	return []job.Input{in}
}

func TestMillionBlocksFitIntoALaunchAndAnOrder(t *testing.T) {
	const sample, most = 10_000, 1_000_000 // blocktracker.MaxBlocks
	if n := proto.Size(launchToPB(&job.Launch{Inputs: manyBlocks(sample)})) * (most / sample); n > min(launchMax, controlMax) {
		t.Errorf("%d blocks need %d bytes, expected at most %d and %d", most, n, launchMax, controlMax)
	}
}

func TestLongLaunchAndItsResultCross(t *testing.T) {
	order := job.Launch{Inputs: manyBlocks(50_000), Parts: []int{1}, App: job.App{Spec: dataset.Spec{Params: make([]byte, messageMax)}}}
	if n := proto.Size(launchToPB(&order)); n <= messageMax {
		t.Fatalf("launch has %d bytes, expected more than %d", n, messageMax)
	}
	x, peer := executor(t, &fakeExecutor{launch: func(_ context.Context, l *job.Launch) (*job.LaunchResult, error) {
		if got, want := l.Inputs[0].Blocks, order.Inputs[0].Blocks; len(got) != len(want) || !cmp.Equal(got[len(got)-1], want[len(want)-1]) {
			t.Errorf("%d blocks arrived, expected %d", len(got), len(want))
		}
		return &job.LaunchResult{Tasks: []job.TaskResult{{Part: 1, Receipt: make([]byte, messageMax+1)}}}, nil
	}})
	got, err := x.Launch(t.Context(), peer, &order)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Tasks[0].Receipt); n != messageMax+1 {
		t.Errorf("receipt of %d bytes, expected %d", n, messageMax+1)
	}
}

// Everything that an action may collect can be carried, from however many partitions.
func TestWhatAnActionMayCollectCrosses(t *testing.T) {
	const parts = 1 << 16
	res := &job.LaunchResult{Tasks: make([]job.TaskResult, parts)}
	for i := range res.Tasks {
		res.Tasks[i] = job.TaskResult{Part: i, Records: 1 << 40, Rows: make([]byte, dataset.MaxCollected/parts)}
	}
	x, peer := executor(t, &fakeExecutor{launch: func(context.Context, *job.Launch) (*job.LaunchResult, error) { return res, nil }})
	got, err := x.Launch(t.Context(), peer, &job.Launch{Parts: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Tasks); n != parts || got.Tasks[parts-1].Err != nil || len(got.Tasks[parts-1].Rows) != dataset.MaxCollected/parts {
		t.Errorf("%d results, the last one %+v", n, got.Tasks[n-1].Err)
	}
}

// What can never be carried must fail the batch with a reason and not be tried for ever.
func TestLaunchThatIsTooLongFailsItsTasks(t *testing.T) {
	x, peer := executor(t, &fakeExecutor{launch: func(context.Context, *job.Launch) (*job.LaunchResult, error) {
		return &job.LaunchResult{Tasks: []job.TaskResult{{Part: 4, Receipt: make([]byte, resultMax)}}}, nil
	}})
	for name, l := range map[string]*job.Launch{
		"launch": {Parts: []int{4}, App: job.App{Fingerprint: strings.Repeat("x", launchMax)}},
		"result": {Parts: []int{4}},
	} {
		got, err := x.Launch(t.Context(), peer, l)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e := got.Tasks[0].Err; got.Tasks[0].Part != 4 || e == nil || e.Fault != job.UserFault || !strings.Contains(e.Text, "at most") {
			t.Errorf("%s: %+v, expected a task that failed for its size", name, got.Tasks[0])
		}
	}
}

func TestLongMessagesCrossTheControlStream(t *testing.T) {
	inputs := manyBlocks(100_000)
	report := &job.CheckpointReport{App: 1, Full: true}
	for _, b := range inputs[0].Blocks {
		report.Pieces = append(report.Pieces, job.Piece{Stream: 1, Block: b})
	}
	hub := newHub(1)
	hub.answer = func(_ context.Context, _ job.Lane, r job.ToDriver) (job.Reply, error) {
		if c, ok := r.(*job.CheckpointReport); ok {
			if diff := cmp.Diff(report.Pieces[len(report.Pieces)-1], c.Pieces[len(report.Pieces)-1]); diff != "" {
				t.Error(diff)
			}
			return job.Reply{Outcome: job.Done, Index: 1}, nil
		}
		return job.Reply{Outcome: job.Done, History: &job.History{Inputs: inputs}}, nil
	}
	l := open(t, dialer(driver(t, hub)), job.Hello{Store: "s"})
	defer l.Close()
	far := <-hub.links
	go func() {
		far.orders <- &job.Batch{Time: 5, Inputs: inputs}
		far.orders <- &job.Batch{Time: 6}
	}()
	if r, err := l.Request(t.Context(), job.ControlLane, report); err != nil || r.Index != 1 {
		t.Errorf("report: %v, %v", r.Outcome, err)
	}
	r, err := l.Request(t.Context(), job.ControlLane, &job.HistoryRequest{App: 1})
	if err != nil {
		t.Fatal(err)
	}
	got := [][]job.Input{r.History.Inputs}
	for _, at := range []id.Time{5, 6} {
		o, err := l.Recv()
		if err != nil {
			t.Fatal(err)
		}
		b := o.(*job.Batch)
		if b.Time != at {
			t.Errorf("batch %d came, expected %d", b.Time, at)
		}
		got = append(got, b.Inputs)
	}
	for _, in := range got[:2] {
		if n := len(in[0].Blocks); n != 100_000 || !cmp.Equal(in[0].Blocks[n-1], inputs[0].Blocks[n-1]) {
			t.Errorf("%d blocks arrived", n)
		}
	}
}

func TestWhatIsTooLongForTheControlStreamIsAnsweredForAndTheStreamGoesOn(t *testing.T) {
	const limit = 4096
	hub := newHub(1)
	hub.answer = func(_ context.Context, _ job.Lane, r job.ToDriver) (job.Reply, error) {
		if _, ok := r.(*job.HistoryRequest); ok {
			return job.Reply{Outcome: job.Done, History: &job.History{Inputs: manyBlocks(1000)}}, nil
		}
		return job.Reply{Outcome: job.Done}, nil
	}
	said := &lockedLog{}
	s := NewServer(ServerConfig{Drivers: hub, Logger: slog.New(slog.NewTextHandler(said, nil))})
	s.controlLimit = limit
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, lis)
	l := open(t, dialer(lis.Addr().String()), job.Hello{})
	l.(*remoteLink).limit = limit
	for name, r := range map[string]job.ToDriver{
		"request": &job.BlocksCopied{Blocks: make([]id.Block, limit)}, "answer": &job.HistoryRequest{},
	} {
		got, err := l.Request(t.Context(), job.ControlLane, r)
		if err != nil || got.Outcome != job.Refused || !strings.Contains(got.Reason, "at most 4096") {
			t.Errorf("%s: %+v, %v, expected a refusal that names the limit", name, got, err)
		}
	}
	far := <-hub.links
	far.orders <- &job.Batch{Time: 1, Inputs: manyBlocks(1000)}
	far.orders <- &job.Batch{Time: 2}
	if o, err := l.Recv(); err != nil || o.(*job.Batch).Time != 2 {
		t.Errorf("%+v, %v, expected the second order", o, err)
	}
	if text := said.String(); !strings.Contains(text, "order=*job.Batch") || !strings.Contains(text, "HistoryRequest") && !strings.Contains(text, "Request_History") {
		t.Errorf("the log says nothing of the order and the answer: %s", text)
	}
}

// lockedLog keeps what is logged.
type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestFragmentsAreBoundedAndCheckedWhenPutTogether(t *testing.T) {
	order := &clusterpb.Down{Body: &clusterpb.Down_Order{Order: &clusterpb.Order{Body: &clusterpb.Order_Peers{Peers: &clusterpb.Peers{
		Peers: []*clusterpb.Peer{{Name: strings.Repeat("x", 2*fragmentMax)}},
	}}}}}
	encoded, err := proto.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		limit int
		data  []byte
		count int
		ok    bool
	}{
		"at the limit": {len(encoded), encoded, 3, true},
		"above it":     {len(encoded) - 1, encoded, 3, false},
		"no message":   {controlMax, []byte{0xff}, 1, false},
		"empty":        {controlMax, nil, 1, true},
	} {
		a, into, count, whole := assembler{limit: test.limit}, &clusterpb.Down{}, 0, false
		var err error
		for f := range fragments(test.data) {
			count++
			if len(f.GetData()) > fragmentMax {
				t.Errorf("%s: fragment of %d bytes", name, len(f.GetData()))
			}
			if whole, err = a.add(f, into); err != nil {
				break
			}
		}
		if (err == nil) != test.ok || whole != test.ok || count != test.count {
			t.Errorf("%s: %d fragments, whole %t, %v", name, count, whole, err)
		}
		if test.ok && len(test.data) > 0 && !proto.Equal(order, into) {
			t.Errorf("%s: another message came", name)
		}
	}
}

func TestMessageOfThePublicAPIHasItsOwnLimit(t *testing.T) {
	n := newAPI(t)
	r := wordcount("long")
	r.ParamsJson = strings.Repeat(" ", messageMax)
	cc, err := connect(n.addr, Security{}, dialTCP)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	_, err = raftstreamv1.NewApplicationsClient(cc).Submit(t.Context(), r, grpc.MaxCallSendMsgSize(launchMax))
	if status.Code(err) == codes.OK || !strings.Contains(err.Error(), "at most 16777216") {
		t.Errorf("%v, expected that the limit is named", err)
	}
}

func TestStatesThatAreHeldCross(t *testing.T) {
	want := []job.Held{filled[job.Held](t), {}}
	x, peer := executor(t, &fakeExecutor{held: want})
	got, err := x.States(t.Context(), peer, 7)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestStoreThatAnInputDoesNotNameHoldsNothing(t *testing.T) {
	in := inputOf(&clusterpb.Input{Stores: []string{"a"}, Blocks: []*clusterpb.InputBlock{{Stores: []uint32{0, 1, 1 << 31}}}})
	if diff := cmp.Diff([]id.Store{"a"}, in.Blocks[0].Stores); diff != "" {
		t.Error(diff)
	}
}
