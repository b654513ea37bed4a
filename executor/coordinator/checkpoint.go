package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

const (
	// maxLinks bounds a chain: the image and the changes after it.
	maxLinks = 20
	// checkpointBatches is after how many batches state is checkpointed whatever interval was asked for: the ledger allows
	// only so many without (rule 10).
	checkpointBatches = 2500
	// checkpointPatience bounds how long executors may take to store their pieces: the next batch waits for them.
	checkpointPatience = 30 * time.Second
	// commitPatience bounds the wait for the ledger. A checkpoint that it took nevertheless is told by later orders.
	commitPatience = 5 * time.Second
	// failedShare is how many times as long as a checkpoint that failed none is tried: batches wait for the tries.
	failedShare = 4
)

// chain is the committed checkpoint of an application's keyed state as it is known here, and what is to come next
// (rule 7).
type chain struct {
	version        job.Version // without attempt where an order told it
	image, changes int64       // bytes
	links          int         // that were committed here since the last image
	whole          bool        // the next one has to be an image
	next           id.Time     // none is made before
	rest           time.Time   // likewise, by the clock
	failures       int         // since the last one
	numbers        uint64      // used in this office; see job.PieceBits
}

// told takes what an order says of the committed checkpoint.
func (c *chain) told(b *job.Batch) {
	if b.Checkpointed > c.version.Time {
		c.version, c.links = job.Version{Time: b.Checkpointed}, 0
		c.image, c.changes = b.FullBytes, b.ChangeBytes
	}
}

// full reports whether the next checkpoint is an image: without one, where the changes after it have grown to half of it,
// where they are many, and after changes that did not come through.
func (c *chain) full(zero id.Time) bool {
	return c.version.Time <= zero || c.whole || c.links >= maxLinks || 2*c.changes > c.image
}

// failed puts the next try off, a batch more each time, but for no longer than from one checkpoint to the next; and for
// a few times as long as the application waited for this one.
func (c *chain) failed(at id.Time, batchMS, everyMS int64, took time.Duration) {
	c.failures++
	c.rest = time.Now().Add(failedShare * took)
	c.whole = c.whole || c.failures > 1
	c.next = at + id.Time(min(int64(c.failures)*batchMS, everyMS))
}

// committed notes that the ledger has one.
func (c *chain) committed(r *job.CheckpointReport) {
	var bytes int64
	for _, p := range r.Pieces {
		bytes += p.Block.Bytes
	}
	c.version, c.failures, c.whole = r.Version, 0, false
	if r.Full {
		c.image, c.changes, c.links = bytes, 0, 1
		return
	}
	c.changes += bytes
	c.links++
}

// dueCheckpoint reports whether keyed state is to be checkpointed after a batch. It is where every state stream has a
// time: the version of all of them is then that of one batch.
func (c *Coordinator) dueCheckpoint(a *app, b *job.Batch) bool {
	app, err := c.cfg.Graph(b.App)
	if err != nil {
		return false // the batch would not have run
	}
	p, zero, ch := app.Plan(), b.App.Spec.ZeroTime, &a.keyed.chain
	if p.CheckpointMS <= 0 || len(p.States) == 0 {
		return false
	}
	ch.told(b)
	if b.Time < ch.next || time.Now().Before(ch.rest) || int64(b.Time-max(ch.version.Time, zero)) < checkpointMS(p) {
		return false
	}
	return !slices.ContainsFunc(p.States, func(s plan.State) bool { return int64(b.Time-zero)%max(s.SlideMS, 1) != 0 })
}

// checkpointMS is how often state is checkpointed.
func checkpointMS(p *plan.Plan) int64 { return min(p.CheckpointMS, checkpointBatches*p.BatchMS) }

// checkpoint stores the state after a completed batch where its executors hold it, and commits it. Nothing depends on
// it: what fails is tried again after a later batch.
func (c *Coordinator) checkpoint(ctx context.Context, a *app, cur *current) {
	b := c.newBatch(a, cur)
	ch := &a.keyed.chain
	app, err := c.cfg.Graph(b.order.App)
	if err != nil {
		return
	}
	b.app = app
	every := checkpointMS(app.Plan())
	r := &job.CheckpointReport{
		App: b.order.App.ID, Authority: b.order.Authority,
		Version: job.Version{Time: b.order.Time, Attempt: b.order.Authority.Attempt},
		Full:    ch.full(b.order.App.Spec.ZeroTime), Since: ch.version.Time,
	}
	started := time.Now()
	r.Authority.Epoch = max(r.Authority.Epoch, cur.epoch)
	reply, err := b.commitState(ctx, r)
	switch {
	case ctx.Err() != nil: // the office is over
	case err != nil:
		ch.failed(b.order.Time, app.Plan().BatchMS, every, time.Since(started))
		b.log.Warn("keyed state is not checkpointed, to be tried again", "failures", ch.failures, "error", err)
	case reply.Outcome != job.Done:
		ch.whole, ch.next = true, b.order.Time+id.Time(every)
		b.log.Warn("checkpoint of keyed state refused", "reason", reply.Reason)
	default:
		ch.committed(r)
		b.rebalance(app.Plan().States)
		b.log.Debug("keyed state checkpointed", "full", r.Full, "pieces", len(r.Pieces), "image_bytes", ch.image, "change_bytes", ch.changes,
			"ms", time.Since(started).Milliseconds())
	}
}

