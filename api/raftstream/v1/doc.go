// Package raftstreamv1 owns the public gRPC API: the client stubs and messages generated from raftstream.proto. It
// promises what docs/api.md promises: fields and methods are added, never changed or removed. Go programs use package
// client, which follows the leader for them.
package raftstreamv1
