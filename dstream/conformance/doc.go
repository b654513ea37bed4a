// Package conformance owns the tables of what Spark's own tests of DStreams expect: inputs, operators and results, as
// facts in testdata, and their run against the engine in its tests. It promises that every table case runs, with 1, 2
// and 5 partitions, straight, with a restart after every batch and with the loss of an executor after every batch, or
// is listed by name with the reason why it does not hold here; and that a case that is no table is listed with what
// shows it. It must not know the engine: it sees what a user sees.
//
// What the tables mean is told in testdata/README.md. The cases of single components (tracker, estimator, log, ...)
// are tests of their packages: docs/conformance.md lists them.
package conformance
