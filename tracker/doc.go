// Package tracker owns ReceiverTracker's state: sessions of executors, receivers and their instances, and the
// scheduling policy (Spark: ReceiverTracker, ReceiverSchedulingPolicy). It is engine internals, without compatibility
// promise. It promises to compute only: same calls, same state. It must not know clocks, randomness, I/O, goroutines,
// locks or logging.
package tracker
