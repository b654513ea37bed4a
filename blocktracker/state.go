package blocktracker

import (
	"cmp"
	"iter"

	"github.com/tidwall/btree"

	"github.com/raftstream/raftstream/internal/id"
)

// State is the block tracker's part of the ledger. One goroutine changes it; Copy gives a picture that any number may
// read while the original changes. Values in it are immutable: a change puts a new one.
type State struct {
	queues    *btree.Map[id.App, *Queue]
	instances *btree.BTreeG[*Instance]
	blocks    *btree.BTreeG[*Block] // by id
	arrivals  *btree.BTreeG[*Block] // the same, by application and Seq
	spans     *btree.BTreeG[*Span]
	positions *btree.BTreeG[*Position] // by application, stream, partition
	ages      *btree.BTreeG[*Position] // the same, by application, stream, UsedMS, partition
	tallies   *btree.BTreeG[tally]
	named     *btree.BTreeG[Named]
	plans     *btree.BTreeG[*Plan]
	sources   *btree.BTreeG[*Source]
	moves     *btree.Map[id.App, uint64] // changes of stores and losses since this State was made or restored
}

// tally counts the positions of a stream.
type tally struct {
	app       id.App
	stream    id.Stream
	positions int
}

// NewState makes an empty one.
func NewState() *State {
	return &State{
		queues:    btree.NewMap[id.App, *Queue](0),
		instances: tree(compareInstances),
		blocks:    tree(func(a, b *Block) int { return a.ID.Compare(b.ID) }),
		arrivals:  tree(compareArrivals),
		spans:     tree(compareSpans),
		positions: tree(comparePositions),
		ages:      tree(compareAges),
		tallies: tree(func(a, b tally) int {
			return cmp.Or(cmp.Compare(a.app, b.app), cmp.Compare(a.stream, b.stream))
		}),
		named: tree(compareNamed),
		plans: tree(comparePlans),
		sources: tree(func(a, b *Source) int {
			return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Stream, b.Stream))
		}),
		moves: btree.NewMap[id.App, uint64](0),
	}
}

func tree[T any](compare func(a, b T) int) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(func(a, b T) bool { return compare(a, b) < 0 }, btree.Options{NoLocks: true})
}

// Copy gives a picture of s in constant time. It must be called by the goroutine that changes s.
func (s *State) Copy() *State {
	return &State{
		queues:    s.queues.Copy(),
		instances: s.instances.Copy(),
		blocks:    s.blocks.Copy(),
		arrivals:  s.arrivals.Copy(),
		spans:     s.spans.Copy(),
		positions: s.positions.Copy(),
		ages:      s.ages.Copy(),
		tallies:   s.tallies.Copy(),
		named:     s.named.Copy(),
		plans:     s.plans.Copy(),
		sources:   s.sources.Copy(),
		moves:     s.moves.Copy(),
	}
}

func compareInstances(a, b *Instance) int {
	return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.ID, b.ID))
}

func compareArrivals(a, b *Block) int {
	return cmp.Or(cmp.Compare(a.ID.App, b.ID.App), cmp.Compare(a.Seq, b.Seq))
}

func compareSpans(a, b *Span) int {
	return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Time, b.Time))
}

func comparePositions(a, b *Position) int {
	return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Partition, b.Partition))
}

func compareAges(a, b *Position) int {
	return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.UsedMS, b.UsedMS),
		cmp.Compare(a.Partition, b.Partition))
}

func comparePlans(a, b *Plan) int {
	return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Time, b.Time), cmp.Compare(a.Stream, b.Stream))
}

func compareNamed(a, b Named) int {
	return cmp.Or(cmp.Compare(a.Session, b.Session), a.Block.Compare(b.Block))
}

// Len counts all records; what is kept in two orders counts once.
func (s *State) Len() int {
	return s.queues.Len() + s.instances.Len() + s.blocks.Len() + s.spans.Len() + s.positions.Len() + s.named.Len() +
		s.plans.Len() + s.sources.Len()
}

