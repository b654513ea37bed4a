// Package properties owns the properties of every operator, as tests: random batches, missing datasets, partitions,
// restarts, lost executors and failing functions, against an oracle that is as naive as can be. It promises that an operator
// of package dstream that is not held against one is missed here. It must not know the engine: it sees what a user sees.
package properties
