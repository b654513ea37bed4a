// Package rpc owns the node's rpc port and all that is said on it: the public API, the control stream between an
// executor and the leading driver, and what executors ask of each other. Raft shares the port.
//
// It promises that protobuf meets the engine's own structs here and nowhere else, that every message has a stated
// limit, that failures cross as types (job.ErrPeerDead, job.NotLeaderError, *job.TaskError, the API's Problem) and
// never as text, and that no connection outlives the value that made it. It must not know how decisions are made: the
// ledger, the gossip, the executor and the registry of programs are interfaces that package cli fills in.
//
// Engine internals, without compatibility promise; the gRPC API itself is described in docs/api.md.
package rpc
