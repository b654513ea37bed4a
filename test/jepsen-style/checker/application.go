package checker

import (
	"cmp"
	"encoding/json"
	"slices"
)

// maxBatchBytes is how many bytes of blocks a batch is given at most, but for a single block (architecture, rule 10).
const maxBatchBytes = 1 << 30

// appModel is one application, as the rules have it.
type appModel struct {
	m        *ledgerModel
	id       uint64
	name     string
	interval int64 // ms
	factor   int
	remember int64 // ms
	keyed    bool  // it has keyed state, so a rebuild reads from the last checkpoint on

	zero, allocated, completed, cleaned, checkpointed int64 // batch times
	completions                                       int64
	draining, lastGiven, atOnce, over                 bool
	acceptLoss                                        bool
	office, session, resumedAt                        uint64

	added     map[blockID]*blockModel
	queue     []*blockModel // that wait, in order of arrival
	last      map[instanceID]uint64
	positions map[positionID]uint64
	batches   map[int64]*batchModel
	failed    map[int64]bool
}

type instanceID struct {
	stream   int32
	instance uint64
}

type positionID struct {
	stream    int32
	partition text
}

type blockModel struct {
	addedBlock
	index     uint64 // at which it was committed
	batch     int64  // that has it, 0 for none
	discarded bool
}

type batchModel struct {
	index  uint64 // of the allocation
	office uint64 // of the coordinator at that time, 0 for none
	blocks []*blockModel
	direct []streamPlan
	done   uint64 // index of the completion
	lost   map[blockID]bool
	drop   bool // given up by a stop at once
}

func (a *appModel) bad(format string, args ...any) {
	a.m.bad("application %d (%s): "+format, append([]any{a.id, a.name}, args...)...)
}

// add takes a new block: its number and its positions follow those before, and it has enough copies.
func (a *appModel) add(session uint64, b *addedBlock) {
	if a.over || a.lastGiven {
		a.bad("block %v is taken after the last allocation (rule 11)", b.ID)
	}
	if _, open := a.m.open[session]; !open {
		a.bad("block %v is taken from session %d, which is not open (rule 3)", b.ID, session)
	}
	in := instanceID{b.ID.Stream, b.ID.Instance}
	if b.ID.Number != a.last[in]+1 {
		a.bad("block %v follows number %d of its instance (rule 4)", b.ID, a.last[in])
	}
	a.last[in] = max(a.last[in], b.ID.Number)
	if have, need := a.m.copies(b.Stores), min(a.factor, len(a.m.open)); have < need {
		a.bad("block %v is taken with %d copies, expected %d (rule 5)", b.ID, have, need)
	}
	for _, r := range b.Ranges {
		a.move(b.ID.Stream, r)
	}
	v := &blockModel{addedBlock: *b, index: a.m.line.Index}
	a.added[b.ID] = v
	a.queue = append(a.queue, v)
}

// move checks that a range of positions starts where those before it end.
func (a *appModel) move(stream int32, r addedRange) {
	p := positionID{stream, r.Partition}
	if r.First != a.positions[p]+1 || r.Last < r.First {
		a.bad("positions %d to %d of %q follow %d (rule 4)", r.First, r.Last, string(r.Partition), a.positions[p])
	}
	a.positions[p] = max(a.positions[p], r.Last)
}

// repeated is a block that is reported again: it is still the same.
func (a *appModel) repeated(b *addedBlock) {
	if k := a.added[b.ID]; k.CRC != b.CRC || k.Records != b.Records || k.Bytes != b.Bytes || !slices.Equal(k.Ranges, b.Ranges) {
		a.bad("block %v was taken with %d records, checksum %08x, and is taken again with %d, %08x", b.ID, k.Records, k.CRC, b.Records, b.CRC)
	}
}

type allocatedCommand struct {
	From   int64        `json:"from"`
	To     int64        `json:"to"`
	Last   bool         `json:"last"`
	Direct []streamPlan `json:"direct"`
}

