package blocktracker

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// naive is the state written down as a list of blocks that is searched, with the State that must agree with it.
type naive struct {
	t         *rapid.T
	s         *State
	index     uint64
	batch     id.Time // last one allocated
	blocks    []*naiveBlock
	instances []*naiveInstance // in order of id
	pictures  []picture
}

type naiveBlock struct {
	Block
	session id.Session
	at      id.Time // batch, 0 while it waits
	cleaned bool
}

type naiveInstance struct {
	id         id.Instance
	stream     id.Stream
	session    id.Session
	registered bool
	closed     bool
}

// picture is a copy of the state with what it held when it was taken.
type picture struct {
	s    *State
	held string
}

// A block is taken once, waits in its place, is in one batch at most and stays there until that is cleaned, whatever is
// repeated, comes late or out of order, and wherever the state is restored (invariants 2 and 8, rules 4 and 5).
func TestBlocksAgreeWithAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := &naive{t: t, s: NewState(), index: 10}
		n.s.OpenQueue(app)
		n.open()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			n.index++
			n.step(rapid.SampledFrom([]string{
				"add", "add", "add", "add", "again", "allocate", "allocate", "clean", "open", "register", "close",
				"discard", "discard batch", "copy", "restore",
			}).Draw(t, "step"))
			n.compare()
		}
		for _, p := range n.pictures {
			if held := dump(p.s); held != p.held {
				t.Fatalf("a copy changed from\n%s\nto\n%s", p.held, held)
			}
		}
	})
}

func (n *naive) step(what string) {
	switch what {
	case "add":
		n.add(n.draw())
	case "again": // reported again, as it was or changed on the way
		if len(n.blocks) > 0 {
			b := *rapid.SampledFrom(n.blocks).Draw(n.t, "known")
			b.CRC += uint32(max(0, rapid.IntRange(-4, 1).Draw(n.t, "damage")))
			n.add(&b)
		}
	case "allocate":
		n.allocate()
	case "clean": // twice: what is cleaned stays cleaned
		upTo := id.Time(rapid.Int64Range(0, int64(n.batch)).Draw(n.t, "up to"))
		n.s.Clean(app, upTo)
		n.s.Clean(app, upTo)
		n.drop(func(b *naiveBlock) bool { return b.at > 0 && b.at <= upTo })
	case "open":
		n.open()
	case "register", "close":
		in := rapid.SampledFrom(n.instances).Draw(n.t, "instance")
		known, ok := n.s.Instance(app, in.stream, in.id)
		switch {
		case !ok:
			n.t.Fatalf("instance %d is forgotten", in.id)
		case what == "register":
			n.s.Register(known, n.index)
			in.registered = true
		default:
			n.s.CloseInstance(known)
			in.closed = true
		}
	case "discard":
		n.s.Discard(app)
		n.drop(func(b *naiveBlock) bool { return b.at == 0 })
	case "discard batch":
		n.s.DiscardBatch(app, n.batch)
		n.drop(func(b *naiveBlock) bool { return b.at == n.batch && b.at > 0 })
	case "copy":
		n.pictures = append(n.pictures, picture{n.s.Copy(), dump(n.s)})
	case "restore":
		n.restore()
	}
}

// open grants a new instance of a stream; its first blocks may come before it has registered.
func (n *naive) open() {
	in := &naiveInstance{
		id: id.Instance(n.index), stream: id.Stream(rapid.IntRange(1, 2).Draw(n.t, "stream")),
		session: id.Session(rapid.IntRange(3, 4).Draw(n.t, "session")),
	}
	n.s.OpenInstance(app, in.stream, in.id, in.session)
	n.instances = append(n.instances, in)
}

