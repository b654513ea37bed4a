package rpc

import (
	"context"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// ListReceivers shows the input streams of one application, or of all that have not ended.
func (a applications) ListReceivers(ctx context.Context, r *raftstreamv1.ListReceiversRequest) (*raftstreamv1.ListReceiversReply, error) {
	v, err := a.view(ctx, r.GetStale())
	if err != nil {
		return nil, err
	}
	reply := &raftstreamv1.ListReceiversReply{RaftIndex: v.Index()}
	if r.GetName() != "" || r.GetId() != 0 {
		app, err := find(v, r.GetName(), r.GetId())
		if err != nil {
			return nil, err
		}
		reply.Receivers = a.inputs(v, app, nil)
		return reply, nil
	}
	for app := range v.Apps() {
		reply.Receivers = a.inputs(v, app, reply.Receivers)
	}
	return reply, nil
}

// inputs adds what feeds the input streams of an application; nothing does after its end.
func (a *apiServer) inputs(v fsm.View, app *fsm.App, out []*raftstreamv1.Receiver) []*raftstreamv1.Receiver {
	if !app.Live() {
		return out
	}
	for _, in := range app.Inputs {
		pb := &raftstreamv1.Receiver{
			App: app.Name, AppId: uint64(app.ID), Stream: int32(in.Stream), Source: in.Source, Rate: in.Rate,
			Positions: positions(v, app.ID, in.Stream),
		}
		if a.Rate != nil {
			pb.Rate = a.Rate(app, in.Stream)
		}
		if r, ok := v.Receiver(app.ID, in.Stream); ok {
			receiver(v, r, pb)
		} else {
			direct(v, app, in.Stream, pb)
		}
		out = append(out, pb)
	}
	return out
}

// positions counts the partitions of a stream with a position.
func positions(v fsm.View, app id.App, stream id.Stream) (n int64) {
	for range v.Positions(app, stream) {
		n++
	}
	return n
}

func receiver(v fsm.View, r *tracker.Receiver, pb *raftstreamv1.Receiver) {
	pb.Kind, pb.Instance, pb.SinceMs = raftstreamv1.ReceiverKind_RECEIVER_KIND_RECEIVER, uint64(r.Instance), r.Since
	pb.LastError, pb.ErrorMs, pb.Errors = text(r.LastError), r.ErrorMS, int64(r.Errors)
	switch r.State {
	case tracker.Inactive:
		pb.State = raftstreamv1.ReceiverState_RECEIVER_STATE_INACTIVE
	case tracker.Scheduled:
		pb.State = raftstreamv1.ReceiverState_RECEIVER_STATE_SCHEDULED
	case tracker.Active:
		pb.State = raftstreamv1.ReceiverState_RECEIVER_STATE_ACTIVE
	}
	if s, ok := host(v, r); ok {
		pb.Node, pb.Addr = s.Name, s.Addr
	}
}

// direct shows a stream that is read directly: its coordinator plans it, so that it stands still without one. Plans that
// could not be made are remembered in events alone.
func direct(v fsm.View, app *fsm.App, stream id.Stream, pb *raftstreamv1.Receiver) {
	pb.Kind, pb.Mark = raftstreamv1.ReceiverKind_RECEIVER_KIND_DIRECT, text(v.Mark(app.ID, stream))
	pb.Warning = text(v.SourceWarning(app.ID, stream))
	pb.State = raftstreamv1.ReceiverState_RECEIVER_STATE_INACTIVE
	if s, ok := v.Session(app.Coordinator); ok {
		pb.Node, pb.Addr = s.Name, s.Addr
		if app.State == fsm.Running {
			pb.State = raftstreamv1.ReceiverState_RECEIVER_STATE_ACTIVE
		}
	}
	for e := range v.Events(app.ID, 0) {
		if e.Kind == fsm.EventUnplanned || e.Kind == fsm.EventPlanRefused {
			pb.LastError, pb.ErrorMs = text(e.Text), e.TimeMS
			pb.Errors++
		}
	}
}

// host is the session that a receiver's current instance was given to.
func host(v fsm.Viewer, r *tracker.Receiver) (*tracker.Session, bool) {
	if r.State == tracker.Inactive {
		return nil, false
	}
	return v.Session(r.Session)
}
