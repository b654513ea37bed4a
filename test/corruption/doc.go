// Package corruption owns the proof of rule 12 at rest: what a node keeps on disk is damaged in thousands of ways, opened by
// the code that a node opens it with, and read whole. It promises for each case that damage is refused with an error that
// says what is damaged, or changes nothing that is read. It holds tests only, and knows the formats by their packages alone:
// raft.db, snapshots, the log of blocks, and checkpoints in a bucket and on an executor's disk.
//
// Each kind of file and damage is one child process, because damage may end a process that maps its files into memory:
// that is counted and not survived. `go test ./test/corruption -cases 1000 -v` prints the table.
package corruption
