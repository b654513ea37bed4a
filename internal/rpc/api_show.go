package rpc

import (
	"context"
	"fmt"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// ListBatches shows the newest batches that the ledger keeps, in order of time.
func (a applications) ListBatches(ctx context.Context, r *raftstreamv1.ListBatchesRequest) (*raftstreamv1.ListBatchesReply, error) {
	if r.GetLast() < 0 {
		return nil, invalid("last", fmt.Sprint(r.GetLast()), "a number of batches, or 0 for the default")
	}
	v, err := a.view(ctx, r.GetStale())
	if err != nil {
		return nil, err
	}
	app, err := find(v, r.GetName(), r.GetId())
	if err != nil {
		return nil, err
	}
	last := int(r.GetLast())
	if last == 0 {
		last = batchesDefault
	}
	reply := &raftstreamv1.ListBatchesReply{RaftIndex: v.Index()}
	for b := range v.Batches(app.ID, 0) {
		reply.Batches = append(reply.Batches, batchView(app, b))
		if len(reply.Batches) >= 2*last+1024 { // keeps what is held small without a move per batch
			reply.Batches = append(reply.Batches[:0], reply.Batches[len(reply.Batches)-last:]...)
		}
	}
	reply.Batches = reply.Batches[max(0, len(reply.Batches)-last):]
	return reply, nil
}

func batchView(a *fsm.App, b *fsm.Batch) *raftstreamv1.Batch {
	out := &raftstreamv1.Batch{TimeMs: int64(b.Time), Records: b.Records, Attempts: int64(b.Attempts), Error: text(b.Error)}
	switch b.State {
	case fsm.Allocated:
		out.State = raftstreamv1.BatchState_BATCH_STATE_ALLOCATED
		if b.Time == a.Interval(a.Completed, 1) && a.Coordinator != 0 {
			out.State = raftstreamv1.BatchState_BATCH_STATE_RUNNING
		}
	case fsm.Completed:
		out.State = raftstreamv1.BatchState_BATCH_STATE_COMPLETED
	case fsm.BatchFailedState:
		out.State = raftstreamv1.BatchState_BATCH_STATE_FAILED
	}
	if b.EndedMS > 0 {
		out.SchedulingDelayMs = b.StartedMS - int64(b.Time)
		out.ProcessingMs = b.EndedMS - b.StartedMS
		out.TotalDelayMs = b.EndedMS - int64(b.Time)
	}
	return out
}

// pushed gives the stream that clients push into: the one named, or the only one.
func pushed(app *fsm.App, stream *int32) (id.Stream, error) {
	var streams []id.Stream
	for _, in := range app.Inputs {
		if in.Pushed {
			streams = append(streams, in.Stream)
			if stream != nil && in.Stream == id.Stream(*stream) {
				return in.Stream, nil
			}
		}
	}
	switch {
	case len(streams) == 0:
		return 0, refused("application", app.Name, "it has no ingest stream, expected one with source ingest")
	case stream != nil:
		return 0, notFound("ingest stream", fmt.Sprint(*stream), fmt.Sprintf("one of %v", streams))
	case len(streams) > 1:
		return 0, invalid("stream", "", fmt.Sprintf("one of %v: application %q has several ingest streams", streams, app.Name))
	}
	return streams[0], nil
}
