package client

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

// eventsSilence is how long a node that tells events may say nothing before another one is asked.
const eventsSilence = 3 * time.Second

// Events calls each with the events after r.After, in order, and with r.Follow with what happens next, until ctx ends or
// each returns an error, which is returned as it is. It goes on at another node when one breaks off: each sees every
// event once, as far as a node still knows them. A reply without events is the cursor moving on; with r.Follow one comes
// at least every second, so that a caller can tell whether anybody answers. With r.Stale only the nodes that the client
// was made for are asked.
func (c *Client) Events(
	ctx context.Context, r *raftstreamv1.EventsRequest, each func(*raftstreamv1.EventsReply) error,
) error {
	t := c.reading(r)
	f := &following{tour: t, request: proto.CloneOf(r), each: each, patience: attemptMin}
	for {
		addr, err := t.next(ctx)
		if err != nil {
			return err
		}
		err = f.at(ctx, addr)
		if errors.Is(err, io.EOF) && !r.GetFollow() {
			return nil
		}
		if f.mine != nil {
			return f.mine
		}
		if err := t.follow(ctx, addr, judge(err)); err != nil {
			return err
		}
	}
}

// following is the way of one call of Events through the nodes. One goroutine uses it.
type following struct {
	tour     *tour
	request  *raftstreamv1.EventsRequest // as it goes on from here
	each     func(*raftstreamv1.EventsReply) error
	patience time.Duration
	mine     error // of each
}

// at reads from the node at addr until the stream ends; the error says how: io.EOF if in order.
func (f *following) at(ctx context.Context, addr string) error {
	conn, err := f.tour.client.conn(addr)
	if err != nil {
		return err
	}
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(f.patience, cancel)
	defer silence.Stop()
	stream, err := raftstreamv1.NewApplicationsClient(conn).Events(attempt, f.request)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		r, err := stream.Recv()
		if err != nil {
			if first && attempt.Err() != nil {
				f.patience = min(2*f.patience, attemptTime)
			}
			if !errors.Is(err, io.EOF) {
				cancel()
				f.tour.client.discard(addr, conn)
			}
			return err
		}
		silence.Stop() // the caller may take its time
		if first {
			f.tour.answered(addr)
			f.tour.begin()
			f.patience = attemptMin
		}
		f.request.After = max(f.request.GetAfter(), r.GetRaftIndex())
		if r.GetAppId() != 0 {
			f.request.Id = r.GetAppId()
		}
		if f.mine = f.each(r); f.mine != nil {
			return f.mine
		}
		silence.Reset(eventsSilence)
	}
}
