package rpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// ErrOtherStore says that another executor than the one meant listens on the address.
var ErrOtherStore = errors.New("another executor listens on the address")

// faultKinds pairs the sentinels that cross between nodes with their codes.
var faultKinds = []struct {
	err  error
	kind clusterpb.Fault_Kind
	code codes.Code
}{
	{job.ErrNotLeader, clusterpb.Fault_NOT_LEADER, codes.FailedPrecondition},
	{job.ErrNoBlock, clusterpb.Fault_NO_BLOCK, codes.NotFound},
	{job.ErrFenced, clusterpb.Fault_FENCED, codes.FailedPrecondition},
	{job.ErrFull, clusterpb.Fault_FULL, codes.ResourceExhausted},
	{ErrOtherStore, clusterpb.Fault_OTHER_STORE, codes.FailedPrecondition},
	{ErrOtherCluster, clusterpb.Fault_OTHER_CLUSTER, codes.FailedPrecondition},
}

// faultToStatus makes an error of the engine fit to cross to another node.
func faultToStatus(err error) error {
	if err == nil {
		return nil
	}
	if task := (*job.TaskError)(nil); errors.As(err, &task) {
		return withDetail(codes.Aborted, err.Error(), &clusterpb.Fault{Kind: clusterpb.Fault_TASK, Task: taskErrorToPB(task)})
	}
	for _, k := range faultKinds {
		if !errors.Is(err, k.err) {
			continue
		}
		f := &clusterpb.Fault{Kind: k.kind}
		if redirect := (*job.NotLeaderError)(nil); errors.As(err, &redirect) {
			f.Leader = text(redirect.Leader)
		}
		return withDetail(k.code, err.Error(), f)
	}
	if errors.Is(err, job.ErrRefused) {
		return status.Error(codes.PermissionDenied, text(err.Error()))
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Error(codes.Unknown, text(err.Error()))
}

func withDetail(code codes.Code, message string, detail protoadapt.MessageV1) error {
	s := status.New(code, text(message))
	if d, err := s.WithDetails(detail); err == nil {
		s = d
	}
	return s.Err()
}

// faultOf gives the error of the engine that crossed as a status; other errors are returned as they are.
func faultOf(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	if s.Code() == codes.PermissionDenied {
		return &remoteError{text: s.Message(), kind: job.ErrRefused}
	}
	for _, d := range s.Details() {
		f, ok := d.(*clusterpb.Fault)
		if !ok {
			continue
		}
		switch f.GetKind() {
		case clusterpb.Fault_TASK:
			if f.GetTask() != nil {
				return taskErrorOf(f.GetTask())
			}
		case clusterpb.Fault_NOT_LEADER:
			return &job.NotLeaderError{Leader: f.GetLeader()}
		}
		for _, k := range faultKinds {
			if k.kind == f.GetKind() {
				return &remoteError{text: s.Message(), kind: k.err}
			}
		}
	}
	return err
}

// remoteError is an error of another node whose kind is known here.
type remoteError struct {
	text string
	kind error
}

// Error gives the other node's words.
func (e *remoteError) Error() string { return e.text }

// Unwrap gives the sentinel.
func (e *remoteError) Unwrap() error { return e.kind }

// code gives the gRPC code of an error, wrapped or not.
func code(err error) codes.Code {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Code()
	}
	return codes.Unknown
}

func tooLarge(what any, got, limit int) error {
	return fmt.Errorf("%v has %d bytes, at most %d can be sent in one message", what, got, limit)
}
