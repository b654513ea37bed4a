// Package fsm owns the ledger: the command table, the state (applications, tracker, blocktracker, batches, positions),
// Apply, immutable views and the snapshot's encoding. It is engine internals, without compatibility promise.
//
// It promises that the same log gives the same state, byte for byte under Hash, on every node; that a refusal is a
// value and an unreadable entry an error that stops the node; that a View never changes. It must not know clocks,
// randomness, I/O, goroutines, locks, logging, raft or grpc.
package fsm