type streamPlan struct {
	Stream int32 `json:"stream"`
	Plan   struct {
		Parts []struct {
			Records int64        `json:"records"`
			Ranges  []addedRange `json:"ranges"`
		} `json:"parts"`
	} `json:"plan"`
}

// allocate gives the batch at From all that waits, and nothing to those after it up to To.
func (a *appModel) allocate(c *allocatedCommand) {
	if !a.m.line.now() {
		return
	}
	if c.From != a.allocated+a.interval || c.To < c.From || (c.To-a.zero)%a.interval != 0 {
		a.bad("batches from %d to %d are allocated, expected from %d in steps of %d", c.From, c.To, a.allocated+a.interval, a.interval)
	}
	if a.lastGiven || a.over {
		a.bad("batch %d is allocated after the last one", c.From)
	}
	for at := c.From; at <= c.To && a.interval > 0; at += a.interval {
		if a.batches[at] != nil && !a.batches[at].drop {
			a.bad("batch %d is allocated again", at)
		}
		a.batches[at] = &batchModel{index: a.m.line.Index, office: a.office}
	}
	given := a.give(a.batches[c.From], c.From)
	if b := a.batches[c.From]; b != nil {
		b.direct = c.Direct
	}
	for _, s := range c.Direct {
		for _, p := range s.Plan.Parts {
			for _, r := range p.Ranges {
				a.move(s.Stream, r)
			}
		}
	}
	a.sameBlocks(c.From, given)
	a.allocated = max(a.allocated, c.To)
	a.lastGiven = a.lastGiven || c.Last && len(a.queue) == 0
}

// give moves what waits to a batch, in order of arrival, as far as it fits.
func (a *appModel) give(batch *batchModel, at int64) []*blockModel {
	n, bytes := 0, int64(0)
	for n < len(a.queue) && (n == 0 || bytes+a.queue[n].Bytes <= maxBatchBytes) {
		bytes += a.queue[n].Bytes
		a.queue[n].batch = at
		n++
	}
	given := slices.Clone(a.queue[:n])
	a.queue = a.queue[n:]
	if batch != nil {
		batch.blocks = given
	}
	return given
}

// sameBlocks holds what the ledger gave a batch against what it was to get. The log tells of the state after a whole
// entry: a stop in the same one has taken it away again.
func (a *appModel) sameBlocks(at int64, want []*blockModel) {
	for _, l := range a.m.rest {
		if l.Kind == "ApplicationStopped" || l.Kind == "BatchFailed" || l.Kind == "ApplicationEnded" {
			return
		}
	}
	has := map[blockID]bool{}
	for _, id := range a.m.line.Allocated {
		if has[id] {
			a.bad("batch %d has block %v twice", at, id)
		}
		has[id] = true
		switch b := a.added[id]; {
		case b == nil:
			a.bad("batch %d has block %v, which was never taken", at, id)
		case b.batch != at:
			a.bad("batch %d has block %v, which batch %d has (invariant 2)", at, id, b.batch)
		}
	}
	for _, b := range want {
		if !has[b.ID] {
			a.bad("batch %d was not given block %v, which waited: %d records", at, b.ID, b.Records)
		}
	}
}

type assignedCommand struct {
	Session uint64 `json:"session"`
}

// assigned gives the office of the coordinator to a session.
func (a *appModel) assigned(c *assignedCommand) {
	if !a.m.line.now() {
		return
	}
	if _, open := a.m.open[c.Session]; !open {
		a.bad("session %d is given the office, and is not open", c.Session)
	}
	a.office, a.session = a.m.line.Index, c.Session
	a.m.offices++
}

type reportCommand struct {
	Time       int64             `json:"time"`
	Office     uint64            `json:"office"`
	Attempt    uint64            `json:"attempt"`
	Lost       int64             `json:"lost"`
	LostBlocks []blockID         `json:"lost_blocks"`
	Pieces     []json.RawMessage `json:"pieces"`
	Full       bool              `json:"full"`
}

