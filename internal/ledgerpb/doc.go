// Package ledgerpb owns the wire form of the ledger's commands and of the records of its snapshots: protobuf messages,
// generated from ledger.proto by `make generate`. It promises an encoding without maps, so that equal values encode
// equally; it must not know what the messages mean (package fsm does) and imports no gRPC.
package ledgerpb
