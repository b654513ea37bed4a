// Package blocktracker owns ReceivedBlockTracker's state: block added, queue per stream, allocated to a batch, cleaned
// up (Spark: ReceivedBlockTracker); and the positions that blocks hold of their sources. It is engine internals,
// without compatibility promise. It promises to compute only: same calls, same state. It must not know clocks,
// randomness, I/O, goroutines, locks or logging.
package blocktracker
