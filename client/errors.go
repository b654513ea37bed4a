package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

// Kinds of errors, for errors.Is. A command line ends with status 3 for ErrUnreachable and with 1 for the others.
var (
	// ErrRefused says that the cluster understood and refused. ErrInvalid, ErrNotFound and ErrTaken are refusals.
	ErrRefused = errors.New("refused")
	// ErrInvalid says that the request is wrong and will never be taken.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound says that what the request names does not exist.
	ErrNotFound = errors.New("not found")
	// ErrTaken says that the name is in use.
	ErrTaken = errors.New("taken")
	// ErrUnreachable says that no node, or no leader, answered before the context ended. A change may have taken effect.
	ErrUnreachable = errors.New("no node or no leader reached")
	// ErrClosed says that the client or ingester was closed.
	ErrClosed = errors.New("closed")
)

// Error is why a call failed.
type Error struct {
	Kind     error  // ErrRefused, ErrInvalid, ErrNotFound, ErrTaken or ErrUnreachable
	Thing    string // what is wrong, where known
	Got      string
	Expected string
	Text     string // for people, one line
	Cause    error  // of gRPC or the context
}

// Error gives the text.
func (e *Error) Error() string { return e.Text }

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Cause} }

// Is makes every refusal an ErrRefused.
func (e *Error) Is(target error) bool { return target == ErrRefused && e.Kind != ErrUnreachable }

// verdict is what to do after a failed attempt.
type verdict struct {
	final  error         // not nil: give up with it
	addr   string        // else ask this node at once, if not empty
	wait   time.Duration // else the node wants this much time
	here   *raftstreamv1.Problem
	reason error
}

// judge decides by the error's detail, or by its code where there is none.
func judge(err error) verdict {
	if errors.Is(err, io.EOF) { // of a stream that should have gone on
		return verdict{reason: err}
	}
	s, ok := status.FromError(err)
	if !ok {
		return verdict{final: &Error{Kind: ErrRefused, Text: err.Error(), Cause: err}}
	}
	var p *raftstreamv1.Problem
	for _, d := range s.Details() {
		if q, ok := d.(*raftstreamv1.Problem); ok {
			p = q
		}
	}
	final := &Error{Kind: ErrRefused, Thing: p.GetThing(), Got: p.GetGot(), Expected: p.GetExpected(), Text: s.Message(), Cause: err}
	switch p.GetKind() {
	case raftstreamv1.Problem_KIND_NOT_LEADER:
		return verdict{addr: p.GetAddr(), reason: err}
	case raftstreamv1.Problem_KIND_NOT_HERE:
		return verdict{addr: p.GetAddr(), here: p, reason: err}
	case raftstreamv1.Problem_KIND_NO_RECEIVER, raftstreamv1.Problem_KIND_OVERLOADED, raftstreamv1.Problem_KIND_UNKNOWN_OUTCOME,
		raftstreamv1.Problem_KIND_POSITION:
		return verdict{wait: time.Duration(p.GetRetryMs()) * time.Millisecond, reason: err}
	case raftstreamv1.Problem_KIND_NOT_FOUND:
		final.Kind = ErrNotFound
	case raftstreamv1.Problem_KIND_INVALID:
		final.Kind = ErrInvalid
	case raftstreamv1.Problem_KIND_TAKEN:
		final.Kind = ErrTaken
	case raftstreamv1.Problem_KIND_UNSPECIFIED:
		switch s.Code() {
		case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Aborted:
			return verdict{reason: err}
		case codes.InvalidArgument:
			final.Kind = ErrInvalid
		case codes.NotFound:
			final.Kind = ErrNotFound
		case codes.AlreadyExists:
			final.Kind = ErrTaken
		}
	}
	return verdict{final: final}
}

// unreachable says that ctx ended while nobody could answer.
func unreachable(ctx context.Context, what string, nodes []string, last error) error {
	text := fmt.Sprintf("%s %v", what, nodes)
	if last != nil {
		text += ": " + message(last)
	}
	return &Error{Kind: ErrUnreachable, Text: text, Cause: errors.Join(context.Cause(ctx), last)}
}

func message(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}
