package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

type eventStream = grpc.ServerStreamingServer[raftstreamv1.EventsReply]

// history tells an event for every entry after the cursor, up to last, then does what then says.
func history(last uint64, then func(eventStream) error) func(*raftstreamv1.EventsRequest, eventStream) error {
	return func(r *raftstreamv1.EventsRequest, s eventStream) error {
		for i := r.GetAfter() + 1; i <= last; i++ {
			e := &raftstreamv1.Event{RaftIndex: i, AppId: r.GetId(), App: r.GetName()}
			if err := s.Send(&raftstreamv1.EventsReply{RaftIndex: i, AppId: 7, Events: []*raftstreamv1.Event{e}}); err != nil {
				return err
			}
		}
		return then(s)
	}
}

func hang(s eventStream) error {
	<-s.Context().Done()
	return s.Context().Err()
}

var errEnough = errors.New("enough")

// until collects indices of events until last has come.
func until(last uint64, seen *[]uint64) func(*raftstreamv1.EventsReply) error {
	return func(r *raftstreamv1.EventsReply) error {
		for _, e := range r.GetEvents() {
			*seen = append(*seen, e.GetRaftIndex())
		}
		if r.GetRaftIndex() >= last {
			return errEnough
		}
		return nil
	}
}

func TestEventsGoOnWhereALeaderBrokeOff(t *testing.T) {
	a, b, c := newNode(t), newNode(t), newNode(t)
	a.events = history(3, func(eventStream) error { return status.Error(codes.Unavailable, "this node is stopping") })
	var after, app uint64
	b.events = func(r *raftstreamv1.EventsRequest, s eventStream) error {
		if r.GetAfter() == 0 {
			return notLeader(a.addr)
		}
		after, app = r.GetAfter(), r.GetId()
		return history(6, hang)(r, s)
	}
	c.events = func(*raftstreamv1.EventsRequest, eventStream) error { return notLeader("") }
	a2 := a.events
	a.events = func(r *raftstreamv1.EventsRequest, s eventStream) error {
		if r.GetAfter() > 0 {
			return notLeader(b.addr)
		}
		return a2(r, s)
	}
	var seen []uint64
	r := &raftstreamv1.EventsRequest{Name: "wc", Follow: true}
	err := newClient(t, a, b, c).Events(limit(t, 20*time.Second), r, until(6, &seen))
	if !errors.Is(err, errEnough) || !slices.Equal(seen, []uint64{1, 2, 3, 4, 5, 6}) {
		t.Errorf("%v, %v, expected every event once", seen, err)
	}
	if after != 3 || app != 7 {
		t.Errorf("asked for events of application %d after %d, expected 7, which the name was, after 3", app, after)
	}
	if r.GetAfter() != 0 || r.GetId() != 0 {
		t.Error("the caller's request was changed")
	}
}

func TestEventsLeaveANodeThatSaysNothing(t *testing.T) {
	for name, told := range map[string]uint64{"at once": 0, "after some": 2} {
		t.Run(name, func(t *testing.T) {
			a, b := newNode(t), newNode(t)
			stuck := history(told, hang)
			a.events = func(r *raftstreamv1.EventsRequest, s eventStream) error {
				if r.GetAfter() < told || told == 0 {
					return stuck(r, s)
				}
				return notLeader(b.addr)
			}
			b.events = func(r *raftstreamv1.EventsRequest, s eventStream) error {
				if r.GetAfter() < told {
					return notLeader(a.addr)
				}
				return history(4, hang)(r, s)
			}
			var seen []uint64
			err := newClient(t, a, b).Events(limit(t, 30*time.Second), &raftstreamv1.EventsRequest{Follow: true}, until(4, &seen))
			if !errors.Is(err, errEnough) || !slices.Equal(seen, []uint64{1, 2, 3, 4}) {
				t.Errorf("%v, %v, expected every event once", seen, err)
			}
		})
	}
}

func TestEventsEnd(t *testing.T) {
	a := newNode(t)
	a.events = history(2, func(eventStream) error { return nil })
	c := newClient(t, a)
	var seen []uint64
	if err := c.Events(limit(t, 10*time.Second), &raftstreamv1.EventsRequest{}, until(9, &seen)); err != nil || len(seen) != 2 {
		t.Errorf("%v, %v, expected two events and the end", seen, err)
	}
	a.events = func(*raftstreamv1.EventsRequest, eventStream) error {
		return problem(codes.NotFound, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_NOT_FOUND})
	}
	if err := c.Events(limit(t, 10*time.Second), &raftstreamv1.EventsRequest{Name: "x"}, until(9, &seen)); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v, expected ErrNotFound", err)
	}
	started := make(chan struct{}, 1)
	a.events = history(0, func(s eventStream) error {
		started <- struct{}{}
		return hang(s)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Events(ctx, &raftstreamv1.EventsRequest{Follow: true}, until(9, &seen)) }()
	<-started
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, expected that the context ended", err)
	}
}

func TestMembersAreFoundByNameAndID(t *testing.T) {
	a := newNode(t)
	a.named = []*raftstreamv1.Member{
		{Name: "n1", Id: "i1"}, {Name: "n2", Id: "i2"}, {Name: "n2", Id: "i3"}, {Name: "i1", Id: "i4"},
	}
	c := newClient(t, a)
	for asked, want := range map[string]struct {
		id   string
		kind error
		text string
	}{
		"n1": {id: "i1"}, "i3": {id: "i3"}, "i1": {id: "i1"}, // an id goes before a name
		"n2": {kind: ErrInvalid, text: "i2, i3"},
		"n9": {kind: ErrNotFound, text: "n1, n2"},
	} {
		m, err := c.Member(limit(t, 10*time.Second), asked)
		if m.GetId() != want.id || !errors.Is(err, want.kind) || err != nil && !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v, %v", asked, m, err)
		}
	}
}
