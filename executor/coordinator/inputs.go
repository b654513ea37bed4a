package coordinator

import (
	"context"
	"slices"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// grace is how long executors may take to come back before blocks that only they hold are given up. It is as long as a
// silent executor keeps its session.
const grace = 3 * time.Second

// source names what an input stream was allocated at a time.
type source struct {
	stream id.Stream
	time   id.Time
}

// inputs are the inputs that a run knows, those of its order and those of its application's history. They are the
// dataset.Sources of every graph that it makes. Values are not changed once they are in a launch.
type inputs map[source]job.Input

// Partitions implements dataset.Sources.
func (m inputs) Partitions(s id.Stream, at id.Time) int {
	in := m[source{s, at}]
	return in.Partitions()
}

// of gives the inputs of the sources that the run knows, in their order.
func (m inputs) of(sources []source) (all []job.Input) {
	for _, s := range sources {
		if in, ok := m[s]; ok {
			all = append(all, in)
		}
	}
	return all
}

// add takes inputs that are not known yet.
func (m inputs) add(fresh []job.Input) {
	for _, in := range fresh {
		if _, known := m[source{in.Stream, in.Time}]; !known {
			m[source{in.Stream, in.Time}] = in
		}
	}
}

// locate takes the stores that fresh inputs name. What the blocks are stays as it is: an allocation never changes, and
// what was left out as lost stays out.
func (m inputs) locate(fresh []job.Input) {
	stores := make(map[id.Block][]id.Store)
	for _, in := range fresh {
		for _, x := range in.Blocks {
			stores[x.ID] = x.Stores
		}
	}
	for s, in := range m {
		in.Blocks = slices.Clone(in.Blocks) // launches may still read the old ones
		for k := range in.Blocks {
			if now, ok := stores[in.Blocks[k].ID]; ok {
				in.Blocks[k].Stores = now
			}
		}
		m[s] = in
	}
}

// records counts what the inputs of a batch time hold.
func (m inputs) records(at id.Time) (n int64) {
	for s, in := range m {
		if s.time != at {
			continue
		}
		n += records(in.Blocks)
		for _, p := range in.Parts {
			n += p.Records
		}
	}
	return n
}

func records(blocks []job.Block) (n int64) {
	for _, x := range blocks {
		n += x.Records
	}
	return n
}

// leaves lists what a dataset's whole lineage reads. Stages of it get these inputs and no others: executors find the
// same partition counts, and the range that the ledger remembers does not travel where nothing reads it.
func leaves(root dataset.Dataset) (all []source) {
	seen := map[source]bool{}
	job.Walk(root, func(d dataset.Dataset) bool {
		if s := (source{d.ID().Stream, d.ID().Time}); len(d.Deps()) == 0 && !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
		return true
	})
	return all
}

// refresh takes the stores of an order that came again: a block that nobody held may have come back elsewhere.
func (b *batch) refresh() {
	b.mu.Lock()
	fresh := b.cur.inputs
	b.cur.inputs = nil
	b.mu.Unlock()
	if fresh != nil {
		b.inputs.locate(fresh)
	}
}

// giveUp leaves out, as AcceptLoss asks, the blocks of the sources that no open session's store holds. It is about what
// this batch reads and no other (rule 8).
func (b *batch) giveUp(ctx context.Context, of []source) error {
	if !b.order.AcceptLoss {
		return nil
	}
	peers, err := b.settled(ctx, of)
	if err != nil {
		return err
	}
	before := len(b.lostBlocks)
	for _, s := range of {
		in, ok := b.inputs[s]
		if !ok || b.given[s] {
			continue
		}
		b.given[s] = true
		kept := make([]job.Block, 0, len(in.Blocks))
		for _, x := range in.Blocks {
			if held(peers, x) {
				kept = append(kept, x)
				continue
			}
			b.lostBlocks = append(b.lostBlocks, x.ID)
			if s.time == b.order.Time {
				b.lost += x.Records
			}
		}
		in.Blocks = kept
		b.inputs[s] = in
	}
	if n := len(b.lostBlocks) - before; n > 0 {
		b.log.Warn("batch runs without blocks that nobody holds, as was asked", "blocks_lost", n, "records_lost", b.lost)
	}
	return nil
}

// settled gives a table of peers by which blocks may be given up: it has this executor in it, so that it is no table of
// a past session, and either nothing is missing or executors had time to come back.
func (b *batch) settled(ctx context.Context, of []source) (*job.Peers, error) {
	end := time.Now().Add(grace)
	for {
		peers, _ := b.cfg.Peers()
		if open(peers, b.cfg.Self()) && (b.allHeld(peers, of) || !time.Now().Before(end)) {
			return peers, nil
		}
		if err := b.wait(ctx, "blocks without a holder are about to be given up, as was asked", minDelay); err != nil {
			return nil, err
		}
	}
}

func (b *batch) allHeld(peers *job.Peers, of []source) bool {
	for _, s := range of {
		if slices.ContainsFunc(b.inputs[s].Blocks, func(x job.Block) bool { return !held(peers, x) }) {
			return false
		}
	}
	return true
}

func held(peers *job.Peers, x job.Block) bool {
	return slices.ContainsFunc(peers.Peers, func(p job.Peer) bool { return slices.Contains(x.Stores, p.Store) })
}
