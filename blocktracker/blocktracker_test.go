package blocktracker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

const app = id.App(1)

// fixture is a state with one application whose stream 1 has the registered instance 5 of session 3.
type fixture struct {
	*State
	t     *testing.T
	index uint64
	now   int64
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{State: NewState(), t: t, index: 10, now: 1000}
	f.OpenQueue(app)
	f.instance(1, 5)
	return f
}

func (f *fixture) instance(stream id.Stream, n id.Instance) {
	f.OpenInstance(app, stream, n, 3)
	in, _ := f.Instance(app, stream, n)
	f.Register(in, f.index)
}

func block(stream id.Stream, number uint64, ranges ...connector.Range) *Block {
	return &Block{ID: id.Block{App: app, Stream: stream, Instance: 5, Number: number}, Records: 1, Bytes: 10, Ranges: ranges}
}

func (f *fixture) try(b *Block) (uint64, error) {
	f.index++
	return f.Add(b, Report{Session: 3, Current: 5, Open: func(id.Store) bool { return true }, NowMS: f.now}, f.index)
}

func (f *fixture) add(blocks ...*Block) {
	f.t.Helper()
	for _, b := range blocks {
		if _, err := f.try(b); err != nil {
			f.t.Fatal(err)
		}
	}
	f.verify()
}

func (f *fixture) verify() {
	f.t.Helper()
	if err := f.Check(); err != nil {
		f.t.Fatal(err)
	}
}

// expect checks a list of blocks by their numbers.
func (f *fixture) expect(what string, got []*Block, numbers ...uint64) {
	f.t.Helper()
	have := make([]uint64, 0, len(got))
	for _, b := range got {
		have = append(have, b.ID.Number)
	}
	if !slices.Equal(have, numbers) && len(have)+len(numbers) > 0 {
		f.t.Fatalf("%s: blocks %v, expected %v", what, have, numbers)
	}
}

func (f *fixture) queued(stream id.Stream) []*Block { return slices.Collect(f.Queued(app, stream)) }

// The facts are those of Spark's ReceivedBlockTrackerSuite, with our one difference: a block that was added before is
// not queued again.
func TestBlockAdditionAndAllocation(t *testing.T) {
	t.Run("block addition, and block to batch allocation", testBlockAdditionAndAllocation)
}

func testBlockAdditionAndAllocation(t *testing.T) {
	f := newFixture(t)
	f.expect("at first", f.queued(1))
	f.add(block(1, 1), block(1, 2), block(1, 3))
	f.expect("added", f.queued(1), 1, 2, 3)
	if in := f.Allocate(app, 1); in != (Input{Blocks: 3, Records: 3, Bytes: 30}) {
		t.Fatalf("allocated %+v, expected 3 blocks", in)
	}
	f.expect("batch 1", f.Input(app, 1, 1), 1, 2, 3)
	f.expect("after the allocation", f.queued(1))
	if in := f.Allocate(app, 2); in.Blocks != 0 {
		t.Fatalf("allocated %+v, expected nothing", in)
	}
	f.expect("batch 2", f.Input(app, 2, 1))
	at, err := f.try(block(1, 2))
	if err != nil || at != 12 {
		t.Fatalf("the same block again: index %d, %v, expected that of the first time, 12", at, err)
	}
	f.expect("after the repetition", f.queued(1))
	f.add(block(1, 4))
	f.Allocate(app, 3)
	f.expect("batch 1", f.Input(app, 1, 1), 1, 2, 3)
	f.expect("batch 3", f.Input(app, 3, 1), 4)
	f.Clean(app, 1)
	f.verify()
	f.expect("batch 1 cleaned", f.Input(app, 1, 1))
	f.expect("batch 3", f.Input(app, 3, 1), 4)
	if b := f.Input(app, 3, 1)[0]; b.Batch != 3 || b.Seq != 4 {
		t.Fatalf("%+v, expected batch 3 and arrival 4", *b)
	}
}

