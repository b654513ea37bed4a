package programs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
)

type cursorParams struct {
	Dir        string `json:"dir"` // of the cursors, on a path that all nodes share
	Out        string `json:"out"` // prefix of text files there
	Partitions int    `json:"partitions"`
	Rate       int    `json:"rate"` // records a second of each partition
}

// cursor writes what a reliable receiver brings from a source that can send everything again.
func cursor(c *dstream.Context, p cursorParams) error {
	if p.Partitions < 1 || p.Rate < 1 {
		return fmt.Errorf("parameters partitions and rate: %d and %d, expected 1 and more", p.Partitions, p.Rate)
	}
	dstream.ReceiverStream(c, &cursorReceiver{p}, dstream.Source("cursor")).SaveAsTextFiles(p.Out, "")
	return nil
}

// cursorReceiver reads a source whose record n of partition sK is the text "sK-n". The source keeps a cursor for each
// partition, up to where its records are acknowledged, in a file. A cursor that is beyond what the engine has stored is
// the loss that the workload looks for; the receiver notes it in a file of its own.
type cursorReceiver struct{ p cursorParams }

// Run reads all partitions until ctx ends.
func (r *cursorReceiver) Run(ctx context.Context, in connector.Inlet[string]) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, r.p.Partitions)
	for k := range r.p.Partitions {
		go func() {
			err := r.partition(ctx, in, fmt.Sprintf("s%d", k))
			if err != nil {
				cancel(err)
			}
			done <- err
		}()
	}
	var errs []error
	for range r.p.Partitions {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

const (
	cursorPortions = 20 // a second
	cursorWaiting  = 64 // portions that are stored and not acknowledged
)

// waiting is a portion whose fate is open.
type waiting struct {
	receipt connector.Receipt
	last    uint64
}

// partition reads one partition from where the engine has it: portions are stored one after the other, and the cursor
// follows when their receipts say so.
func (r *cursorReceiver) partition(ctx context.Context, in connector.Inlet[string], name string) error {
	at, err := r.read(name)
	if err != nil {
		return err
	}
	stored := in.Position(name)
	if at > stored {
		return r.violation(name, at, stored)
	}
	open := make(chan waiting, cursorWaiting)
	acknowledged := make(chan error, 1)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		err := r.acknowledge(ctx, name, open)
		stop() // after a portion that was not stored the receiver begins anew
		acknowledged <- err
	}()
	err = r.send(sending, in, name, open)
	close(open)
	return errors.Join(err, <-acknowledged)
}

func (r *cursorReceiver) send(ctx context.Context, in connector.Inlet[string], name string, open chan<- waiting) error {
	tick := time.NewTicker(time.Second / cursorPortions)
	defer tick.Stop()
	portion := max(1, r.p.Rate/cursorPortions)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		first := in.Position(name) + 1
		records := make([]string, portion)
		for i := range records {
			records[i] = name + "-" + strconv.FormatUint(first+uint64(i), 10)
		}
		last := first + uint64(portion) - 1
		receipt, err := in.StoreAt(ctx, connector.Range{Partition: name, First: first, Last: last}, records...)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("store %s %d to %d: %w", name, first, last, err)
		}
		select {
		case open <- waiting{receipt, last}:
		case <-ctx.Done():
			return nil
		}
	}
}

// acknowledge moves the cursor up to what is stored, portion by portion, until one was not stored, ctx ends or there are
// no more.
func (r *cursorReceiver) acknowledge(ctx context.Context, name string, open <-chan waiting) error {
	for w := range open {
		select {
		case <-w.receipt.Done():
		case <-ctx.Done():
			return nil
		}
		if _, err := w.receipt.Result(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("fate of %s up to %d: %w", name, w.last, err)
		}
		if err := r.write(name, w.last); err != nil {
			return err
		}
	}
	return nil
}

func (r *cursorReceiver) path(name string) string { return filepath.Join(r.p.Dir, "cursor-"+name) }

func (r *cursorReceiver) read(name string) (uint64, error) {
	b, err := os.ReadFile(r.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// write moves the cursor. A receiver that has been replaced may move it back: what it knows to be stored is stored.
func (r *cursorReceiver) write(name string, at uint64) error {
	return replace(r.path(name), strconv.AppendUint(nil, at, 10))
}

func (r *cursorReceiver) violation(name string, at, stored uint64) error {
	text := fmt.Sprintf("the cursor of %s is at %d, and the engine has it up to %d", name, at, stored)
	return errors.Join(errors.New(text), replace(filepath.Join(r.p.Dir, "violation-"+name), []byte(text)))
}

// replace writes a file as a whole or not at all.
func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error that counts is err
	}
	return err
}
