package task

import (
	"context"
	"fmt"
	"hash/crc32"
	"iter"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// pieceStorers bounds the pieces of one partition's checkpoint that are being stored at a time.
	pieceStorers = 4
	// pieceTime bounds the storing of one piece: the task has a slot meanwhile, which other applications wait for.
	pieceTime = 10 * time.Second
	// maxPiece bounds a piece in bytes: it is kept as blocks are, and that is the most that a block may have.
	maxPiece = 12 << 20
)

// States keeps the keyed state of this executor. Errors that say what is to be done next are *job.TaskErrors.
type States interface {
	// Advance gives a partition's state at base and the delta that makes of it, unchanging until release; see
	// dataset.Task.State. load makes the state where it is not held; nil: it cannot be made.
	Advance(ctx context.Context, app id.App, base job.Held, makes job.Version, load func(context.Context) (dataset.State, error),
		advance func(dataset.State) dataset.Delta) (s dataset.State, d dataset.Delta, release func(), err error)
	// Checkpoint encodes a partition in chunks: everything if full, else what changed after since.
	Checkpoint(ctx context.Context, app id.App, at job.Held, full bool, since id.Time, load func(context.Context) (dataset.State, error),
		each func(chunk []byte, rows int64) error) error
	// Restore decodes all chunks that Checkpoint made of a partition up to a version into an empty state.
	Restore(app id.App, at job.Held, into dataset.State, chunks iter.Seq2[[]byte, error]) error
	// Has reports whether a version is held.
	Has(app id.App, h job.Held) bool
}

// State implements dataset.Task.
func (t *task) State(d dataset.Stateful, part int, advance func(dataset.State) dataset.Delta) (dataset.State, dataset.Delta) {
	t.alive()
	b, err := t.base(d)
	if err != nil {
		t.Fail(err)
	}
	base := job.Held{Stream: b.Stream, Part: part, Version: b.Base}
	whole := func(s dataset.State) dataset.Delta {
		delta := advance(s)
		if t.failed != nil { // and something recovered: what was made lacks input
			t.Fail(t.failed)
		}
		return delta
	}
	s, delta, release, err := t.runner.states.Advance(t.ctx, t.launch.App.ID, base, b.Makes, t.loader(d, b, base), whole)
	if err != nil {
		t.Fail(err)
	}
	t.uses = append(t.uses, release)
	return s, delta
}

// release ends the readings of state: nothing of the task runs any more.
func (t *task) release() {
	for _, end := range t.uses {
		end()
	}
	t.uses = nil
}

// base finds what the launch says about a stateful dataset.
func (t *task) base(d dataset.Stateful) (*job.StateBase, error) {
	of := d.ID()
	for i := range t.launch.States {
		b := &t.launch.States[i]
		if b.Stream != of.Stream || b.Makes.Time != of.Time {
			continue
		}
		if b.Base.Attempt != 0 && b.Base.Time != d.Base() {
			return nil, mismatch("dataset %v goes on from %d here, the coordinator has it go on from %d", of, d.Base(), b.Base.Time)
		}
		return b, nil
	}
	return nil, mismatch("the launch names no state base of dataset %v", of)
}

// loader gives what makes the state at the base where it is not held: an empty one before the first batch, or what the
// chain of a checkpoint has; nil where the launch has neither.
func (t *task) loader(d dataset.Stateful, b *job.StateBase, base job.Held) func(context.Context) (dataset.State, error) {
	if b.Base.Attempt == 0 {
		return func(context.Context) (dataset.State, error) { return d.Initial(base.Part), nil }
	}
	var chain []*job.Piece
	for i := range b.Chain {
		if p := &b.Chain[i]; p.Stream == base.Stream && p.Part == base.Part {
			chain = append(chain, p)
		}
	}
	if len(chain) == 0 {
		return nil
	}
	return func(ctx context.Context) (dataset.State, error) {
		s := d.Blank()
		if err := t.runner.states.Restore(t.launch.App.ID, base, s, t.runner.pieces(ctx, &t.launch.App, chain)); err != nil {
			return nil, unreadable(err)
		}
		return s, nil
	}
}

