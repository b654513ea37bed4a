package client

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

// Submit starts an application. Without a request id the client makes one; with one the call may also be repeated by
// another client, and submits once.
func (c *Client) Submit(ctx context.Context, r *raftstreamv1.SubmitRequest) (*raftstreamv1.SubmitReply, error) {
	if r.GetRequestId() == "" {
		r = proto.CloneOf(r)
		r.RequestId = randomID()
	}
	return call(ctx, c, func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.SubmitReply, error) {
		return raftstreamv1.NewApplicationsClient(cc).Submit(ctx, r)
	})
}

// Stop ends an application. A name is looked up once, so that a repeated call cannot stop a later application of the
// same name.
func (c *Client) Stop(ctx context.Context, r *raftstreamv1.StopRequest) (*raftstreamv1.StopReply, error) {
	number, err := c.number(ctx, r.GetName(), r.GetId())
	if err != nil {
		return nil, err
	}
	r = proto.CloneOf(r)
	r.Id = number
	return call(ctx, c, func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.StopReply, error) {
		return raftstreamv1.NewApplicationsClient(cc).Stop(ctx, r)
	})
}

// Resume lets a failed application run its failed batch again and go on. The application is looked up once, so that a
// repeated call cannot accept the loss of a batch that came to wait, or failed, since.
func (c *Client) Resume(ctx context.Context, r *raftstreamv1.ResumeRequest) (*raftstreamv1.ResumeReply, error) {
	r = proto.CloneOf(r)
	if r.AfterIndex == nil {
		app, err := c.GetApp(ctx, &raftstreamv1.GetAppRequest{Name: r.GetName(), Id: r.GetId()})
		if err != nil {
			return nil, err
		}
		r.Id, r.AfterIndex = app.GetApp().GetId(), proto.Uint64(app.GetApp().GetResumedIndex())
	}
	return call(ctx, c, func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.ResumeReply, error) {
		return raftstreamv1.NewApplicationsClient(cc).Resume(ctx, r)
	})
}

func (c *Client) number(ctx context.Context, name string, number uint64) (uint64, error) {
	if number != 0 {
		return number, nil
	}
	r, err := c.GetApp(ctx, &raftstreamv1.GetAppRequest{Name: name})
	return r.GetApp().GetId(), err
}

// reading is the way of a read: to whoever leads, or, where the copy of the ledger that a node has is what is wanted, only to
// the nodes that the client was made for. Another node's copy would be another answer.
func (c *Client) reading(r interface{ GetStale() bool }) *tour {
	if r.GetStale() {
		return &tour{client: c, round: c.asked, given: true}
	}
	return &tour{client: c, round: c.round}
}

// GetApp shows an application.
func (c *Client) GetApp(ctx context.Context, r *raftstreamv1.GetAppRequest) (*raftstreamv1.GetAppReply, error) {
	return callAt(ctx, c.reading(r), func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.GetAppReply, error) {
		return raftstreamv1.NewApplicationsClient(cc).GetApp(ctx, r)
	})
}

// ListApps shows all applications.
func (c *Client) ListApps(ctx context.Context, r *raftstreamv1.ListAppsRequest) (*raftstreamv1.ListAppsReply, error) {
	return callAt(ctx, c.reading(r), func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.ListAppsReply, error) {
		return raftstreamv1.NewApplicationsClient(cc).ListApps(ctx, r)
	})
}

// ListBatches shows the newest batches of an application, in order of time.
func (c *Client) ListBatches(ctx context.Context, r *raftstreamv1.ListBatchesRequest) (*raftstreamv1.ListBatchesReply, error) {
	return callAt(ctx, c.reading(r), func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.ListBatchesReply, error) {
		return raftstreamv1.NewApplicationsClient(cc).ListBatches(ctx, r)
	})
}

// ListReceivers shows the receivers of one application, or of all.
func (c *Client) ListReceivers(ctx context.Context, r *raftstreamv1.ListReceiversRequest) (*raftstreamv1.ListReceiversReply, error) {
	return callAt(ctx, c.reading(r), func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.ListReceiversReply, error) {
		return raftstreamv1.NewApplicationsClient(cc).ListReceivers(ctx, r)
	})
}

// ListMembers tells what the cluster is made of.
func (c *Client) ListMembers(ctx context.Context, r *raftstreamv1.ListMembersRequest) (*raftstreamv1.ListMembersReply, error) {
	return callAt(ctx, c.reading(r), func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.ListMembersReply, error) {
		return raftstreamv1.NewClusterClient(cc).ListMembers(ctx, r)
	})
}

// Member finds a node by its name or id. A name that several nodes have had is an ErrInvalid that lists their ids.
func (c *Client) Member(ctx context.Context, nameOrID string) (*raftstreamv1.Member, error) {
	r, err := c.ListMembers(ctx, &raftstreamv1.ListMembersRequest{})
	if err != nil {
		return nil, err
	}
	var found []*raftstreamv1.Member
	var names, ids []string
	for _, m := range r.GetMembers() {
		if m.GetId() == nameOrID {
			return m, nil
		}
		if m.GetName() == nameOrID {
			found, ids = append(found, m), append(ids, m.GetId())
		}
		names = append(names, m.GetName())
	}
	wrong := &Error{Kind: ErrNotFound, Thing: "member", Got: nameOrID, Expected: "one of " + strings.Join(names, ", ")}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
	default:
		wrong.Kind, wrong.Expected = ErrInvalid, "the id of one of the nodes of that name: "+strings.Join(ids, ", ")
	}
	wrong.Text = fmt.Sprintf("member is %q, expected %s", nameOrID, wrong.Expected)
	return nil, wrong
}

// RemoveMember takes a driver that will not come back out of the quorum.
func (c *Client) RemoveMember(ctx context.Context, r *raftstreamv1.RemoveMemberRequest) (*raftstreamv1.RemoveMemberReply, error) {
	return call(ctx, c, func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.RemoveMemberReply, error) {
		return raftstreamv1.NewClusterClient(cc).RemoveMember(ctx, r)
	})
}

// TransferLeadership hands leadership to another driver. Without an id a repeated attempt may hand it on once more.
func (c *Client) TransferLeadership(
	ctx context.Context, r *raftstreamv1.TransferLeadershipRequest,
) (*raftstreamv1.TransferLeadershipReply, error) {
	return call(ctx, c, func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.TransferLeadershipReply, error) {
		return raftstreamv1.NewClusterClient(cc).TransferLeadership(ctx, r)
	})
}

// GetVersion tells what the node runs that the client was made for; with several, the first that answers.
func (c *Client) GetVersion(ctx context.Context) (*raftstreamv1.GetVersionReply, error) {
	t := &tour{client: c, round: c.asked, given: true}
	return callAt(ctx, t, func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.GetVersionReply, error) {
		return raftstreamv1.NewClusterClient(cc).GetVersion(ctx, &raftstreamv1.GetVersionRequest{})
	})
}

// GetLedger tells where the copy of the ledger stands on the node that the client was made for; with several, the
// first that answers.
func (c *Client) GetLedger(ctx context.Context) (*raftstreamv1.GetLedgerReply, error) {
	t := &tour{client: c, round: c.asked, given: true}
	return callAt(ctx, t, func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.GetLedgerReply, error) {
		return raftstreamv1.NewClusterClient(cc).GetLedger(ctx, &raftstreamv1.GetLedgerRequest{})
	})
}
