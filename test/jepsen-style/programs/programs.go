// Package programs owns the applications of workloads that the stock ones cannot stand for: state of other kinds, windows
// of every form, a receiver and a sink with proofs of their own, functions that are slow or fail. They are written as a user would
// write them, and must not know the workloads.
package programs

import "github.com/raftstream/raftstream/dstream"

// Register makes the programs known to this binary.
func Register() {
	dstream.Register("totals", totals)
	dstream.Register("windows", windows)
	dstream.Register("cursor", cursor)
	dstream.Register("journal", journal)
	dstream.Register("slow", slow)
	dstream.Register("brittle", brittle)
}
