package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

type ingestStream = grpc.BidiStreamingClient[raftstreamv1.IngestRequest, raftstreamv1.IngestReply]

// active submits an application whose receiver runs on the node at addr.
func (n *apiNode) active(t *testing.T, addr string) id.App {
	t.Helper()
	app := id.App(n.submit(t))
	s := id.Session(n.ledger.must(&fsm.SessionOpened{Store: "s1", Generation: 1, Name: "host", Addr: addr, Slots: 1, NowMS: 5}).Index)
	i := id.Instance(n.ledger.must(&fsm.ReceiverScheduled{App: app, Session: s, NowMS: 6}).Index)
	n.ledger.must(&fsm.ReceiverRegistered{App: app, Instance: i, Session: s, NowMS: 7})
	return app
}

// openIngest opens a stream and gives the answer to it.
func (n *apiNode) openIngest(t *testing.T, o *raftstreamv1.IngestOpen) (ingestStream, *raftstreamv1.IngestReply, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s, err := n.apps.Ingest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&raftstreamv1.IngestRequest{Body: &raftstreamv1.IngestRequest_Open{Open: o}}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Recv()
	return s, r, err
}

func push(t *testing.T, s ingestStream, first uint64, lines ...string) {
	t.Helper()
	p := &raftstreamv1.IngestPush{First: first}
	for _, l := range lines {
		p.Records = append(p.Records, []byte(l))
	}
	if err := s.Send(&raftstreamv1.IngestRequest{Body: &raftstreamv1.IngestRequest_Push{Push: p}}); err != nil {
		t.Fatal(err)
	}
}

