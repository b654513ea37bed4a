package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

type ingestServer = grpc.BidiStreamingServer[raftstreamv1.IngestRequest, raftstreamv1.IngestReply]

// fakeReceiver keeps the lines of producers in order and takes none twice, as the cluster does.
type fakeReceiver struct {
	mu      sync.Mutex
	last    map[string]uint64
	lines   []string
	opens   []*raftstreamv1.IngestOpen
	dieAt   func() bool   // asked after every push: break the stream without an answer
	silent  chan struct{} // not nil: answers wait until it is closed
	fail    error         // of opening
	refuses error         // of pushes
}

func newReceiver() *fakeReceiver { return &fakeReceiver{last: map[string]uint64{}} }

func (r *fakeReceiver) open(o *raftstreamv1.IngestOpen) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opens = append(r.opens, o)
	return r.last[o.GetProducer()], r.fail
}

func (r *fakeReceiver) take(producer string, p *raftstreamv1.IngestPush) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuses != nil {
		return 0, r.refuses
	}
	last := r.last[producer]
	if p.GetFirst() > last+1 {
		return 0, problem(codes.FailedPrecondition, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_POSITION})
	}
	for i, line := range p.GetRecords() {
		if seq := p.GetFirst() + uint64(i); seq == last+1 {
			last = seq
			r.lines = append(r.lines, string(line))
		}
	}
	r.last[producer] = last
	if r.dieAt != nil && r.dieAt() {
		return 0, status.Error(codes.Unavailable, "died")
	}
	return last, nil
}

func (r *fakeReceiver) serve(s ingestServer) error {
	m, err := s.Recv()
	if err != nil {
		return err
	}
	producer := m.GetOpen().GetProducer()
	last, err := r.open(m.GetOpen())
	if err != nil {
		return err
	}
	if err := s.Send(&raftstreamv1.IngestReply{Opened: &raftstreamv1.IngestOpened{AppId: 9}, Acked: last}); err != nil {
		return err
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		last, err := r.take(producer, m.GetPush())
		if err != nil {
			return err
		}
		if r.silent != nil {
			select {
			case <-r.silent:
			case <-s.Context().Done():
				return s.Context().Err()
			}
		}
		if err := s.Send(&raftstreamv1.IngestReply{Acked: last, RaftIndex: 100 + last}); err != nil {
			return err
		}
	}
}

func receives(t testing.TB) (*fakeNode, *fakeReceiver) {
	n, r := newNode(t), newReceiver()
	n.ingest = r.serve
	return n, r
}

func lines(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%100))
	}
	return out
}

func (r *fakeReceiver) check(t *testing.T, want []string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) != len(want) {
		t.Fatalf("%d lines taken, %d sent", len(r.lines), len(want))
	}
	for i := range want {
		if r.lines[i] != want[i] {
			t.Fatalf("line %d is %q, sent %q", i, r.lines[i], want[i])
		}
	}
}