// draw makes a report that makes sense, or nearly.
func (n *naive) draw() *naiveBlock {
	in := rapid.SampledFrom(n.instances).Draw(n.t, "instance")
	b := &naiveBlock{session: in.session}
	if rapid.IntRange(0, 9).Draw(n.t, "stranger") == 9 {
		b.session = 7
	}
	number := int64(n.last(in)) + rapid.SampledFrom([]int64{1, 1, 1, 1, 2, 0}).Draw(n.t, "number")
	b.ID = id.Block{App: app, Stream: in.stream, Instance: in.id, Number: uint64(number)}
	b.Records, b.Bytes, b.CRC = number%3+1, 10, uint32(number)
	b.Stores = []id.Store{"A", "B", "C"}[:rapid.SampledFrom([]int{2, 2, 2, 3, 1, 0}).Draw(n.t, "copies")]
	for _, p := range rapid.SampledFrom([][]string{nil, {"p"}, {"q"}, {"p", "q"}}).Draw(n.t, "partitions") {
		first := int64(n.high(in.stream, p)) + rapid.SampledFrom([]int64{1, 1, 1, 1, 2, 0}).Draw(n.t, "first")
		b.Ranges = append(b.Ranges, connector.Range{Partition: p, First: uint64(first), Last: uint64(first) + 2})
	}
	return b
}

// last gives the highest number taken of an instance, high the highest position of a partition.
func (n *naive) last(in *naiveInstance) (last uint64) {
	for _, b := range n.blocks {
		if b.ID.Instance == in.id {
			last = max(last, b.ID.Number)
		}
	}
	return last
}

func (n *naive) high(stream id.Stream, partition string) (high uint64) {
	for _, b := range n.blocks {
		for _, r := range b.Ranges {
			if b.ID.Stream == stream && r.Partition == partition {
				high = max(high, r.Last)
			}
		}
	}
	return high
}

// current gives the newest instance of a stream.
func (n *naive) current(stream id.Stream) (newest id.Instance) {
	for _, in := range n.instances {
		if in.stream == stream {
			newest = in.id
		}
	}
	return newest
}

// expected is what becomes of a report: at which index it counts, or "later" or "never".
func (n *naive) expected(b *naiveBlock) string {
	in := n.instances[slices.IndexFunc(n.instances, func(in *naiveInstance) bool { return in.id == b.ID.Instance })]
	for _, known := range n.blocks {
		switch {
		case known.ID != b.ID:
		case known.cleaned:
			return fmt.Sprint(n.index)
		case !slices.Equal(known.Ranges, b.Ranges) || known.CRC != b.CRC:
			return "never"
		default:
			return fmt.Sprint(known.Index)
		}
	}
	switch {
	case in.closed || !in.registered || in.session != b.session || b.ID.Number == 0,
		in.id != n.current(in.stream) && len(b.Ranges) > 0:
		return "never"
	case b.ID.Number != n.last(in)+1 || len(b.Stores) < 2: // A and B have open sessions, two copies are required
		return "later"
	}
	for _, r := range b.Ranges {
		if r.First != n.high(in.stream, r.Partition)+1 {
			return "never"
		}
	}
	return fmt.Sprint(n.index)
}

func (n *naive) add(b *naiveBlock) {
	want, before := n.expected(b), dump(n.s)
	report := Report{
		Session: b.session, Current: n.current(b.ID.Stream), Required: 2,
		Open: func(s id.Store) bool { return s != "C" }, NowMS: int64(n.index),
	}
	block := b.Block
	index, err := n.s.Add(&block, report, n.index)
	got := fmt.Sprint(index)
	switch {
	case errors.Is(err, ErrLimit):
		got = "later"
	case err != nil:
		got = "never"
	}
	if got != want {
		n.t.Fatalf("block %+v: %s (%v), expected %s", b.Block, got, err, want)
	}
	fresh := !slices.ContainsFunc(n.blocks, func(k *naiveBlock) bool { return k.ID == b.ID })
	if err == nil && fresh {
		b.Index = n.index
		n.blocks = append(n.blocks, b)
	} else if after := dump(n.s); after != before {
		n.t.Fatalf("block %+v was not new, and the state changed from\n%s\nto\n%s", b.Block, before, after)
	}
}

