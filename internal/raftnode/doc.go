// Package raftnode owns this node's part in the replication of the ledger: hashicorp/raft and its set-up, the log,
// stable and snapshot stores with our own checksums, group commit, linearizable reads, bootstrap and membership.
//
// It promises that a proposal is answered after it is applied here, or with an error that says whether it can have
// taken effect; that nothing damaged is ever applied (rules 12 and 15 of the architecture); that a failed or stalled
// write ends the process, because a failed fsync may not be tried again. It must not know what commands mean, how
// executors work or who gossips. It is the only importer of hashicorp/raft.
//
// Layers of the log, from raft down: cache (recent entries, bounded in bytes), checked (checksums), guarded (write
// deadline, fault to error), raft-boltdb. See docs/formats/raft.md.
package raftnode
