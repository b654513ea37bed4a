package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

// watchEvery is how often a watched health state is looked at.
const watchEvery = 250 * time.Millisecond

// health is gRPC's health service: serving means that this node sees a leader. The empty name and those of the public
// services have the same state.
type health struct {
	healthpb.UnimplementedHealthServer
	ready    func() bool
	stopping <-chan struct{}
}

func (h *health) status(service string) healthpb.HealthCheckResponse_ServingStatus {
	switch service {
	case "", raftstreamv1.Applications_ServiceDesc.ServiceName, raftstreamv1.Cluster_ServiceDesc.ServiceName:
	default:
		return healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	}
	if h.ready == nil || !h.ready() {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	return healthpb.HealthCheckResponse_SERVING
}

// Check tells the state now.
func (h *health) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s := h.status(r.GetService())
	if s == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, status.Errorf(codes.NotFound, "no service %q", r.GetService())
	}
	return &healthpb.HealthCheckResponse{Status: s}, nil
}

// Watch tells the state now and whenever it changes.
func (h *health) Watch(r *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := healthpb.HealthCheckResponse_UNKNOWN
	for {
		if s := h.status(r.GetService()); s != last {
			last = s
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: s}); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-h.stopping:
			return errStopping
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
