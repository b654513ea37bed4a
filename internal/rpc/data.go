package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// storeKey is the metadata that says which executor a call means. An address may have been taken over by another node,
// and a copy of a block must lie where the ledger will say that it lies (rule 5).
const storeKey = "raftstream-store"

func meant(ctx context.Context, s id.Store) context.Context {
	if s == "" {
		return ctx // whoever listens there
	}
	return metadata.AppendToOutgoingContext(ctx, storeKey, string(s))
}

// executor checks that this node's executor is meant.
func (s *Server) executor(ctx context.Context) error {
	if s.cfg.Executor == nil {
		return status.Error(codes.FailedPrecondition, "this node has no executor role")
	}
	for _, want := range metadata.ValueFromIncomingContext(ctx, storeKey) {
		if want != string(s.cfg.Store) {
			return faultToStatus(fmt.Errorf("%w: this is store %s, store %s was meant", ErrOtherStore, s.cfg.Store, want))
		}
	}
	return nil
}

// Launch runs tasks on this node's executor.
func (s *Server) Launch(ctx context.Context, r *clusterpb.LaunchRequest) (*clusterpb.LaunchReply, error) {
	if err := s.executor(ctx); err != nil {
		return nil, err
	}
	res, err := s.cfg.Executor.Launch(ctx, launchOf(r))
	if err != nil {
		return nil, faultToStatus(err)
	}
	m := resultToPB(res)
	if n := proto.Size(m); n > resultMax {
		m = resultToPB(failed(intsOf(r.GetParts()), tooLarge("result of a launch", n, resultMax)))
	}
	return m, nil
}

// Fetch sends buckets of this node's executor, cut into frames.
func (s *Server) Fetch(r *clusterpb.FetchRequest, stream grpc.ServerStreamingServer[clusterpb.FetchFrame]) error {
	if err := s.executor(stream.Context()); err != nil {
		return err
	}
	err := s.cfg.Executor.Fetch(stream.Context(), fetchOf(r), func(mapPart int, bucket []byte) error {
		if len(bucket) > bucketMax {
			return fmt.Errorf("bucket of map partition %d has %d bytes, at most %d can be fetched", mapPart, len(bucket), bucketMax)
		}
		for offset := 0; ; {
			end := min(offset+frameMax, len(bucket))
			head := &clusterpb.FetchHead{MapPart: int64(mapPart), Size: uint64(len(bucket)), Offset: uint64(offset)}
			if err := stream.Send(&clusterpb.FetchFrame{Head: head, Data: bucket[offset:end]}); err != nil {
				return err
			}
			if offset = end; offset == len(bucket) {
				return nil
			}
		}
	})
	return faultToStatus(err)
}

// Put stores a copy of a block on this node's executor.
func (s *Server) Put(ctx context.Context, b *clusterpb.BlockFrame) (*clusterpb.PutReply, error) {
	if err := s.executor(ctx); err != nil {
		return nil, err
	}
	if err := s.cfg.Executor.Put(ctx, blockDataOf(b)); err != nil {
		return nil, faultToStatus(err)
	}
	return &clusterpb.PutReply{}, nil
}

// Get reads a block of this node's executor.
func (s *Server) Get(ctx context.Context, r *clusterpb.GetRequest) (*clusterpb.BlockFrame, error) {
	if err := s.executor(ctx); err != nil {
		return nil, err
	}
	b, err := s.cfg.Executor.Get(ctx, blockIDOf(r.GetId()))
	if err != nil {
		return nil, faultToStatus(err)
	}
	if len(b.Data) > blockMax {
		return nil, faultToStatus(tooLarge(b.ID, len(b.Data), blockMax))
	}
	return blockDataToPB(b), nil
}

// States lists the keyed state that this node's executor holds.
func (s *Server) States(ctx context.Context, r *clusterpb.StatesRequest) (*clusterpb.StatesReply, error) {
	if err := s.executor(ctx); err != nil {
		return nil, err
	}
	held, err := s.cfg.Executor.States(ctx, id.App(r.GetApp()))
	if err != nil {
		return nil, faultToStatus(err)
	}
	return &clusterpb.StatesReply{States: each(held, heldToPB)}, nil
}
