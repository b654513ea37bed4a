package driver

import (
	"iter"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
	"github.com/raftstream/raftstream/tracker"
)

// SubmissionOf makes the submission of an application from its plan, but for what the plan does not say: its name,
// request id, block interval, factor, build id and the time.
func SubmissionOf(s dataset.Spec, p *plan.Plan) *fsm.ApplicationSubmitted {
	c := &fsm.ApplicationSubmitted{
		Program: s.Name, Params: s.Params, BatchMS: s.BatchMS, Partitions: s.Partitions,
		Fingerprint: p.Fingerprint(), RememberMS: p.RememberMS,
	}
	for _, in := range p.Inputs {
		c.Inputs = append(c.Inputs, fsm.InputStream{
			Stream: in.Stream, Source: in.Source, Receiver: in.Receiver, Pushed: in.Pushed, Preferred: in.Preferred, Rate: in.MaxRate,
		})
	}
	for _, st := range p.States {
		c.States = append(c.States, fsm.StateStream{Stream: st.Stream, SlideMS: st.SlideMS, Partitions: st.Partitions})
	}
	return c
}

// AppOf gives what executors must know of an application.
func AppOf(a *fsm.App) job.App {
	return job.App{
		ID:   a.ID,
		Name: a.Name,
		Spec: dataset.Spec{
			Name: a.Program, Params: a.Params, BatchMS: a.BatchMS, ZeroTime: a.ZeroTime, Partitions: a.Partitions,
		},
		Fingerprint:   a.Fingerprint,
		BlockMS:       a.BlockMS,
		Factor:        a.Factor,
		CheckpointURL: a.CheckpointURL,
	}
}

// PeerOf gives what executors must know of each other.
func PeerOf(s *tracker.Session) job.Peer {
	return job.Peer{Session: s.ID, Store: s.Store, Name: s.Name, Addr: s.Addr, Slots: s.Slots, Build: s.Build}
}

// Able tells which executors work for an application: those that run the binary that it was submitted with, and when no
// session of such a one is open, all. So during an upgrade the work stays where it is until the last node of the old
// binary goes. Whether another binary holds the same graph is for the plan's fingerprint to decide, where it is built;
// that one batch runs on executors of one build id, for the coordinator (architecture, section 8).
func Able(v fsm.View, a *fsm.App) func(*tracker.Session) bool {
	same := func(s *tracker.Session) bool { return s.Build == a.Build }
	for s := range v.Sessions() {
		if same(s) {
			return same
		}
	}
	return func(*tracker.Session) bool { return true }
}

// OrderOf makes the order to run a pending batch, under the newest right to do so.
func OrderOf(v fsm.View, a *fsm.App, at id.Time, epoch id.Epoch) *job.Batch {
	o := &job.Batch{
		Authority:    id.Authority{Epoch: epoch, Office: a.Office, Attempt: v.Attempt(a.ID, at)},
		App:          AppOf(a),
		Time:         at,
		States:       basesOf(v, a, at),
		Checkpointed: a.ZeroTime,
		AcceptLoss:   a.AcceptLoss && at == a.Interval(a.Completed, 1), // the batch that failed is the oldest one
	}
	if c, ok := v.Checkpoint(a.ID); ok {
		o.Checkpointed, o.FullBytes, o.ChangeBytes = c.Time, c.FullBytes, c.ChangeBytes
	}
	for t := remembered(a, at); t < at; t = a.Interval(t, 1) {
		o.Inputs = append(o.Inputs, inputsOf(v, a, t, false)...)
	}
	o.Inputs = append(o.Inputs, inputsOf(v, a, at, true)...)
	return o
}

