// Package id owns the identities and the time that every floor shares.
//
// What may order work is named by the Raft index of the entry that granted it (architecture, rules 1 and 2): such an
// id is never reused and the higher one of two is the newer one. The package promises plain comparable values; it must
// not know who grants them or what they are used for.
package id

import (
	"fmt"
	"time"
)

type (
	// App is an application: the Raft index of its submission. Names are reused, ids never.
	App uint64
	// Session is the period for which the ledger trusts one start of one executor: the index that opened it.
	Session uint64
	// Instance is one run of a receiver: the index of the entry that scheduled it.
	Instance uint64
	// Office is one tenure of an application's coordinator: the index of the entry that assigned it.
	Office uint64
	// Attempt is one right to run a batch: the index of the newest entry that granted it (its allocation, a later
	// coordinator's assignment, a resumption).
	Attempt uint64
	// Epoch is one leadership: the index of the Epoch entry that opened it.
	Epoch uint64
	// Store names the data directory of an executor: random, made once, never shared.
	Store string
	// Stream numbers a DStream in its graph, from 0 in the order of construction. Input streams are named by it too.
	Stream int32
	// Time is a batch time in milliseconds since the Unix epoch, UTC.
	Time int64
)

// At gives t as a batch time; what is below a millisecond is cut off.
func At(t time.Time) Time { return Time(t.UnixMilli()) }

// Time gives t as the standard library's time, in UTC.
func (t Time) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Add gives the time d later; what is below a millisecond is cut off.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Milliseconds()) }

// Block names a received block: the receiver instance that cut it and its number there, from 1 without gaps.
type Block struct {
	App      App
	Stream   Stream
	Instance Instance
	Number   uint64
}

// String gives the block as app-stream-instance-number.
func (b Block) String() string {
	return fmt.Sprintf("%d-%d-%d-%d", b.App, b.Stream, b.Instance, b.Number)
}

// Compare orders blocks by application, stream, instance and number.
func (b Block) Compare(o Block) int {
	switch {
	case b.App != o.App:
		return order(b.App < o.App)
	case b.Stream != o.Stream:
		return order(b.Stream < o.Stream)
	case b.Instance != o.Instance:
		return order(b.Instance < o.Instance)
	case b.Number != o.Number:
		return order(b.Number < o.Number)
	}
	return 0
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

// Authority is what an order about a batch cites and its report repeats (rule 1). The highest of each object wins.
type Authority struct {
	Epoch   Epoch
	Office  Office
	Attempt Attempt
}

// Older reports whether a was granted before b, for the same application and batch time.
func (a Authority) Older(b Authority) bool {
	return a.Office < b.Office || a.Office == b.Office && a.Attempt < b.Attempt
}
