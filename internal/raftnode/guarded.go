package raftnode

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// disk is the lowest layer: a log store and a stable store in one. Missing keys are errNotFound.
type disk interface {
	raft.LogStore
	Set(key, value []byte) error
	Get(key []byte) ([]byte, error)
	Close() error
}

// guarded turns what a failing disk does into errors: a write that does not return within the limit, a panic about a
// malformed page, a fault in the mapped file. Any failed write is final: what an fsync that failed has left behind
// cannot be known, so nothing is tried again and the process ends.
type guarded struct {
	disk
	file  string
	limit time.Duration
	fatal func(error) error

	work   chan write
	stop   chan struct{} // closed by Close
	once   sync.Once     // closes stop
	done   chan struct{} // the writer has returned
	failed atomic.Pointer[error]
}

type write struct {
	do   func() error
	done chan error // holds one: the writer never waits for who gave up
}

// newGuarded starts the writer; Close joins it.
func newGuarded(d disk, file string, limit time.Duration, fatal func(error) error) *guarded {
	g := &guarded{
		disk: d, file: file, limit: limit, fatal: fatal,
		work: make(chan write), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go g.run()
	return g
}

func (g *guarded) run() {
	defer close(g.done)
	for {
		select {
		case w := <-g.work:
			w.done <- protect(w.do)
		case <-g.stop:
			return
		}
	}
}

// protect turns a panic of f, also one about a fault in memory that is mapped from a file, into an error.
func protect(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return f()
}

// patience is how many pieces the limit of a write is waited in. The limit is about the disk, so the time in which this
// process was stopped must not count: a pause, however long, is within one piece.
const patience = 50

// write runs f on the writer and waits for it, at most for the limit.
func (g *guarded) write(operation string, f func() error) error {
	if err := g.failed.Load(); err != nil {
		return *err
	}
	w := write{do: f, done: make(chan error, 1)}
	work, stop, done := g.work, g.stop, (chan error)(nil) // until the writer has it
	piece := max(g.limit/patience, 1)
	timer := time.NewTimer(piece)
	defer timer.Stop()
	for left := patience; left > 0; {
		select {
		case work <- w:
			work, stop, done = nil, nil, w.done
		case <-stop:
			return ErrClosed
		case err := <-done:
			if err != nil {
				return g.fail(fmt.Errorf("%s to %s: %w", operation, g.file, err))
			}
			return nil
		case <-timer.C:
			left--
			timer.Reset(piece)
		}
	}
	if done == nil {
		return g.fail(fmt.Errorf("%s to %s: waited %v for the write before", operation, g.file, g.limit))
	}
	return g.fail(fmt.Errorf("%s to %s: did not return within %v, the disk hangs", operation, g.file, g.limit))
}

func (g *guarded) fail(err error) error {
	g.failed.CompareAndSwap(nil, &err)
	return g.fatal(err)
}

// StoreLogs appends entries; synced when it returns.
func (g *guarded) StoreLogs(logs []*raft.Log) error {
	return g.write("append", func() error { return g.disk.StoreLogs(logs) })
}

// StoreLog appends one entry.
func (g *guarded) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// DeleteRange deletes entries; synced when it returns.
func (g *guarded) DeleteRange(low, high uint64) error {
	return g.write("delete entries", func() error { return g.disk.DeleteRange(low, high) })
}

// Set stores a value; synced when it returns.
func (g *guarded) Set(key, value []byte) error {
	return g.write("store state", func() error { return g.disk.Set(key, value) })
}

// Get reads a value.
func (g *guarded) Get(key []byte) (value []byte, err error) {
	err = protect(func() error { value, err = g.disk.Get(key); return err })
	return value, err
}

// GetLog reads an entry.
func (g *guarded) GetLog(index uint64, l *raft.Log) error {
	return protect(func() error { return g.disk.GetLog(index, l) })
}

// FirstIndex gives the first entry's index.
func (g *guarded) FirstIndex() (index uint64, err error) {
	err = protect(func() error { index, err = g.disk.FirstIndex(); return err })
	return index, err
}

// LastIndex gives the last entry's index.
func (g *guarded) LastIndex() (index uint64, err error) {
	err = protect(func() error { index, err = g.disk.LastIndex(); return err })
	return index, err
}

// Close joins the writer and closes the disk. After a failed write it does neither: the write may hang for ever, and
// the process is about to end.
func (g *guarded) Close() error {
	g.once.Do(func() { close(g.stop) })
	if err := g.failed.Load(); err != nil {
		return *err
	}
	<-g.done
	return protect(g.disk.Close)
}