// commitState stores the pieces of every state stream and reports them.
func (b *batch) commitState(ctx context.Context, r *job.CheckpointReport) (job.Reply, error) {
	storing, cancel := context.WithTimeout(ctx, checkpointPatience)
	defer cancel()
	for _, st := range b.app.Plan().States {
		pieces, err := b.store(storing, st, r)
		if err != nil {
			return job.Reply{}, err
		}
		r.Pieces = append(r.Pieces, pieces...)
	}
	b.show("commit of the checkpoint of keyed state")
	committing, cancel := context.WithTimeout(ctx, commitPatience)
	defer cancel()
	failpoint.Hit(failpoint.CheckpointReport)
	reply, err := b.cfg.Checkpoint(committing, r)
	if err != nil {
		return reply, fmt.Errorf("report a checkpoint: %w", err)
	}
	if reply.Outcome == job.Done {
		failpoint.Hit(failpoint.CheckpointCommitted)
	}
	return reply, nil
}

// store lets the holders of a stream's partitions store their pieces.
func (b *batch) store(ctx context.Context, st plan.State, r *job.CheckpointReport) ([]job.Piece, error) {
	shares, err := b.keepers(ctx, st, r.Version)
	if err != nil {
		return nil, err
	}
	b.show("checkpoint of state of stream %d, %d partitions", st.Stream, st.Partitions)
	launches := make([]*job.Launch, len(shares))
	for i, x := range shares {
		at := dataset.ID{Stream: st.Stream, Time: r.Version.Time}
		order := &job.CheckpointOrder{Full: r.Full, Since: r.Since}
		for range x.parts {
			b.keyed.chain.numbers++
			order.Numbers = append(order.Numbers, b.keyed.chain.numbers)
		}
		launches[i] = &job.Launch{
			Authority: r.Authority, App: b.order.App, Time: b.order.Time, Kind: job.CheckpointTasks, Dataset: at, Root: at,
			Output: noOutput, Parts: x.parts, Try: 1, Checkpoint: order,
			States: []job.StateBase{{Stream: st.Stream, Base: r.Version, Makes: r.Version}},
		}
	}
	b.launchAll(ctx, shares, launches)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var pieces []job.Piece
	for _, x := range shares {
		if x.err != nil {
			b.suspect(x.peer.Session, suspicion)
			return nil, fmt.Errorf("executor %s: %w", x.peer.Name, x.err)
		}
		for _, res := range x.result.Tasks {
			if res.Err != nil {
				if res.Err.Fault == job.StateFault {
					b.keyed.holders.forget(statePart{st.Stream, res.Part}, x.peer.Session)
				}
				return nil, fmt.Errorf("partition %d of stream %d on %s: %w", res.Part, st.Stream, x.peer.Name, res.Err)
			}
			pieces = append(pieces, res.Pieces...)
		}
	}
	slices.SortStableFunc(pieces, func(x, y job.Piece) int { return cmp.Compare(x.Part, y.Part) })
	return pieces, nil
}

// keepers gives every partition of a stream the executor that holds the version. It makes nothing again: the next batch
// does.
func (b *batch) keepers(ctx context.Context, st plan.State, v job.Version) ([]*share, error) {
	table, _ := b.cfg.Peers()
	b.keyed.holders.keep(table)
	among := b.trusted(table)
	of := map[id.Session]*share{}
	for p := range st.Partitions {
		k := statePart{st.Stream, p}
		x := b.holder(among, k, v)
		if x == 0 && b.ask(ctx) {
			x = b.holder(among, k, v)
		}
		if x == 0 {
			return nil, fmt.Errorf("partition %d of stream %d: %w", p, st.Stream, errUnheld)
		}
		if of[x] == nil {
			of[x] = &share{peer: among[x]}
		}
		of[x].parts = append(of[x].parts, p)
	}
	return slices.SortedFunc(maps.Values(of), func(x, y *share) int { return cmp.Compare(x.peer.Session, y.peer.Session) }), nil
}

// errUnheld says that state is not where it was made, because its executor is gone.
var errUnheld = errors.New("no executor holds its state")