// basesOf names the state that a batch goes on from, stream by stream, where the batch that left it is completed
// (rule 7): at the last of the stream's times before.
func basesOf(v fsm.View, a *fsm.App, at id.Time) []job.StateAt {
	var bases []job.StateAt
	for _, s := range a.States {
		base := at - 1 - (at-1-a.ZeroTime)%id.Time(s.SlideMS)
		if version, ok := versionAt(v, a, base); ok {
			bases = append(bases, job.StateAt{Stream: s.Stream, Version: version})
		}
	}
	return bases
}

// versionAt names the state after the batch at a time; false when it is not completed.
func versionAt(v fsm.View, a *fsm.App, at id.Time) (job.Version, bool) {
	if at <= a.ZeroTime {
		return job.Version{Time: a.ZeroTime}, true
	}
	if c, ok := v.Checkpoint(a.ID); ok && c.Time == at {
		return job.Version{Time: at, Attempt: c.Attempt}, true
	}
	b, ok := v.Batch(a.ID, at)
	if !ok || b.State != fsm.Completed {
		return job.Version{}, false
	}
	return job.Version{Time: at, Attempt: b.Attempt}, true
}

// remembered gives the first batch time whose input a batch may read.
func remembered(a *fsm.App, at id.Time) id.Time {
	earlier := max(a.RememberMS-1, 0) / a.BatchMS
	return max(a.Interval(at, -earlier), a.Interval(a.Cleaned, 1))
}

// inputsOf gives what the input streams were allocated for a batch time; those without anything only where empty ones
// are asked for.
func inputsOf(v fsm.View, a *fsm.App, at id.Time, empty bool) (all []job.Input) {
	for _, in := range a.Inputs {
		input := job.Input{Stream: in.Stream, Time: at}
		if p, ok := v.Direct(a.ID, at, in.Stream); ok {
			input.Parts = p.Parts
		}
		if blocks := v.Input(a.ID, at, in.Stream); len(blocks) > 0 {
			input.Blocks = make([]job.Block, len(blocks))
			for i, b := range blocks {
				input.Blocks[i] = job.Block{ID: b.ID, Records: b.Records, Bytes: b.Bytes, CRC: b.CRC, Stores: b.Stores}
			}
		}
		if empty || input.Partitions() > 0 {
			all = append(all, input)
		}
	}
	return all
}

const (
	// historyPage is about how many bytes of inputs a page of a history has, when they are more than those of one batch:
	// a good deal less than what a message may have.
	historyPage = 4 << 20
	// historyPieces bounds the pieces of a checkpoint on a page of a history.
	historyPieces = 20_000
)

// HistoryOf answers a request for what keyed state is computed from again (rule 7), one page of it: the checkpoint, the
// batches completed after it and before the one that asks, with their inputs and those of the earlier times that the
// first of them read. The view must be of the request's time or later: what a batch goes on from was completed before it
// was ordered.
//
// The cursor of pages is the number of pieces that were given, as a negative number, then the next batch time.
func HistoryOf(v fsm.View, a *fsm.App, r *job.HistoryRequest) *job.History {
	h := &job.History{Checkpoint: job.Checkpoint{Time: a.ZeroTime}}
	if c, ok := v.Checkpoint(a.ID); ok {
		h.Checkpoint.Time, h.Checkpoint.Attempt = c.Time, c.Attempt
	}
	first := a.Interval(h.Checkpoint.Time, 1)
	from := remembered(a, first)
	if r.From > 0 {
		from = max(from, r.From)
	} else if more := addPieces(h, v, a.ID, -int(r.From)); more {
		return h
	}
	size := 0
	for at := from; at < r.Before && at <= a.Completed; at = a.Interval(at, 1) {
		inputs := inputsOf(v, a, at, false)
		more := 0
		for i := range inputs {
			more += sizeOf(&inputs[i])
		}
		if size > 0 && size+more > historyPage {
			h.Next = at
			break
		}
		size += more
		h.Inputs = append(h.Inputs, inputs...)
		if version, ok := versionAt(v, a, at); ok && at >= first {
			h.Batches = append(h.Batches, version)
		}
	}
	return h
}