// inOffice checks that who reports may: the coordinator in office, whose session is open, and no older one (invariant 6).
func (a *appModel) inOffice(c *reportCommand) {
	if _, open := a.m.open[a.session]; c.Office != a.office || !open {
		a.bad("batch %d is reported by office %d, the one in office is %d, open: %t (invariant 6)", c.Time, c.Office, a.office, open)
	}
}

// attempt checks that the newest run of a pending batch reports it.
func (a *appModel) attempt(c *reportCommand, b *batchModel) {
	if want := max(b.index, a.office, a.resumedAt); c.Attempt != want {
		a.bad("batch %d is reported by attempt %d, expected %d (rule 1)", c.Time, c.Attempt, want)
	}
}

// complete is the one completion of a batch.
func (a *appModel) complete(c *reportCommand) {
	b := a.batches[c.Time]
	switch {
	case b == nil:
		a.bad("batch %d is completed and was never allocated", c.Time)
		return
	case b.drop:
		a.bad("batch %d is completed and was given up", c.Time)
	case !a.m.line.now() && b.done == a.m.line.Result.Index:
		return // the report of a completion that is known
	case b.done != 0:
		a.bad("batch %d is completed again, it was at %d (invariant 4)", c.Time, b.done)
		return
	}
	a.inOffice(c)
	a.attempt(c, b)
	if c.Time != a.completed+a.interval {
		a.bad("batch %d is completed, batch %d is next", c.Time, a.completed+a.interval)
	}
	if (c.Lost > 0 || len(c.LostBlocks) > 0) && !a.acceptLoss {
		a.bad("batch %d gives up %d records, and nobody accepted that (rule 8)", c.Time, c.Lost)
	}
	b.lost = map[blockID]bool{}
	for _, id := range c.LostBlocks {
		b.lost[id] = true
	}
	b.done = a.m.line.Index
	a.completed = max(a.completed, c.Time)
	a.completions++
	a.acceptLoss = false
}

// fail is a failure of a pending batch. It fails the application, or gives up all that is pending where it was stopped at
// once.
func (a *appModel) fail(c *reportCommand) {
	if !a.m.line.now() {
		return
	}
	b := a.batches[c.Time]
	if b == nil || b.done != 0 {
		a.bad("batch %d fails, and is not pending", c.Time)
		return
	}
	a.inOffice(c)
	a.attempt(c, b)
	if a.atOnce {
		a.drop(a.completed)
		return
	}
	a.failed[c.Time] = true
}

type resumedCommand struct {
	AcceptLoss bool `json:"accept_loss"`
}

func (a *appModel) resumed(c *resumedCommand) {
	if a.m.line.now() {
		a.resumedAt, a.acceptLoss = a.m.line.Index, c.AcceptLoss
		clear(a.failed)
	}
}

type cleanCommand struct {
	UpTo int64 `json:"up_to"`
}

// clean forgets input that no later batch, no retry and no rebuild of keyed state can need (invariant 8).
func (a *appModel) clean(c *cleanCommand) {
	if c.UpTo <= a.cleaned || a.over {
		return
	}
	upTo := c.UpTo - (c.UpTo-a.zero)%a.interval
	if upTo > a.completed-a.remember {
		a.bad("cleaned up to %d, completed up to %d, and %d ms are remembered", upTo, a.completed, a.remember)
	}
	if most := a.checkpointed + a.interval - a.remember; a.keyed && upTo > most {
		a.bad("cleaned up to %d, a rebuild of its state reads what is after %d (rule 7)", upTo, most)
	}
	a.cleaned = max(a.cleaned, upTo)
}