// pieces reads pieces of a checkpoint, the next one while one is decoded.
func (r *Runner) pieces(ctx context.Context, app *job.App, chain []*job.Piece) iter.Seq2[[]byte, error] {
	type read struct {
		data []byte
		err  error
	}
	return func(yield func([]byte, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		reads := make(chan read)
		var reading sync.WaitGroup
		defer reading.Wait()
		defer cancel()
		reading.Go(func() {
			for _, p := range chain {
				data, err := r.read(ctx, app, &p.Block)
				select {
				case reads <- read{data, err}:
				case <-ctx.Done():
					return
				}
				if err != nil {
					return
				}
			}
		})
		for range chain {
			var next read
			select {
			case next = <-reads:
			case <-ctx.Done():
				next.err = context.Cause(ctx)
			}
			if !yield(next.data, next.err) || next.err != nil {
				return
			}
		}
	}
}

// unreadable classes why a chain did not give a state. Pieces have checksums and places: what is wrong with one that is
// there was written wrong, or by another program, and no repetition makes it good (rule 15).
func unreadable(err error) error {
	if te := classify(err); te.Fault != job.UserFault {
		of := *te
		of.Text = clip(err.Error(), maxText) // also whose state it is: to the operator it is no input that is missing
		return &of
	}
	return mismatch("%v", err)
}

// advance computes a partition of keyed state for what it leaves.
func (r *Runner) advance(t *task, d dataset.Stateful, part int) error {
	b, err := t.base(d)
	if err != nil {
		return err
	}
	makes := job.Held{Stream: b.Stream, Part: part, Version: b.Makes}
	if r.states.Has(t.launch.App.ID, makes) {
		return nil
	}
	d.Collect(t, part, 0) // a limit of 0 advances and makes no rows
	switch {
	case t.failed != nil || t.ctx.Err() != nil || r.states.Has(t.launch.App.ID, makes):
		return nil
	case t.uses == nil:
		return mismatch("dataset %v left no state of partition %d", d.ID(), part)
	}
	return &job.TaskError{
		Fault: job.StateFault, Stream: makes.Stream, Part: part,
		Text: fmt.Sprintf("state of dataset %v, partition %d, was given up while it was made", d.ID(), part),
	}
}

// leave makes the state of a partition's narrow lineage that its task has not left. User code need not read its input,
// or all of it, and an output that is complete reads none; the coordinator takes it that a task that ended well has
// left all state that it goes on from (rule 7).
func (r *Runner) leave(t *task, of dataset.Dataset, part int) (err error) {
	if of == nil || len(t.launch.States) == 0 {
		return nil
	}
	job.WalkNarrow(of, part, func(d dataset.Dataset, p int) {
		if st, ok := d.(dataset.Stateful); ok && err == nil {
			err = r.advance(t, st, p)
		}
	})
	return err
}

// checkpointer gives what runs a launch of CheckpointTasks.
func (r *Runner) checkpointer(l *job.Launch) (partition, error) {
	if l.Checkpoint == nil || len(l.States) != 1 || len(l.Checkpoint.Numbers) != len(l.Parts) {
		return nil, mismatch("launch of checkpoint tasks with %d states, expected one and a number for each of %d partitions",
			len(l.States), len(l.Parts))
	}
	numbers := make(map[int]uint64, len(l.Parts))
	for i, p := range l.Parts {
		numbers[p] = l.Checkpoint.Numbers[i]
	}
	return func(t *task, res *job.TaskResult) error {
		return r.checkpoint(t, numbers[res.Part], res)
	}, nil
}

// errSlowStores says that a piece is not on enough stores yet, or not in its bucket.
var errSlowStores = fmt.Errorf("a piece of a checkpoint was not stored within %v", pieceTime)

// checkpoint stores a partition's chunks as pieces, a few at a time.
func (r *Runner) checkpoint(t *task, number uint64, res *job.TaskResult) (err error) {
	l := t.launch
	at := job.Held{Stream: l.States[0].Stream, Part: res.Part, Version: l.States[0].Base}
	ctx, stop := context.WithCancelCause(t.ctx)
	defer stop(nil)
	var storing sync.WaitGroup
	room := make(chan struct{}, pieceStorers)
	var pieces []*job.Piece
	err = r.states.Checkpoint(ctx, l.App.ID, at, l.Checkpoint.Full, l.Checkpoint.Since, nil, func(chunk []byte, rows int64) error {
		if len(pieces) == 1<<job.PieceBits {
			return fmt.Errorf("a checkpoint of a partition has more than %d pieces", len(pieces))
		}
		if len(chunk) > maxPiece {
			return fmt.Errorf("a row of keyed state makes a piece of %d bytes, at most %d can be stored", len(chunk), maxPiece)
		}
		d := job.BlockData{
			ID: id.Block{
				App: l.App.ID, Stream: at.Stream, Instance: id.Instance(l.Authority.Office),
				Number: number<<job.PieceBits | uint64(len(pieces)),
			},
			Records: max(rows, 1), // an image of no rows is a piece all the same, and a block has records
			CRC:     crc32.Checksum(chunk, castagnoli), Data: chunk,
		}
		p := &job.Piece{Stream: at.Stream, Part: at.Part, Block: job.Block{ID: d.ID, Records: d.Records, Bytes: int64(len(chunk)), CRC: d.CRC}}
		pieces = append(pieces, p)
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		storing.Go(func() {
			defer func() { <-room }()
			ctx, cancel := context.WithTimeoutCause(ctx, pieceTime, errSlowStores)
			defer cancel()
			stores, err := r.keep(ctx, &l.App, d)
			if err != nil {
				stop(err)
				return
			}
			failpoint.Hit(failpoint.CheckpointPiece)
			p.Block.Stores = stores
		})
		return nil
	})
	storing.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return unstored(err)
	}
	for _, p := range pieces {
		res.Pieces = append(res.Pieces, *p)
	}
	return nil
}

// unstored classes why a checkpoint was not made: that is nobody's try, it is made after another batch.
func unstored(err error) error {
	if te := classify(err); te.Fault != job.UserFault {
		return te
	}
	return &job.TaskError{Fault: job.LostFault, Text: clip(err.Error(), maxText)}
}