// addPieces adds pieces of the committed checkpoint to a page, in the order of the chain, but for the first skip of
// them. With more the page is full, and says where the next one goes on.
func addPieces(h *job.History, v fsm.View, a id.App, skip int) (more bool) {
	n := 0
	for p := range v.Pieces(a) {
		switch n++; {
		case n <= skip:
		case n > skip+historyPieces:
			h.Next = -id.Time(skip + historyPieces)
			return true
		default:
			h.Checkpoint.Pieces = append(h.Checkpoint.Pieces, job.Piece{Stream: p.Stream, Part: p.Part, Block: job.Block{
				ID: p.ID, Records: p.Rows, Bytes: p.Bytes, CRC: p.CRC, Stores: p.Stores,
			}})
		}
	}
	return false
}

// sizeOf is about how many bytes an input takes in a message.
func sizeOf(in *job.Input) int {
	const each = 64 // numbers of a block or part, generously
	n := each
	for _, b := range in.Blocks {
		n += each
		for _, s := range b.Stores {
			n += len(s) + 2
		}
	}
	for _, p := range in.Parts {
		n += each + len(p.Data)
		for _, r := range p.Ranges {
			n += each/2 + len(r.Partition)
		}
	}
	return n
}

// ProgressOf tells executors where an application stands: what frees its buckets, blocks, pieces and state.
func ProgressOf(v fsm.View, a *fsm.App, epoch id.Epoch) *job.Progress {
	p := &job.Progress{
		Epoch: epoch, App: a.ID, Completed: a.Completed, Cleaned: a.Cleaned, Ended: a.State == fsm.Stopped,
		Checkpointed: a.ZeroTime, CheckpointURL: a.CheckpointURL, Sweeper: sweeperOf(v, a),
	}
	if c, ok := v.Checkpoint(a.ID); ok {
		p.Checkpointed = c.Time
	}
	if p.Ended {
		return p
	}
	for _, all := range []iter.Seq[*blocktracker.Instance]{v.Instances(a.ID), v.PieceInstances(a.ID)} {
		for i := range all {
			p.Instances = append(p.Instances, job.InstanceProgress{
				Stream: i.Stream, Instance: i.ID, Cleaned: i.Cleaned, Last: i.Last, Closed: i.Closed,
			})
		}
	}
	return p
}

// sweeperOf names the executor that deletes from the bucket of an application what is not needed: its coordinator, and
// when it has ended or has none, the oldest session.
func sweeperOf(v fsm.View, a *fsm.App) id.Session {
	if a.CheckpointURL == "" {
		return 0
	}
	if a.Coordinator != 0 && a.Live() {
		return a.Coordinator
	}
	for s := range v.Sessions() {
		return s.ID
	}
	return 0
}

// CleanableUpTo gives the highest time up to which nothing will read batches again, neither a later batch nor who
// computes keyed state again from its checkpoint (rule 7). BatchesCleaned up to there is taken; above it is refused.
func CleanableUpTo(v fsm.View, a *fsm.App) id.Time {
	upTo := a.Completed - id.Time(a.RememberMS)
	if len(a.States) > 0 {
		from := a.ZeroTime
		if c, ok := v.Checkpoint(a.ID); ok {
			from = c.Time
		}
		upTo = min(upTo, from+id.Time(a.BatchMS-a.RememberMS))
	}
	free := max(int64(upTo-a.ZeroTime), 0) / a.BatchMS
	return a.Interval(a.ZeroTime, free)
}

// PositionsOf lists where every partition of a stream stands: what a receiver instance goes on from, and a plan of a
// direct source begins at.
func PositionsOf(v fsm.View, app id.App, stream id.Stream) []connector.Range {
	var all []connector.Range
	for partition, last := range v.Positions(app, stream) {
		all = append(all, connector.Range{Partition: partition, Last: last})
	}
	return all
}