func TestStreamsShareOneOrderOfArrival(t *testing.T) {
	f := newFixture(t)
	f.instance(2, 5)
	f.add(block(1, 1), block(2, 1), block(1, 2), block(2, 2))
	f.Allocate(app, 7)
	f.expect("stream 1", f.Input(app, 7, 1), 1, 2)
	f.expect("stream 2", f.Input(app, 7, 2), 1, 2)
	f.expect("stream 3", f.Input(app, 7, 3))
}

// Rule 10: a batch takes blocks in order up to its limit, and one at least; what is beyond waits.
func TestBatchTakesBlocksInOrderUpToItsLimit(t *testing.T) {
	f := newFixture(t)
	for n, bytes := range []int64{MaxBatchBytes, MaxBatchBytes - 10, 10, 1} {
		b := block(1, uint64(n+1))
		b.Bytes = bytes
		f.add(b)
	}
	for at, want := range [][]uint64{{1}, {2, 3}, {4}, {}} {
		f.Allocate(app, id.Time(at+1))
		f.expect(fmt.Sprint("batch ", at+1), f.Input(app, id.Time(at+1), 1), want...)
	}
	f.verify()
}

// Rule 10: blocks that are not cleaned have a limit.
func TestLiveBlocksAreLimited(t *testing.T) {
	f := newFixture(t)
	q, _ := f.Queue(app)
	full := *q
	full.Live = MaxBlocks
	f.PutQueue(&full)
	if _, err := f.try(block(1, 1)); !errors.Is(err, ErrLimit) {
		t.Fatalf("%v, expected a refusal by the limit", err)
	}
	f.PutQueue(q)
	f.add(block(1, 1))
}

func TestBlocksBeyondTheirBoundsAreRefused(t *testing.T) {
	f := newFixture(t)
	many, long := block(1, 1), block(1, 1, connector.Range{Partition: strings.Repeat("p", 1025), First: 1, Last: 1})
	many.Stores = make([]id.Store, MaxBlockStores+1)
	wide := block(1, 1)
	wide.Ranges = make([]connector.Range, MaxPositions+1)
	rich := block(1, 1)
	rich.Records = MaxBlockRecords + 1
	for want, b := range map[string]*Block{
		"65 stores, expected at most 64":                   many,
		"partition name of 1025 bytes, expected 1 to 1024": long,
		"10001 ranges, expected at most 10000":             wide,
		"1073741825 records, expected 0 to 1073741824":     rich,
		"application 2 takes no blocks":                    {ID: id.Block{App: 2}},
		"no receiver instance 9 of stream 1":               {ID: id.Block{App: app, Stream: 1, Instance: 9}},
		"number 0, expected 1":                             block(1, 0),
	} {
		if _, err := f.try(b); err == nil || errors.Is(err, ErrLimit) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, expected %q", err, want)
		}
	}
}

func TestDiscardGivesUpWhatWaits(t *testing.T) {
	f := newFixture(t)
	f.add(block(1, 1), block(1, 2))
	f.Allocate(app, 1)
	f.add(block(1, 3))
	f.Allocate(app, 2)
	f.add(block(1, 4))
	if in := f.Discard(app); in.Records != 1 {
		t.Fatalf("discarded %+v, expected one record", in)
	}
	f.verify()
	if in := f.DiscardBatch(app, 2); in.Records != 1 {
		t.Fatalf("discarded %+v of batch 2, expected one record", in)
	}
	f.verify()
	in, _ := f.Instance(app, 1, 5)
	if in.Cleaned != 0 || in.Last != 4 {
		t.Fatalf("instance %+v, expected nothing cleaned while blocks 1 and 2 are there", *in)
	}
	f.Clean(app, 1)
	f.verify()
	if in, _ = f.Instance(app, 1, 5); in.Cleaned != 4 {
		t.Fatalf("instance %+v, expected all cleaned", *in)
	}
	f.add(block(1, 5))
	f.Drop(app)
	f.verify()
	if f.Len() != 0 {
		t.Fatalf("%d records are left of a dropped application", f.Len())
	}
}