func (n *naive) allocate() {
	n.batch++
	var want Input
	for _, b := range n.blocks {
		if b.at == 0 && !b.cleaned {
			b.at = n.batch
			want.add(&b.Block)
		}
	}
	if in := n.s.Allocate(app, n.batch); in != want {
		n.t.Fatalf("batch %d: %+v, expected %+v", n.batch, in, want)
	}
}

func (n *naive) drop(which func(*naiveBlock) bool) {
	for _, b := range n.blocks {
		b.cleaned = b.cleaned || which(b)
	}
}

// restore makes the state anew of its records, as a snapshot does.
func (n *naive) restore() {
	old := n.s
	n.s = NewState()
	for q := range old.Queues() {
		n.s.PutQueue(q)
	}
	for in := range old.AllInstances() {
		n.s.PutInstance(in)
	}
	for b := range old.Blocks() {
		n.s.PutBlock(b)
	}
	for sp := range old.Spans() {
		n.s.PutSpan(sp)
	}
	for p := range old.AllPositions() {
		n.s.PutPosition(p)
	}
	if a, b := dump(old), dump(n.s); a != b {
		n.t.Fatalf("restored from\n%s\nto\n%s", a, b)
	}
}

func (n *naive) compare() {
	if err := n.s.Check(); err != nil {
		n.t.Fatal(err)
	}
	want := map[id.Time][]string{}
	for _, b := range n.blocks {
		if !b.cleaned {
			want[b.at] = append(want[b.at], fmt.Sprint(b.ID))
		}
	}
	for at := id.Time(0); at <= n.batch; at++ {
		for stream := id.Stream(1); stream <= 2; stream++ {
			got := n.s.Input(app, at, stream)
			if at == 0 {
				got = slices.Collect(n.s.Queued(app, stream))
			}
			var ids []string
			for _, b := range got {
				ids = append(ids, fmt.Sprint(b.ID))
			}
			of := slices.DeleteFunc(slices.Clone(want[at]), func(s string) bool { return s[:4] != fmt.Sprintf("%d-%d-", app, stream) })
			if !slices.Equal(ids, of) {
				n.t.Fatalf("batch %d, stream %d: blocks %v, expected %v", at, stream, ids, of)
			}
		}
	}
	for _, in := range n.instances {
		for p, last := range n.s.Positions(app, in.stream) {
			if high := n.high(in.stream, p); last != high {
				n.t.Fatalf("position of %q of stream %d is %d, expected %d", p, in.stream, last, high)
			}
		}
		n.compareCleaned(in)
	}
}

// compareCleaned is invariant 8: what an executor may delete is what is cleaned.
func (n *naive) compareCleaned(in *naiveInstance) {
	cleaned := n.last(in)
	for _, b := range n.blocks {
		if b.ID.Instance == in.id && !b.cleaned {
			cleaned = min(cleaned, b.ID.Number-1)
		}
	}
	known, ok := n.s.Instance(app, in.stream, in.id)
	if !ok || known.Last != n.last(in) || known.Cleaned != cleaned {
		n.t.Fatalf("instance %+v, expected blocks up to %d, cleaned up to %d", known, n.last(in), cleaned)
	}
}

// dump tells everything that a State holds.
func dump(s *State) (text string) {
	for q := range s.Queues() {
		text += fmt.Sprintf("%+v\n", *q)
	}
	for in := range s.AllInstances() {
		text += fmt.Sprintf("%+v\n", *in)
	}
	for b := range s.Blocks() {
		text += fmt.Sprintf("%+v\n", *b)
	}
	for sp := range s.Spans() {
		text += fmt.Sprintf("%+v\n", *sp)
	}
	for p := range s.AllPositions() {
		text += fmt.Sprintf("%+v\n", *p)
	}
	return text
}
