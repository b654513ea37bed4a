package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// fakeExecutor answers what the test says.
type fakeExecutor struct {
	launch  func(ctx context.Context, l *job.Launch) (*job.LaunchResult, error)
	buckets [][]byte
	fetched error
	blocks  map[id.Block]job.BlockData
	put     error
	held    []job.Held // of application 7
}

func (e *fakeExecutor) Launch(ctx context.Context, l *job.Launch) (*job.LaunchResult, error) {
	return e.launch(ctx, l)
}

func (e *fakeExecutor) Fetch(_ context.Context, f *job.Fetch, each func(int, []byte) error) error {
	for _, part := range f.MapParts {
		if part >= len(e.buckets) {
			return e.fetched
		}
		if err := each(part, e.buckets[part]); err != nil {
			return err
		}
	}
	return nil
}

func (e *fakeExecutor) Put(_ context.Context, b job.BlockData) error {
	if e.put == nil {
		e.blocks[b.ID] = b
	}
	return e.put
}

func (e *fakeExecutor) States(_ context.Context, app id.App) ([]job.Held, error) {
	if app != 7 {
		return nil, fmt.Errorf("application %d", app)
	}
	return e.held, nil
}

func (e *fakeExecutor) Get(_ context.Context, b id.Block) (job.BlockData, error) {
	d, ok := e.blocks[b]
	if !ok {
		return d, fmt.Errorf("store here: %w", job.ErrNoBlock)
	}
	return d, nil
}

// executor serves e and gives a way to it.
func executor(t *testing.T, e *fakeExecutor) (*Executors, job.Peer) {
	t.Helper()
	e.blocks = map[id.Block]job.BlockData{}
	addr := node(t, ServerConfig{Store: "store-1", Executor: e})
	return pool(t), job.Peer{Name: "n1", Addr: addr, Store: "store-1"}
}