// Rules 4 and 10: positions are bounded by count and age; none that was used lately is forgotten.
func TestPositionsAreBoundedByCountAndAge(t *testing.T) {
	f := newFixture(t)
	number, name := uint64(0), 0
	fresh := func(n int) *Block {
		number++
		b := block(1, number)
		for range n {
			name++
			b.Ranges = append(b.Ranges, connector.Range{Partition: fmt.Sprintf("p%06d", name), First: 1, Last: 1})
		}
		return b
	}
	f.add(fresh(MaxPositions / 2))
	f.now += PositionsSureMS
	f.add(fresh(MaxPositions / 2))
	// Every position was used within the sure time: no room for a new one.
	if _, err := f.try(fresh(1)); !errors.Is(err, ErrLimit) ||
		!strings.Contains(err.Error(), "10001 partitions of stream 1 were used in the last 10 minutes, expected at most 10000") {
		t.Fatalf("%v, expected a refusal by the limit", err)
	}
	number, name = number-1, name-1
	// A known one moves on, and stays when the others are pressed out.
	number++
	f.add(block(1, number, connector.Range{Partition: "p000001", First: 2, Last: 9}))
	f.now++
	f.add(fresh(2))
	has := func(p string) uint64 {
		got, _ := f.position(app, 1, p)
		if got == nil {
			return 0
		}
		return got.Last
	}
	if has("p000001") != 9 || has("p000002") != 0 || has("p000003") != 0 || has("p000004") != 1 {
		t.Fatalf("positions 1 to 4: %d, %d, %d, %d, expected the two that were used longest ago forgotten",
			has("p000001"), has("p000002"), has("p000003"), has("p000004"))
	}
	if _, err := f.try(&Block{
		ID:     id.Block{App: app, Stream: 1, Instance: 5, Number: number + 1},
		Ranges: []connector.Range{{Partition: "p000002", First: 2, Last: 2}},
	}); !errors.Is(err, connector.ErrPosition) {
		t.Fatalf("a forgotten producer that does not start at 1: %v", err)
	}
	// After a week without use they go, a few with each addition.
	f.now += PositionsKeptMS + 1
	before := f.positions.Len()
	f.add(fresh(1))
	if got := before + 1 - f.positions.Len(); got != positionsPerStep {
		t.Fatalf("%d expired positions forgotten, expected %d", got, positionsPerStep)
	}
}

func TestClosedAndCleanedInstancesAreBounded(t *testing.T) {
	f := newFixture(t)
	f.add(block(1, 1))
	for n := id.Instance(6); n < 6+MaxInstances+10; n++ {
		f.OpenInstance(app, 1, n, 3)
		in, _ := f.Instance(app, 1, n)
		f.CloseInstance(in)
	}
	f.OpenInstance(app, 1, 500, 4)
	all := slices.Collect(f.Instances(app))
	if len(all) != MaxInstances+2 || all[0].ID != 5 || all[1].ID != 16 {
		t.Fatalf("%d instances from %d, %d, expected 5 with its block, %d closed ones and the new one",
			len(all), all[0].ID, all[1].ID, MaxInstances)
	}
	// Blocks of a forgotten instance can never be added: it was granted before one that is known.
	got := f.Inventory(3, "A", []id.Block{{App: app, Stream: 1, Instance: 7, Number: 1}, {App: app, Stream: 1, Instance: 501, Number: 1}},
		true, true, nothing{})
	if len(got) != 1 || got[0].Instance != 7 {
		t.Fatalf("deletable %v, expected the block of instance 7", got)
	}
	f.CloseSession(3)
	if in, ok := f.OpenInstanceOf(app); !ok || in.ID != 500 {
		t.Fatalf("open instance %+v, expected 500 of session 4", in)
	}
	f.CloseApp(app)
	if in, ok := f.OpenInstanceOf(app); ok {
		t.Fatalf("instance %+v is open", *in)
	}
}

// nothing knows of nothing besides blocks.
type nothing struct{}

func (nothing) Hold(id.Block, id.Store) bool                     { return false }
func (nothing) Gone(id.Block) bool                               { return false }
func (nothing) Strike(id.Session, id.Store, func(id.Block) bool) {}