// checkpoint commits keyed state after a batch that is completed.
func (a *appModel) checkpoint(c *reportCommand) {
	if !a.m.line.now() {
		return
	}
	b := a.batches[c.Time]
	if b == nil || b.done == 0 {
		a.bad("a checkpoint of batch %d, which is not completed", c.Time)
		return
	}
	a.inOffice(c)
	if c.Time < a.checkpointed {
		a.bad("a checkpoint of batch %d after that of %d", c.Time, a.checkpointed)
	}
	a.checkpointed = max(a.checkpointed, c.Time)
}

type stoppedCommand struct {
	Now bool `json:"now"`
}

// stopped begins the stop. At once: what waits is given up, and every pending batch but the one that may be running.
func (a *appModel) stopped(c *stoppedCommand) {
	if a.over {
		return
	}
	a.draining = true
	if !c.Now {
		return
	}
	for _, b := range a.queue {
		b.discarded = true
	}
	a.queue = nil
	keep := a.completed + a.interval
	_, open := a.m.open[a.session]
	if b := a.batches[keep]; b == nil || b.drop || a.failed[keep] || !open {
		keep = a.completed
	}
	a.drop(keep)
	a.atOnce, a.lastGiven = true, true
}

// drop gives up the batches after keep.
func (a *appModel) drop(keep int64) {
	for at, b := range a.batches {
		if at > keep {
			b.drop = true
			delete(a.failed, at)
		}
	}
	a.allocated = min(a.allocated, keep)
}

// ended is the end of a stop: nothing waits and nothing is pending (invariant 10).
func (a *appModel) ended(*struct{}) {
	if a.over {
		return
	}
	switch {
	case !a.draining:
		a.bad("it ends, and nobody stopped it")
	case !a.lastGiven:
		a.bad("it ends without its last allocation")
	case a.completed != a.allocated:
		a.bad("it ends with batches pending: completed up to %d, allocated up to %d", a.completed, a.allocated)
	case len(a.queue) > 0:
		a.bad("it ends while %d blocks wait, the first is %v", len(a.queue), a.queue[0].ID)
	}
	a.over = true
}

// AllocatedBatch is what a batch was given, by the ledger.
type AllocatedBatch struct {
	Time      int64 // Unix milliseconds
	Completed bool
	Dropped   bool // given up by a stop at once
	Records   int64
	Ranges    []AllocatedRange // in order of arrival: what the batch had to process
}

// AllocatedRange is a run of positions of one producer, both ends included, that came in one block or one part of a plan.
type AllocatedRange struct {
	Stream      int32
	Producer    string
	First, Last uint64
}

// Allocated gives what every batch of an application was given, in order of time: the input of oracles. It takes the
// ledgers of all nodes together; blocks that a batch gave up by accepting loss are left out.
func Allocated(run *Run, app uint64) ([]AllocatedBatch, error) {
	log, err := wholeLog(run)
	if err != nil {
		return nil, err
	}
	a, ok := replay(log, Judging("allocated", "")).apps[app]
	if !ok {
		return nil, errNoApp(app)
	}
	var all []AllocatedBatch
	for at, b := range a.batches {
		all = append(all, b.allocated(at))
	}
	slices.SortFunc(all, func(x, y AllocatedBatch) int { return cmp.Compare(x.Time, y.Time) })
	return all, nil
}

func (b *batchModel) allocated(at int64) AllocatedBatch {
	v := AllocatedBatch{Time: at, Completed: b.done != 0, Dropped: b.drop}
	for _, k := range b.blocks {
		if b.lost[k.ID] {
			continue
		}
		v.Records += k.Records
		v.take(k.ID.Stream, k.Ranges)
	}
	for _, s := range b.direct {
		for _, p := range s.Plan.Parts {
			v.Records += p.Records
			v.take(s.Stream, p.Ranges)
		}
	}
	return v
}

func (v *AllocatedBatch) take(stream int32, ranges []addedRange) {
	for _, r := range ranges {
		v.Ranges = append(v.Ranges, AllocatedRange{Stream: stream, Producer: string(r.Partition), First: r.First, Last: r.Last})
	}
}
