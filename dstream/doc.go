// Package dstream owns the language in which applications are written: a build function makes a graph of typed,
// discretized streams (Spark: DStream) and registers it by name; every process that works for the application builds
// the same graph from the same name and parameters.
//
// A build function must be a pure function of its parameters, and the functions given to operators should depend on
// their arguments alone: they run several times for the same record after a failure, on any executor, and what depends
// on time, chance or the outside may then differ (a stated non-guarantee). Strings handed to them are views into a
// received block: valid as long as they are referenced, but use strings.Clone for what is kept for long.
//
// Errors of construction carry the caller's file:line and are reported together when the graph is built. The package
// must not know the engine: it meets executors through package dataset alone.
package dstream