func TestIngestAnswersWithPositions(t *testing.T) {
	n := newAPI(t)
	app := n.active(t, n.addr)
	n.pusher.last["p"] = 2
	s, r, err := n.openIngest(t, &raftstreamv1.IngestOpen{App: "wc", Producer: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if r.GetAcked() != 2 || r.GetOpened().GetAppId() != uint64(app) || r.GetOpened().GetStream() != 0 {
		t.Errorf("opened with %v", r)
	}
	push(t, s, 1, "a", "b", "c") // two of them were taken before
	if r, err := s.Recv(); err != nil || r.GetAcked() != 3 || r.GetRaftIndex() != 1003 {
		t.Errorf("%v, %v", r, err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err == nil || status.Code(err) != codes.Unknown && err.Error() != "EOF" {
		t.Errorf("end: %v", err)
	}
	if len(n.pusher.lines) != 1 || n.pusher.lines[0] != "c" {
		t.Errorf("taken: %q", n.pusher.lines)
	}
}

func TestPushesInFlightAreAnsweredAfterTheSendersEnd(t *testing.T) {
	n := newAPI(t)
	n.active(t, n.addr)
	n.pusher.hold = true
	s, _, err := n.openIngest(t, &raftstreamv1.IngestOpen{App: "wc", Producer: "p"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		push(t, s, uint64(i+1), fmt.Sprint(i))
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for answered := 0; answered < 10; {
		n.pusher.mu.Lock()
		held := n.pusher.held
		n.pusher.held = nil
		n.pusher.mu.Unlock()
		for _, answer := range held {
			answer()
			if r, err := s.Recv(); err != nil || r.GetAcked() != uint64(answered+1) {
				t.Fatalf("%v, %v", r, err)
			}
			answered++
		}
	}
	if r, err := s.Recv(); err == nil {
		t.Errorf("%v after the last", r)
	}
}

func TestIngestIsRedirectedToTheReceiver(t *testing.T) {
	n := newAPI(t)
	app := n.active(t, "127.0.0.1:9")
	n.pusher.here = false
	_, _, err := n.openIngest(t, &raftstreamv1.IngestOpen{App: "wc", Producer: "p"})
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_NOT_HERE || p.GetAddr() != "127.0.0.1:9" || p.GetAppId() != uint64(app) {
		t.Errorf("%v", err)
	}
	// A client that was redirected here needs no ledger of this node.
	n.pusher.here = true
	n.ledger.set(func() { n.ledger.follows = true })
	stream := int32(0)
	if _, _, err := n.openIngest(t, &raftstreamv1.IngestOpen{AppId: uint64(app), Stream: &stream, Producer: "p"}); err != nil {
		t.Error(err)
	}
	// The receiver has moved on: the leader knows where to.
	n.pusher.here, n.leader = false, "127.0.0.1:8"
	_, _, err = n.openIngest(t, &raftstreamv1.IngestOpen{AppId: uint64(app), Stream: &stream, Producer: "p"})
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_NOT_LEADER || p.GetAddr() != n.leader {
		t.Errorf("%v", err)
	}
}

func TestIngestWithoutReceiverMustWait(t *testing.T) {
	n := newAPI(t)
	n.submit(t)
	_, _, err := n.openIngest(t, &raftstreamv1.IngestOpen{App: "wc", Producer: "p"})
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_NO_RECEIVER || p.GetRetryMs() == 0 || status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestBadIngestIsExplained(t *testing.T) {
	n := newAPI(t)
	n.active(t, n.addr)
	other := int32(7)
	for name, test := range map[string]struct {
		open *raftstreamv1.IngestOpen
		want raftstreamv1.Problem_Kind
	}{
		"no application": {&raftstreamv1.IngestOpen{App: "x", Producer: "p"}, raftstreamv1.Problem_KIND_NOT_FOUND},
		"no producer":    {&raftstreamv1.IngestOpen{App: "wc"}, raftstreamv1.Problem_KIND_INVALID},
		"no such stream": {&raftstreamv1.IngestOpen{App: "wc", Producer: "p", Stream: &other}, raftstreamv1.Problem_KIND_NOT_FOUND},
	} {
		_, _, err := n.openIngest(t, test.open)
		if p := kind(t, err); p.GetKind() != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, p := range map[string]*raftstreamv1.IngestPush{
		"no records":      {First: 1},
		"no number":       {Records: [][]byte{{1}}},
		"too many":        {First: 1, Records: make([][]byte, pushRecordsMax+1)},
		"too large":       {First: 1, Records: [][]byte{bytes.Repeat([]byte("x"), pushMax+1)}},
		"nothing at all":  nil,
		"sum is too much": {First: 1, Records: [][]byte{make([]byte, pushMax), make([]byte, 1)}},
	} {
		s, _, err := n.openIngest(t, &raftstreamv1.IngestOpen{App: "wc", Producer: "p"})
		if err != nil {
			t.Fatal(err)
		}
		m := &raftstreamv1.IngestRequest{}
		if p != nil {
			m.Body = &raftstreamv1.IngestRequest_Push{Push: p}
		}
		_ = s.Send(m) // Recv tells
		_, err = s.Recv()
		if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_INVALID {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(n.pusher.lines) != 0 {
		t.Errorf("taken: %q", n.pusher.lines)
	}
}

func TestPushesThatAreNotTakenSayWhy(t *testing.T) {
	n := newAPI(t)
	n.active(t, n.addr)
	for _, test := range []struct {
		err  error
		want raftstreamv1.Problem_Kind
		code codes.Code
	}{
		{&connector.PositionError{Partition: "p", Got: 5, Want: 3}, raftstreamv1.Problem_KIND_POSITION, codes.FailedPrecondition},
		{fmt.Errorf("line end: %w", connector.ErrRecord), raftstreamv1.Problem_KIND_INVALID, codes.InvalidArgument},
		{errors.New("instance is over"), raftstreamv1.Problem_KIND_NO_RECEIVER, codes.Unavailable},
	} {
		n.pusher.mu.Lock()
		n.pusher.err = test.err
		n.pusher.mu.Unlock()
		s, _, err := n.openIngest(t, &raftstreamv1.IngestOpen{App: "wc", Producer: "p"})
		if err != nil {
			t.Fatal(err)
		}
		push(t, s, 5, "x")
		_, err = s.Recv()
		if p := kind(t, err); p.GetKind() != test.want || status.Code(err) != test.code {
			t.Errorf("%v: %v", test.err, err)
		}
	}
}

// Rule 9: what is in flight is bounded; then the server stops reading.
func TestPushesInFlightAreBounded(t *testing.T) {
	n := newAPI(t)
	n.active(t, n.addr)
	n.pusher.hold = true
	s, _, err := n.openIngest(t, &raftstreamv1.IngestOpen{App: "wc", Producer: "p"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * pushesInFlight {
		push(t, s, uint64(i+1), "x")
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for answered := uint64(0); answered < 3*pushesInFlight; {
		n.pusher.mu.Lock()
		held := n.pusher.held
		n.pusher.held = nil
		n.pusher.mu.Unlock()
		if len(held) > pushesInFlight {
			t.Fatalf("%d pushes in flight, expected %d at most", len(held), pushesInFlight)
		}
		for _, answer := range held {
			answer()
		}
		for range held {
			r, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			answered = r.GetAcked()
		}
	}
}