// Queue gives an application's queue.
func (s *State) Queue(app id.App) (*Queue, bool) { return s.queues.Get(app) }

// Queues lists the queues in order of application.
func (s *State) Queues() iter.Seq[*Queue] {
	return func(yield func(*Queue) bool) {
		s.queues.Scan(func(_ id.App, q *Queue) bool { return yield(q) })
	}
}

// Instance gives one instance.
func (s *State) Instance(app id.App, stream id.Stream, n id.Instance) (*Instance, bool) {
	return s.instances.Get(&Instance{App: app, Stream: stream, ID: n})
}

// Instances lists an application's instances in order of stream and id.
func (s *State) Instances(app id.App) iter.Seq[*Instance] {
	return func(yield func(*Instance) bool) {
		s.instances.Ascend(&Instance{App: app, Stream: minStream}, func(i *Instance) bool {
			return i.App == app && yield(i)
		})
	}
}

// AllInstances lists the instances of all applications in order.
func (s *State) AllInstances() iter.Seq[*Instance] { return s.instances.Scan }

// Moves counts how often the stores of a block of the application have changed, or one was given up. It is for who has
// looked at them to know whether to look again: it is no part of the ledger, is in no snapshot and differs from node to
// node.
func (s *State) Moves(app id.App) uint64 {
	n, _ := s.moves.Get(app)
	return n
}

// Block gives a block that is not cleaned.
func (s *State) Block(n id.Block) (*Block, bool) { return s.blocks.Get(&Block{ID: n}) }

// Blocks lists all blocks that are not cleaned, by application in order of arrival.
func (s *State) Blocks() iter.Seq[*Block] { return s.arrivals.Scan }

// Spans lists the spans of all batches that are not cleaned, by application and time.
func (s *State) Spans() iter.Seq[*Span] { return s.spans.Scan }

// AllPositions lists the positions of all streams in order.
func (s *State) AllPositions() iter.Seq[*Position] { return s.positions.Scan }

// AllNamed lists what inventories that are not complete have named, in order.
func (s *State) AllNamed() iter.Seq[Named] { return s.named.Scan }

// Positions lists the partitions of a stream with their last position, in order of partition.
func (s *State) Positions(app id.App, stream id.Stream) iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		s.positions.Ascend(&Position{App: app, Stream: stream}, func(p *Position) bool {
			return p.App == app && p.Stream == stream && yield(p.Partition, p.Last)
		})
	}
}

// Queued lists the blocks of a stream that wait for a batch, in order of arrival.
func (s *State) Queued(app id.App, stream id.Stream) iter.Seq[*Block] {
	return func(yield func(*Block) bool) {
		q, ok := s.queues.Get(app)
		if !ok {
			return
		}
		for b := range s.run(app, q.Allocated+1, q.Added) {
			if b.ID.Stream == stream && !yield(b) {
				return
			}
		}
	}
}

// Input lists the blocks of a stream that a batch was allocated, in order of arrival, without those that were given up as
// lost; none when the batch is cleaned.
func (s *State) Input(app id.App, at id.Time, stream id.Stream) []*Block {
	sp, ok := s.spans.Get(&Span{App: app, Time: at})
	if !ok {
		return nil
	}
	var found []Block
	for b := range s.run(app, sp.First, sp.Last) {
		if b.ID.Stream == stream && !b.Lost {
			found = append(found, *b)
		}
	}
	out := make([]*Block, len(found))
	for i := range found {
		found[i].Batch = at
		out[i] = &found[i]
	}
	return out
}

// run lists an application's blocks first to last in order of arrival.
func (s *State) run(app id.App, first, last uint64) iter.Seq[*Block] {
	return func(yield func(*Block) bool) {
		s.arrivals.Ascend(&Block{ID: id.Block{App: app}, Seq: first}, func(b *Block) bool {
			return b.ID.App == app && b.Seq <= last && yield(b)
		})
	}
}

const minStream = id.Stream(-1 << 31)
