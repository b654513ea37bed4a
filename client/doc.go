// Package client is the Go client of raftstream's gRPC API. It owns finding the leading node: every call goes to some
// node, follows redirections, and is repeated while leaders change, until its context ends. A change is repeated under
// the same request id, so that it takes effect once.
//
// It promises that an error is an *Error that says who refused what and why, matched by ErrRefused, ErrInvalid,
// ErrNotFound, ErrTaken and ErrUnreachable. It must not know the engine: it speaks the API of package raftstreamv1
// and nothing else.
package client
