package rpc

import (
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

func TestHealthFollowsTheLeader(t *testing.T) {
	var ready atomic.Bool
	cc, err := connect(node(t, ServerConfig{Ready: ready.Load}), Security{}, dialTCP)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	h := healthpb.NewHealthClient(cc)
	if r, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("without a leader: %v, %v", r, err)
	}
	if _, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("unknown service: %v", err)
	}
	w, err := h.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "raftstream.v1.Applications"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{
		healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVING,
	} {
		if r, err := w.Recv(); err != nil || r.GetStatus() != want {
			t.Fatalf("watch: %v, %v, expected %v", r, err, want)
		}
		ready.Store(true)
	}
}

func TestReflectionListsTheServices(t *testing.T) {
	n := newAPI(t)
	cc, err := connect(n.addr, Security{}, dialTCP)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	s, err := grpc_reflection_v1.NewServerReflectionClient(cc).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = s.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, service := range r.GetListServicesResponse().GetService() {
		found[service.GetName()] = true
	}
	if !found["raftstream.v1.Applications"] || !found["raftstream.v1.Cluster"] {
		t.Errorf("services are %v", found)
	}
}