func TestEveryLineIsTakenOnce(t *testing.T) {
	n, r := receives(t)
	in, err := newClient(t, n).Ingest(t.Context(), "wc", IngestOptions{Producer: "p"})
	if err != nil {
		t.Fatal(err)
	}
	want := lines(50_000)
	if err := in.Send(t.Context(), want...); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(limit(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	r.check(t, want)
	if in.Acked() != 50_000 || in.Index() != 150_000-100_000+100 {
		t.Errorf("acked %d at index %d", in.Acked(), in.Index())
	}
	if err := in.Send(t.Context(), "late"); !errors.Is(err, ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
}

// The receiver dies again and again, before and after it took what was sent, and moves between nodes.
func TestNothingIsLostOrDoubledWhenTheReceiverDies(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	a, b := newNode(t), newNode(t)
	r := newReceiver()
	host := a.addr
	deaths := 0
	r.dieAt = func() bool {
		if deaths == 30 || random.IntN(4) > 0 {
			return false
		}
		deaths++
		host = []string{a.addr, b.addr}[random.IntN(2)]
		return true
	}
	for _, n := range []*fakeNode{a, b} {
		n.ingest = func(s ingestServer) error {
			r.mu.Lock()
			at := host
			r.mu.Unlock()
			if at != n.addr {
				return problem(codes.FailedPrecondition, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_NOT_HERE, Addr: at, AppId: 9})
			}
			return r.serve(s)
		}
	}
	in, err := newClient(t, a, b).Ingest(t.Context(), "wc", IngestOptions{Producer: "p", WindowBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	want := lines(100_000)
	for at := 0; at < len(want); at += 1000 {
		if err := in.Send(limit(t, time.Minute), want[at:at+1000]...); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Close(limit(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	r.check(t, want)
	if deaths == 0 {
		t.Error("nothing died")
	}
}

func TestLinesTakenInAnEarlierRunAreLeftOut(t *testing.T) {
	n, r := receives(t)
	want := lines(1000)
	for _, upTo := range []int{300, 1000, 1000} { // the third run sends nothing new
		in, err := newClient(t, n).Ingest(t.Context(), "wc", IngestOptions{Producer: "p"})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Send(t.Context(), want[:upTo]...); err != nil {
			t.Fatal(err)
		}
		if err := in.Close(limit(t, 30*time.Second)); err != nil {
			t.Fatal(err)
		}
		r.check(t, want[:upTo])
	}
	in, err := newClient(t, n).Ingest(t.Context(), "wc", IngestOptions{Producer: "p", Continue: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Send(t.Context(), "new"); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(limit(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	r.check(t, append(want, "new"))
}

func TestOpeningFollowsRedirections(t *testing.T) {
	leader, host := newNode(t), newNode(t)
	r := newReceiver()
	host.ingest = r.serve
	waits := 0
	leader.ingest = func(s ingestServer) error {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if m.GetOpen().GetApp() != "wc" {
			t.Errorf("asked for %v", m.GetOpen())
		}
		if waits++; waits < 3 {
			return problem(codes.Unavailable, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_NO_RECEIVER, RetryMs: 1})
		}
		return problem(codes.FailedPrecondition, &raftstreamv1.Problem{
			Kind: raftstreamv1.Problem_KIND_NOT_HERE, Addr: host.addr, AppId: 9, Stream: 4,
		})
	}
	in, err := newClient(t, leader).Ingest(t.Context(), "wc", IngestOptions{Producer: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if o := r.opens[0]; o.GetAppId() != 9 || o.Stream == nil || o.GetStream() != 4 {
		t.Errorf("the host was asked for %v", o)
	}
	if err := in.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A host that is stopped keeps its connections and answers nothing: the ledger knows first that the receiver moved.
func TestASilentHostIsLeftWhenTheReceiverHasMoved(t *testing.T) {
	hung, r := receives(t)
	r.silent = make(chan struct{})
	next, moved := receives(t)
	leader := newNode(t)
	leader.ingest = func(ingestServer) error {
		return problem(codes.FailedPrecondition, &raftstreamv1.Problem{
			Kind: raftstreamv1.Problem_KIND_NOT_HERE, Addr: hung.addr, AppId: 9,
		})
	}
	asked := 0
	leader.hosts = func() []*raftstreamv1.Receiver {
		if asked++; asked == 1 {
			return []*raftstreamv1.Receiver{{AppId: 9, Addr: hung.addr, Instance: 1}} // not yet
		}
		return []*raftstreamv1.Receiver{{AppId: 9, Stream: 1, Addr: "127.0.0.1:1"}, {AppId: 9, Addr: next.addr, Instance: 2}}
	}
	in, err := newClient(t, leader).Ingest(t.Context(), "wc", IngestOptions{Producer: "p"})
	if err != nil {
		t.Fatal(err)
	}
	want := lines(100)
	start := time.Now()
	if err := in.Send(t.Context(), want...); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(limit(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	moved.check(t, want)
	if took := time.Since(start); took > pingAfter-stallTime {
		t.Errorf("took %v, expected to be sooner than a keepalive", took)
	}
	if o := moved.opens[0]; o.GetAppId() != 9 || o.Stream == nil {
		t.Errorf("the host was asked for %v, expected application and stream by number", o)
	}
	close(r.silent)
}

func TestIngestThatIsRefusedEnds(t *testing.T) {
	n, r := receives(t)
	r.fail = problem(codes.NotFound, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_NOT_FOUND})
	c := newClient(t, n)
	if _, err := c.Ingest(t.Context(), "wc", IngestOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v, expected ErrNotFound", err)
	}
	r.fail = nil
	in, err := c.Ingest(t.Context(), "wc", IngestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if in.Producer() == "" {
		t.Error("no producer was made up")
	}
	r.mu.Lock()
	r.refuses = problem(codes.InvalidArgument, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_INVALID, Thing: "record"})
	r.mu.Unlock()
	if err := in.Send(t.Context(), "bad"); err != nil {
		t.Fatal(err)
	}
	if err := in.Flush(limit(t, 10*time.Second)); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v, expected ErrInvalid", err)
	}
	if err := in.Close(limit(t, 10*time.Second)); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v, expected ErrInvalid", err)
	}
	for _, line := range []string{"a\nb", strings.Repeat("x", recordMax+1)} {
		if err := in.Send(t.Context(), line); !errors.Is(err, ErrInvalid) {
			t.Errorf("line of %d bytes: %v", len(line), err)
		}
	}
}

// Rule 4: a producer that the ledger has forgotten is not silently started anew.
func TestForgottenPositionEndsTheIngester(t *testing.T) {
	n, r := receives(t)
	in, err := newClient(t, n).Ingest(t.Context(), "wc", IngestOptions{Producer: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Send(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := in.Flush(limit(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	delete(r.last, "p")
	r.dieAt = func() bool { return true }
	r.mu.Unlock()
	if err := in.Send(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(limit(t, 10*time.Second)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "2 were acknowledged") {
		t.Errorf("%v, expected that acknowledged records are unknown", err)
	}
}

func TestSendWaitsForTheWindow(t *testing.T) { // rule 9
	n, r := receives(t)
	r.silent = make(chan struct{})
	in, err := newClient(t, n).Ingest(t.Context(), "wc", IngestOptions{Producer: "p", WindowBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 100)
	sent := 0
	for ; ; sent++ {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := in.Send(ctx, line)
		cancel()
		if err != nil {
			break
		}
	}
	if sent != 10 {
		t.Errorf("%d lines of 100 bytes were taken into a window of 1000 bytes", sent)
	}
	if err := in.Flush(limit(t, 100*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flush without answers: %v", err)
	}
	close(r.silent)
	if err := in.Send(limit(t, 10*time.Second), line); err != nil {
		t.Error(err)
	}
	if err := in.Close(limit(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
	if n := len(r.lines); n != 11 {
		t.Errorf("%d lines taken", n)
	}
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	n, r := receives(t)
	r.silent = make(chan struct{})
	in, err := newClient(t, n).Ingest(t.Context(), "wc", IngestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Send(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(limit(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, expected that the line is not acknowledged", err)
	}
}

func TestClientCloseEndsIngesters(t *testing.T) {
	n, _ := receives(t)
	c := newClient(t, n)
	in, err := c.Ingest(t.Context(), "wc", IngestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := in.Send(t.Context(), "x"); err == nil {
		t.Error("a closed client's ingester takes lines")
	}
	if err := in.Close(t.Context()); err != nil { // nothing was sent
		t.Error(err)
	}
}

func BenchmarkSend(b *testing.B) {
	n, _ := receives(b)
	in, err := newClient(b, n).Ingest(b.Context(), "wc", IngestOptions{})
	if err != nil {
		b.Fatal(err)
	}
	line := strings.Repeat("word ", 20)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := in.Send(b.Context(), line); err != nil {
			b.Fatal(err)
		}
	}
	if err := in.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
