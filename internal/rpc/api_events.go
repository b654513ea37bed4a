package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// eventsPart is about how many events one reply has; those of one entry are never parted.
	eventsPart = 256
	// eventsIdle is how long a follower hears nothing at most, and how often it is made sure that this node still leads.
	eventsIdle = 500 * time.Millisecond
)

// Events gives the events after a cursor and, for a follower, what comes. They are read from this node's copy: entries
// are the same everywhere. That it leads is made sure at the beginning and from time to time, because a node that is cut
// off would keep its followers waiting.
func (a applications) Events(r *raftstreamv1.EventsRequest, stream grpc.ServerStreamingServer[raftstreamv1.EventsReply]) error {
	ctx := stream.Context()
	v, err := a.view(ctx, r.GetStale())
	if err != nil {
		return err
	}
	f := &follower{after: r.GetAfter(), send: stream.Send}
	if r.GetName() != "" || r.GetId() != 0 {
		app, err := find(v, r.GetName(), r.GetId())
		if err != nil {
			return err
		}
		f.app = app.ID
	}
	for idle := true; ; {
		if err := f.tell(v, idle); err != nil {
			return err
		}
		if !r.GetFollow() {
			return nil
		}
		if v, idle, err = a.next(ctx, v, time.Until(f.told.Add(eventsIdle)), r.GetStale()); err != nil {
			return err
		}
	}
}

// next waits for a newer view, or for the time to say that nothing happened.
func (a *apiServer) next(ctx context.Context, v fsm.View, patience time.Duration, stale bool) (_ fsm.View, idle bool, _ error) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-a.Ledger.Changed(v.Index()):
		return a.Ledger.View(), false, nil
	case <-t.C:
		v, err := a.view(ctx, stale)
		return v, true, err
	case <-a.server.stopping:
		return v, false, errStopping
	case <-ctx.Done():
		return v, false, ctx.Err()
	}
}

// follower is one reader of events. One goroutine uses it.
type follower struct {
	app   id.App // 0 for all
	after uint64
	send  func(*raftstreamv1.EventsReply) error
	told  time.Time // of the last reply
}

// tell sends what v has beyond the cursor; when there is nothing, the cursor alone, if that is wanted.
func (f *follower) tell(v fsm.View, empty bool) error {
	r := &raftstreamv1.EventsReply{AppId: uint64(f.app)}
	for e := range v.Events(f.app, f.after) {
		if len(r.Events) >= eventsPart && e.Index > r.RaftIndex {
			if err := f.reply(r); err != nil {
				return err
			}
			r = &raftstreamv1.EventsReply{AppId: uint64(f.app)}
		}
		r.RaftIndex = e.Index
		r.Events = append(r.Events, eventToPB(e))
	}
	f.after = max(f.after, v.Index())
	if len(r.Events) == 0 && !empty {
		return nil
	}
	r.RaftIndex = f.after
	return f.reply(r)
}

func (f *follower) reply(r *raftstreamv1.EventsReply) error {
	f.told = time.Now()
	return f.send(r)
}

func eventToPB(e fsm.Event) *raftstreamv1.Event {
	return &raftstreamv1.Event{
		RaftIndex: e.Index, TimeMs: e.TimeMS, App: e.Name, AppId: uint64(e.App), Kind: e.Kind, Text: text(e.Text), Warning: e.Warning,
	}
}
