// Package connector is what a source or a sink of raftstream is written against. It owns the interfaces and the plain
// values that cross them; stock connectors live in packages below it. It promises that a connector needs nothing else
// of raftstream, and must not know the engine.
package connector

import (
	"context"
	"time"
)

// Partition names one partition of one output of one batch. Output, Time and Index together are the key under which
// an idempotent sink writes; Attempt alone may differ when a batch is run again.
type Partition struct {
	Output  string    // name of the output operation, unique in its application
	Time    time.Time // batch time, UTC, whole milliseconds
	Index   int       // partition, from 0
	Count   int       // partitions of the dataset
	Attempt int       // try of the task, from 1
}

// Range is a run of positions of one partition of a source, both ends included. A position is a number that the source
// gives each record of the partition, from 1 without gaps, the same again when the record is sent again.
type Range struct {
	Partition   string
	First, Last uint64
}

// A Receiver brings records of T into an application: it runs on one executor and calls its Inlet.
//
// Protocol: Run is called once per instance, on a goroutine of its own, and receives until ctx ends or the source
// fails; it returns after everything that it started has ended. A nil error before ctx ends means that the source is
// exhausted. After an error the executor starts Run again with back-off. The value is built anew in every process from
// the application's parameters and holds no connection before Run.
type Receiver[T any] interface {
	Run(ctx context.Context, in Inlet[T]) error
}

// An Inlet takes the records of one receiver instance. Its methods may be called from several goroutines; they block
// while the rate limit or a full queue says so, and fail when ctx ends or the instance is over.
type Inlet[T any] interface {
	// Store adds records to the current block. They are lost if this executor dies before the block is stored.
	Store(ctx context.Context, records ...T) error
	// StoreAt adds records that the source can send again: r says which (r.Last-r.First+1 == len(records)). All of
	// them come into one block. r.First must be Position(r.Partition)+1, else ErrPosition. Acknowledge the source
	// after the receipt says done, never before.
	StoreAt(ctx context.Context, r Range, records ...T) (Receipt, error)
	// Position is the highest position of the partition that was stored or is being stored by this instance, or was
	// committed by an earlier one; 0 for an unknown partition.
	Position(partition string) uint64
	// Pushes delivers what clients send to the stream through any node's API. It is never closed; receive from it
	// together with ctx.Done.
	Pushes() <-chan Push
}

// A Receipt tells the fate of one StoreAt.
type Receipt interface {
	// Done is closed when the fate is known.
	Done() <-chan struct{}
	// Result is valid after Done: the Raft index at which the block was committed, or why it was not. After an error
	// the records are not taken and the position is given back.
	Result() (index uint64, err error)
}

// Push is one message of a producer: records in their encoded form, at consecutive sequence numbers from First. An
// empty Records asks for the producer's position only.
type Push struct {
	Producer string
	First    uint64
	Records  [][]byte
	// Reply must be called once: with the highest sequence number of the producer that is committed (at least the
	// last of this push) and the Raft index of that commit, or with why this push was not taken. It does not block.
	Reply func(last, index uint64, err error)
}
