package client

import (
	"context"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode is a node that answers what the test says.
type fakeNode struct {
	raftstreamv1.UnimplementedApplicationsServer
	raftstreamv1.UnimplementedClusterServer

	addr   string
	stop   func()
	mu     sync.Mutex
	calls  int
	submit func(r *raftstreamv1.SubmitRequest) (*raftstreamv1.SubmitReply, error)
	get    func(r *raftstreamv1.GetAppRequest) (*raftstreamv1.GetAppReply, error)
	stopFn func(r *raftstreamv1.StopRequest) (*raftstreamv1.StopReply, error)
	ingest func(s grpc.BidiStreamingServer[raftstreamv1.IngestRequest, raftstreamv1.IngestReply]) error
	knows  []string // addresses of members
	hosts  func() []*raftstreamv1.Receiver
	events func(r *raftstreamv1.EventsRequest, s grpc.ServerStreamingServer[raftstreamv1.EventsReply]) error
	named  []*raftstreamv1.Member // in place of knows
}

func newNode(t testing.TB) *fakeNode {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l)
}

func serve(t testing.TB, l net.Listener) *fakeNode {
	n := &fakeNode{addr: l.Addr().String()}
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	raftstreamv1.RegisterApplicationsServer(s, n)
	raftstreamv1.RegisterClusterServer(s, n)
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(l) }() // ends with stop
	n.stop = sync.OnceFunc(func() { s.Stop(); <-served })
	t.Cleanup(n.stop)
	return n
}

func (n *fakeNode) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls
}

func (n *fakeNode) called() *fakeNode {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	return n
}

func (n *fakeNode) Submit(_ context.Context, r *raftstreamv1.SubmitRequest) (*raftstreamv1.SubmitReply, error) {
	return n.called().submit(r)
}

func (n *fakeNode) GetApp(_ context.Context, r *raftstreamv1.GetAppRequest) (*raftstreamv1.GetAppReply, error) {
	return n.called().get(r)
}

func (n *fakeNode) Stop(_ context.Context, r *raftstreamv1.StopRequest) (*raftstreamv1.StopReply, error) {
	return n.called().stopFn(r)
}

func (n *fakeNode) Ingest(s grpc.BidiStreamingServer[raftstreamv1.IngestRequest, raftstreamv1.IngestReply]) error {
	return n.called().ingest(s)
}

func (n *fakeNode) Events(r *raftstreamv1.EventsRequest, s grpc.ServerStreamingServer[raftstreamv1.EventsReply]) error {
	return n.called().events(r, s)
}

func (n *fakeNode) ListReceivers(context.Context, *raftstreamv1.ListReceiversRequest) (*raftstreamv1.ListReceiversReply, error) {
	return &raftstreamv1.ListReceiversReply{Receivers: n.called().hosts()}, nil
}

func (n *fakeNode) ListMembers(context.Context, *raftstreamv1.ListMembersRequest) (*raftstreamv1.ListMembersReply, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := &raftstreamv1.ListMembersReply{Members: n.named}
	for _, a := range n.knows {
		r.Members = append(r.Members, &raftstreamv1.Member{RpcAddr: a, Status: raftstreamv1.MemberStatus_MEMBER_STATUS_ALIVE})
	}
	return r, nil
}

func problem(c codes.Code, p *raftstreamv1.Problem) error {
	s, err := status.New(c, p.GetKind().String()).WithDetails(p)
	if err != nil {
		panic(err)
	}
	return s.Err()
}

func notLeader(addr string) error {
	return problem(codes.Unavailable, &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_NOT_LEADER, Addr: addr})
}

func newClient(t testing.TB, nodes ...*fakeNode) *Client {
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.addr)
	}
	c, err := Dial(addrs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
