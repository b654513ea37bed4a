package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// collect reads events until the stream ends, or until enough have come.
func collect(t *testing.T, s grpc.ServerStreamingClient[raftstreamv1.EventsReply], enough int) (events []*raftstreamv1.Event, cursor uint64) {
	t.Helper()
	for len(events) < enough {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return events, cursor
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.GetEvents() {
			if e.GetRaftIndex() <= cursor || e.GetRaftIndex() > r.GetRaftIndex() {
				t.Errorf("event of entry %d came with cursor %d after %d", e.GetRaftIndex(), r.GetRaftIndex(), cursor)
			}
		}
		events, cursor = append(events, r.GetEvents()...), r.GetRaftIndex()
	}
	return events, cursor
}

func (n *apiNode) events(t *testing.T, r *raftstreamv1.EventsRequest) grpc.ServerStreamingClient[raftstreamv1.EventsReply] {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s, err := n.apps.Events(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEventsComeInPartsAndTheCursorLeadsOn(t *testing.T) {
	n := newAPI(t)
	const sessions = 2*eventsPart + 10
	for i := range sessions {
		n.ledger.must(&fsm.SessionOpened{Store: id.Store(fmt.Sprintf("s%d", i)), Generation: 1, Name: fmt.Sprint("n", i), Slots: 1, NowMS: 5})
	}
	app := n.submit(t)
	all, cursor := collect(t, n.events(t, &raftstreamv1.EventsRequest{}), 1<<30)
	if cursor != n.ledger.View().Index() {
		t.Errorf("cursor is %d, expected the applied index %d", cursor, n.ledger.View().Index())
	}
	opened := 0
	for _, e := range all {
		if e.GetKind() == fsm.EventSessionOpened {
			opened++
		}
	}
	if opened != sessions {
		t.Errorf("%d sessions were opened, expected %d", opened, sessions)
	}
	last := all[len(all)-1]
	if last.GetKind() != fsm.EventApplicationSubmitted || last.GetApp() != "wc" || last.GetAppId() != app || last.GetTimeMs() == 0 || last.GetText() == "" {
		t.Errorf("last event is %v", last)
	}
	if none, at := collect(t, n.events(t, &raftstreamv1.EventsRequest{After: cursor}), 1); len(none) != 0 || at != cursor {
		t.Errorf("%d events after the cursor, which is then %d", len(none), at)
	}
	ours, _ := collect(t, n.events(t, &raftstreamv1.EventsRequest{Name: "wc"}), 1<<30)
	for _, e := range ours {
		if e.GetAppId() != app {
			t.Errorf("event of another application: %v", e)
		}
	}
	if len(ours) == 0 {
		t.Error("the application has no events")
	}
}

func TestFollowerHearsWhatHappensAndThatNothingDoes(t *testing.T) {
	n := newAPI(t)
	app := n.submit(t)
	s := n.events(t, &raftstreamv1.EventsRequest{Name: "wc", Follow: true, After: n.ledger.View().Index()})
	r, err := s.Recv()
	if err != nil || len(r.GetEvents()) != 0 || r.GetAppId() != app || r.GetRaftIndex() != n.ledger.View().Index() {
		t.Fatalf("first answer is %v, %v, expected the cursor", r, err)
	}
	n.ledger.must(&fsm.Epoch{Term: 1, Leader: "id-1", Name: "n1", NowMS: 9}) // of no application
	if r, err = s.Recv(); err != nil || len(r.GetEvents()) != 0 || r.GetRaftIndex() != n.ledger.View().Index() {
		t.Fatalf("%v, %v, expected the cursor", r, err)
	}
	n.ledger.must(&fsm.ApplicationStopped{App: id.App(app), Now: true, NowMS: 10})
	events, _ := collect(t, s, 1)
	if events[0].GetAppId() != app || events[0].GetRaftIndex() != n.ledger.View().Index() {
		t.Errorf("%v, expected the stop", events)
	}
	// Another node leads: this one may know nothing more, and its followers must go on there.
	n.ledger.set(func() { n.ledger.follows = true })
	for err = error(nil); err == nil; {
		_, err = s.Recv()
	}
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_NOT_LEADER {
		t.Errorf("%v, expected a redirection", err)
	}
	stale := n.events(t, &raftstreamv1.EventsRequest{Follow: true, Stale: true})
	if all, _ := collect(t, stale, 2); len(all) < 2 {
		t.Errorf("%d events of a node that does not lead, expected all", len(all))
	}
}

func TestEventsOfAnApplicationThatIsNotThere(t *testing.T) {
	n := newAPI(t)
	_, err := n.events(t, &raftstreamv1.EventsRequest{Name: "wc"}).Recv()
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_NOT_FOUND {
		t.Errorf("%v, expected NOT_FOUND", err)
	}
}

// A node that stops must not wait for those who follow its events.
func TestStoppingEndsTheStreamsOfFollowers(t *testing.T) {
	n := newAPI(t)
	s := n.events(t, &raftstreamv1.EventsRequest{Follow: true})
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	n.server.once.Do(func() { close(n.server.stopping) })
	var err error
	for err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("%v, expected UNAVAILABLE", err)
	}
}
