package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

// leads makes n answer Submit and GetApp.
func (n *fakeNode) leads() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.submit = func(r *raftstreamv1.SubmitRequest) (*raftstreamv1.SubmitReply, error) {
		return &raftstreamv1.SubmitReply{Id: 9, Name: r.GetRequestId()}, nil
	}
	n.get = func(*raftstreamv1.GetAppRequest) (*raftstreamv1.GetAppReply, error) {
		return &raftstreamv1.GetAppReply{App: &raftstreamv1.App{Id: 9, Name: n.addr}}, nil
	}
}

// fails makes n refuse both with err.
func (n *fakeNode) fails(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.submit = func(*raftstreamv1.SubmitRequest) (*raftstreamv1.SubmitReply, error) { return nil, err }
	n.get = func(*raftstreamv1.GetAppRequest) (*raftstreamv1.GetAppReply, error) { return nil, err }
}

func limit(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestCallsFollowTheLeader(t *testing.T) {
	a, b, c := newNode(t), newNode(t), newNode(t)
	a.leads()
	b.fails(notLeader(a.addr))
	c.fails(notLeader(""))
	cl := newClient(t, a, b, c)
	for range 10 {
		r, err := cl.GetApp(limit(t, 10*time.Second), &raftstreamv1.GetAppRequest{Name: "wc"})
		if err != nil || r.GetApp().GetName() != a.addr {
			t.Fatalf("%v, %v", r, err)
		}
	}
	if n := b.count() + c.count(); n > 3 {
		t.Errorf("others were asked %d times: the leader is not remembered", n)
	}
	a.stop()
	b.leads()
	r, err := cl.GetApp(limit(t, 10*time.Second), &raftstreamv1.GetAppRequest{Name: "wc"})
	if err != nil || r.GetApp().GetName() != b.addr {
		t.Errorf("after the leader died: %v, %v", r, err)
	}
}

func TestSubmitRepeatsItsRequestID(t *testing.T) {
	a, b := newNode(t), newNode(t)
	var ids []string
	a.submit = func(r *raftstreamv1.SubmitRequest) (*raftstreamv1.SubmitReply, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		ids = append(ids, r.GetRequestId())
		switch len(ids) {
		case 1:
			return nil, problem(codes.Unavailable, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_UNKNOWN_OUTCOME})
		case 2:
			return nil, problem(codes.ResourceExhausted, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_OVERLOADED, RetryMs: 1})
		case 3:
			return nil, status.Error(codes.Unavailable, "connection lost")
		}
		return &raftstreamv1.SubmitReply{Id: 4}, nil
	}
	b.fails(notLeader(a.addr))
	r := &raftstreamv1.SubmitRequest{Program: "wordcount"}
	got, err := newClient(t, a, b).Submit(limit(t, 10*time.Second), r)
	if err != nil || got.GetId() != 4 {
		t.Fatalf("%v, %v", got, err)
	}
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Errorf("request ids %q, expected one", ids)
		}
	}
	if r.GetRequestId() != "" {
		t.Error("the caller's request was changed")
	}
}

func TestRedirectLoopEndsWithTheContext(t *testing.T) {
	a, b := newNode(t), newNode(t)
	a.fails(notLeader(b.addr))
	b.fails(notLeader(a.addr))
	_, err := newClient(t, a, b).GetApp(limit(t, 500*time.Millisecond), &raftstreamv1.GetAppRequest{Name: "wc"})
	if !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), a.addr) {
		t.Errorf("%v, expected that no leader was reached at the nodes", err)
	}
	if n := a.count() + b.count(); n > 100 {
		t.Errorf("%d calls in half a second: the client does not wait", n)
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := &fakeNode{addr: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = newClient(t, dead).GetApp(limit(t, time.Second), &raftstreamv1.GetAppRequest{Name: "wc"})
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v, expected why", err)
	}
}

func TestRefusalsAreTyped(t *testing.T) {
	for kind, want := range map[raftstreamv1.Problem_Kind]error{
		raftstreamv1.Problem_KIND_NOT_FOUND: ErrNotFound,
		raftstreamv1.Problem_KIND_INVALID:   ErrInvalid,
		raftstreamv1.Problem_KIND_TAKEN:     ErrTaken,
		raftstreamv1.Problem_KIND_REFUSED:   ErrRefused,
	} {
		n := newNode(t)
		n.fails(problem(codes.FailedPrecondition, &raftstreamv1.Problem{Kind: kind, Thing: "name", Got: "x", Expected: "y"}))
		_, err := newClient(t, n).GetApp(limit(t, 10*time.Second), &raftstreamv1.GetAppRequest{})
		var e *Error
		if !errors.Is(err, want) || !errors.Is(err, ErrRefused) || errors.Is(err, ErrUnreachable) || !errors.As(err, &e) ||
			e.Thing != "name" || e.Got != "x" || e.Expected != "y" {
			t.Errorf("%v: %v", kind, err)
		}
		if n.count() != 1 {
			t.Errorf("%v: asked %d times", kind, n.count())
		}
	}
}