func pool(t *testing.T) *Executors {
	t.Helper()
	x := NewExecutors(ExecutorsConfig{Self: "self"})
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func TestLaunchCrosses(t *testing.T) {
	want := filled[job.LaunchResult](t)
	order := filled[job.Launch](t)
	x, peer := executor(t, &fakeExecutor{launch: func(_ context.Context, l *job.Launch) (*job.LaunchResult, error) {
		if diff := cmp.Diff(&order, l); diff != "" {
			t.Error(diff)
		}
		return &want, nil
	}})
	got, err := x.Launch(t.Context(), peer, &order)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLaunchIsCancelledWithItsCaller(t *testing.T) {
	started, ended := make(chan struct{}), make(chan struct{})
	x, peer := executor(t, &fakeExecutor{launch: func(ctx context.Context, _ *job.Launch) (*job.LaunchResult, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, err := x.Launch(ctx, peer, &job.Launch{}); err == nil {
		t.Error("no error")
	}
	<-ended
}

func TestBucketsOfAllSizesAreFetchedInOrder(t *testing.T) {
	sizes := []int{0, 1, frameMax - 1, frameMax, frameMax + 1, 5*frameMax + 17, 100}
	e := &fakeExecutor{}
	f := &job.Fetch{}
	for i, n := range sizes {
		b := make([]byte, n)
		for j := range b {
			b[j] = byte(j*7 + i)
		}
		e.buckets = append(e.buckets, b)
		f.MapParts = append([]int{i}, f.MapParts...) // asked for from the last to the first
	}
	x, peer := executor(t, e)
	var got []int
	err := x.Fetch(t.Context(), peer, f, func(part int, bucket []byte) error {
		got = append(got, part)
		if !bytes.Equal(bucket, e.buckets[part]) {
			t.Errorf("bucket %d differs: %d bytes, expected %d", part, len(bucket), sizes[part])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.MapParts, got); diff != "" {
		t.Error(diff)
	}
}

func TestFetchFaultKeepsItsClass(t *testing.T) {
	want := &job.TaskError{Fault: job.FetchFault, Text: "gone", MapParts: []int{1}, Holder: 9}
	x, peer := executor(t, &fakeExecutor{buckets: [][]byte{{1}}, fetched: want})
	err := x.Fetch(t.Context(), peer, &job.Fetch{MapParts: []int{0, 1}}, func(int, []byte) error { return nil })
	var got *job.TaskError
	if !errors.As(err, &got) {
		t.Fatalf("%v, expected a task error", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFetchEndsWhereTheReaderFails(t *testing.T) {
	x, peer := executor(t, &fakeExecutor{buckets: [][]byte{{1}, {2}, {3}}})
	mine := errors.New("mine")
	calls := 0
	err := x.Fetch(t.Context(), peer, &job.Fetch{MapParts: []int{0, 1, 2}}, func(int, []byte) error { calls++; return mine })
	if !errors.Is(err, mine) || calls != 1 {
		t.Errorf("%v after %d calls, expected the reader's error after the first", err, calls)
	}
}

func TestBlocksArePutAndRead(t *testing.T) {
	e := &fakeExecutor{}
	x, peer := executor(t, e)
	b := filled[job.BlockData](t)
	b.Data = bytes.Repeat([]byte("block "), 1<<20)
	if err := x.Put(t.Context(), peer, b); err != nil {
		t.Fatal(err)
	}
	got, err := x.Get(t.Context(), peer, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != b.ID || got.Records != b.Records || got.CRC != b.CRC || !bytes.Equal(got.Data, b.Data) {
		t.Error("block changed on its way")
	}
	if _, err := x.Get(t.Context(), peer, id.Block{Number: 404}); !errors.Is(err, job.ErrNoBlock) {
		t.Errorf("%v, expected ErrNoBlock", err)
	}
	e.put = fmt.Errorf("store here: %w", job.ErrFull)
	if err := x.Put(t.Context(), peer, b); !errors.Is(err, job.ErrFull) {
		t.Errorf("%v, expected ErrFull", err)
	}
}

func TestTooLargeBlockIsRefusedClearly(t *testing.T) {
	e := &fakeExecutor{}
	x, peer := executor(t, e)
	b := job.BlockData{ID: id.Block{App: 1, Number: 2}, Data: make([]byte, blockMax+1)}
	if err := x.Put(t.Context(), peer, b); err == nil {
		t.Error("put was taken")
	} else {
		t.Log(err)
	}
	e.blocks[b.ID] = b
	if _, err := x.Get(t.Context(), peer, b.ID); err == nil {
		t.Error("get was answered")
	} else {
		t.Log(err)
	}
	b.Data = b.Data[:blockMax]
	if err := x.Put(t.Context(), peer, b); err != nil {
		t.Errorf("largest block: %v", err)
	}
}

// Rule 5: a copy lies where the ledger says. An address may have been taken over by another node.
func TestAnotherStoreAtTheAddressIsNotUsed(t *testing.T) {
	e := &fakeExecutor{}
	x, peer := executor(t, e)
	peer.Store = "store-2"
	if err := x.Put(t.Context(), peer, job.BlockData{}); !errors.Is(err, ErrOtherStore) {
		t.Errorf("%v, expected ErrOtherStore", err)
	}
	if len(e.blocks) != 0 {
		t.Error("the block was stored")
	}
}

func TestDeadPeerIsNamed(t *testing.T) { // rule 3
	err := pool(t).Put(t.Context(), job.Peer{Name: "n9", Addr: deadAddr(t)}, job.BlockData{})
	if !errors.Is(err, job.ErrPeerDead) {
		t.Errorf("%v, expected ErrPeerDead", err)
	}
	peer := job.Peer{Name: "n1", Addr: node(t, ServerConfig{})}
	if err := pool(t).Put(t.Context(), peer, job.BlockData{}); err == nil || errors.Is(err, job.ErrPeerDead) {
		t.Errorf("%v, expected the refusal of a node without the role", err)
	}
}

func TestCallsToOneselfStayInTheProcess(t *testing.T) {
	e := &fakeExecutor{blocks: map[id.Block]job.BlockData{}, buckets: [][]byte{{1}}}
	e.launch = func(context.Context, *job.Launch) (*job.LaunchResult, error) { return &job.LaunchResult{}, nil }
	x := pool(t)
	x.dial = nil // would panic
	x.Attach(e)
	self := job.Peer{Addr: "self"}
	if err := x.Put(t.Context(), self, job.BlockData{}); err != nil {
		t.Error(err)
	}
	if _, err := x.Get(t.Context(), self, id.Block{}); err != nil {
		t.Error(err)
	}
	if _, err := x.Launch(t.Context(), self, &job.Launch{}); err != nil {
		t.Error(err)
	}
	if err := x.Fetch(t.Context(), self, &job.Fetch{MapParts: []int{0}}, func(int, []byte) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestPoolIsBounded(t *testing.T) { // rule 9
	synctest.Test(t, func(t *testing.T) {
		x := NewExecutors(ExecutorsConfig{})
		busy, err := x.take("busy")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 * connectionsMax {
			p, err := x.take(fmt.Sprint("peer-", i))
			if err != nil {
				t.Fatal(err)
			}
			x.give(p)
		}
		if n := len(x.conns); n > connectionsMax {
			t.Errorf("%d connections, expected %d at most", n, connectionsMax)
		}
		if x.conns["busy"] != busy {
			t.Error("a connection in use was closed")
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
		if _, err := x.take("late"); err == nil {
			t.Error("a closed pool connects")
		}
	})
}

// A peer that is started again is reached without waiting for gRPC's back-off.
func TestRestartedPeerIsReachedAtOnce(t *testing.T) {
	e := &fakeExecutor{blocks: map[id.Block]job.BlockData{}}
	p, err := Listen(PortConfig{Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	addr := p.Addr()
	x, peer := pool(t), job.Peer{Name: "n1", Addr: addr}
	for round := range 3 {
		if round > 0 {
			if p, err = Listen(PortConfig{Bind: addr}); err != nil {
				t.Fatal(err)
			}
		}
		s := NewServer(ServerConfig{Executor: e})
		served := make(chan error, 1)
		go func() { served <- s.Serve(p.GRPC()) }()
		if err := x.Put(t.Context(), peer, job.BlockData{}); err != nil {
			t.Errorf("start %d: %v", round, err)
		}
		s.Stop(t.Context())
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := x.Put(t.Context(), peer, job.BlockData{}); !errors.Is(err, job.ErrPeerDead) {
			t.Errorf("stopped peer: %v, expected ErrPeerDead", err)
		}
	}
}

func TestPanicOfAHandlerIsAnAnswer(t *testing.T) {
	x, peer := executor(t, &fakeExecutor{launch: func(context.Context, *job.Launch) (*job.LaunchResult, error) { panic("broken") }})
	if _, err := x.Launch(t.Context(), peer, &job.Launch{}); err == nil {
		t.Error("no error")
	}
	if err := x.Put(t.Context(), peer, job.BlockData{}); err != nil {
		t.Errorf("the node does not live on: %v", err)
	}
}

func BenchmarkFetch(b *testing.B) {
	e := &fakeExecutor{buckets: [][]byte{make([]byte, 8<<20)}}
	p, err := Listen(PortConfig{Bind: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	s := NewServer(ServerConfig{Executor: e})
	go func() { _ = s.Serve(p.GRPC()) }()
	x := NewExecutors(ExecutorsConfig{})
	defer func() { _ = x.Close(); s.Stop(context.Background()); _ = p.Close() }()
	peer := job.Peer{Addr: p.Addr()}
	b.SetBytes(8 << 20)
	for b.Loop() {
		if err := x.Fetch(b.Context(), peer, &job.Fetch{MapParts: []int{0}}, func(int, []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