func TestTooLargeMessageIsRefusedClearly(t *testing.T) {
	n := newNode(t)
	n.leads()
	_, err := newClient(t, n).Submit(limit(t, 10*time.Second), &raftstreamv1.SubmitRequest{ParamsJson: strings.Repeat("x", messageMax+1)})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("%v", err)
	}
}

// A repeated Stop must not stop a later application of the same name.
func TestStopNamesOneApplication(t *testing.T) {
	n := newNode(t)
	n.leads()
	var asked []uint64
	n.stopFn = func(r *raftstreamv1.StopRequest) (*raftstreamv1.StopReply, error) {
		asked = append(asked, r.GetId())
		if len(asked) == 1 {
			return nil, problem(codes.Unavailable, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_UNKNOWN_OUTCOME})
		}
		return &raftstreamv1.StopReply{Id: r.GetId()}, nil
	}
	r, err := newClient(t, n).Stop(limit(t, 10*time.Second), &raftstreamv1.StopRequest{Name: "wc"})
	if err != nil || r.GetId() != 9 || len(asked) != 2 || asked[0] != 9 || asked[1] != 9 {
		t.Errorf("%v, %v, asked for %v", r, err, asked)
	}
}

func TestMembersAreLearnt(t *testing.T) {
	a, b := newNode(t), newNode(t)
	a.leads()
	a.knows = []string{a.addr, b.addr}
	cl := newClient(t, a)
	if _, err := cl.GetApp(limit(t, 10*time.Second), &raftstreamv1.GetAppRequest{}); err != nil {
		t.Fatal(err)
	}
	cl.work.Wait() // it has learnt
	a.stop()
	b.leads()
	r, err := cl.GetApp(limit(t, 10*time.Second), &raftstreamv1.GetAppRequest{})
	if err != nil || r.GetApp().GetName() != b.addr {
		t.Errorf("%v, %v, expected the member that was never given", r, err)
	}
	if _, err := cl.GetVersion(limit(t, 200*time.Millisecond)); !errors.Is(err, ErrUnreachable) {
		t.Errorf("version of the node given: %v, expected that it is not reached", err)
	}
	if r, err := cl.GetApp(limit(t, 200*time.Millisecond), &raftstreamv1.GetAppRequest{Stale: true}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("the copy of the node given: %v, %v, expected that it is not reached, and nobody asked for his", r, err)
	}
}

// The copy of the ledger is read at the first node given that answers, of whom that does not say that it leads.
func TestACopyIsReadAtTheNodesGiven(t *testing.T) {
	a, b, c := newNode(t), newNode(t), newNode(t)
	a.leads()
	b.leads() // as far as it answers
	c.leads()
	c.knows = []string{a.addr, b.addr, c.addr}
	cl := newClient(t, a, b)
	cl.answered(c.addr)
	cl.work.Wait()
	stale := &raftstreamv1.GetAppRequest{Stale: true}
	for _, n := range []*fakeNode{a, b} {
		r, err := cl.GetApp(limit(t, 10*time.Second), stale)
		if err != nil || r.GetApp().GetName() != n.addr {
			t.Errorf("%v, %v, expected the copy of %s", r, err, n.addr)
		}
		n.stop()
	}
	if r, err := cl.GetApp(limit(t, 200*time.Millisecond), stale); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), c.addr) {
		t.Errorf("%v, %v, expected that nobody answers, and no word of %s, who was not asked", r, err, c.addr)
	}
	if cl.leader != c.addr {
		t.Errorf("%q leads for the client, expected %s, as before", cl.leader, c.addr)
	}
}

// A stopped process answers nothing: the next node is asked after a while.
func TestHungNodeIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung, good := bufconn.Listen(1<<16), bufconn.Listen(1<<16)
		n := serve(t, good)
		n.leads()
		c, err := Dial([]string{"hung:1", "good:1"}, WithDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			if addr == "hung:1" {
				return hung.DialContext(ctx) // nobody accepts
			}
			return good.DialContext(ctx)
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 5 { // whichever is asked first
			start := time.Now()
			if _, err := c.GetApp(t.Context(), &raftstreamv1.GetAppRequest{}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > attemptTime+waitMax {
				t.Errorf("took %v", took)
			}
			c.failed("good:1")
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		n.stop()
	})
}

func TestBadAddressesAreRefused(t *testing.T) {
	for _, addrs := range [][]string{nil, {"nowhere"}, make([]string, nodesMax+1)} {
		if _, err := Dial(addrs); err == nil {
			t.Errorf("%v was taken", addrs)
		}
	}
}

func TestClosedClientRefuses(t *testing.T) {
	n := newNode(t)
	n.leads()
	c := newClient(t, n)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetApp(t.Context(), &raftstreamv1.GetAppRequest{}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, expected ErrClosed", err)
	}
	if _, err := c.Ingest(t.Context(), "wc", IngestOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, expected ErrClosed", err)
	}
}
