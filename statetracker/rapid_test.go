package statetracker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/id"
)

// chains is the committed checkpoint of one application written down as a list of links, with the State that must agree
// with it.
type chains struct {
	t       *rapid.T
	s       *State
	index   uint64
	offices []id.Office
	links   []*Link // since the last full one; Pieces as committed
	indexes []uint64
	old     []*Link // everything that was ever proposed
	last    map[string]uint64
}

// A chain is an image and changes, each against the one before; nothing that is refused, repeated or late changes it, and
// it is the same after it was restored (rules 5 and 7).
func TestChainsAgreeWithAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &chains{t: t, s: NewState(), index: 10, last: map[string]uint64{}}
		c.office()
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			c.index++
			switch rapid.SampledFrom([]string{"commit", "commit", "commit", "commit", "again", "office", "stores", "restore", "copy"}).Draw(t, "step") {
			case "commit":
				c.commit(c.draw())
			case "again":
				if len(c.old) > 0 {
					c.commit(rapid.SampledFrom(c.old).Draw(t, "old"))
				}
			case "office":
				c.office()
			case "stores":
				c.stores()
			case "restore":
				c.restore()
			case "copy": // a picture does not change with what comes after
				picture, held := c.s.Copy(), dump(c.s)
				c.commit(c.draw())
				if now := dump(picture); now != held {
					t.Fatalf("a copy changed from\n%s\nto\n%s", held, now)
				}
			}
			c.compare()
		}
	})
}

func (c *chains) office() {
	n := id.Office(c.index)
	c.s.OpenOffice(app, n, 1, 2)
	c.offices = append(c.offices, n)
}

// draw makes a link that makes sense, or nearly.
func (c *chains) draw() *Link {
	t := c.t
	newest := c.offices[len(c.offices)-1]
	l := &Link{App: app, Office: newest, Attempt: id.Attempt(c.index), Full: len(c.links) == 0 || rapid.IntRange(0, 4).Draw(t, "full") == 4}
	at := c.at()
	l.Since = at + rapid.SampledFrom([]id.Time{0, 0, 0, 0, -1, 1}).Draw(t, "since")
	l.Time = at + rapid.SampledFrom([]id.Time{1, 1, 2, 0, -1}).Draw(t, "time")
	for range rapid.IntRange(0, 3).Draw(t, "pieces") {
		p := &Piece{Stream: id.Stream(rapid.IntRange(1, 2).Draw(t, "stream")), Bytes: 7, Rows: 1, CRC: uint32(c.index)}
		p.Part = rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "part")
		office := l.Office
		if rapid.IntRange(0, 9).Draw(t, "stranger") == 9 {
			office = rapid.SampledFrom(c.offices).Draw(t, "office")
		}
		next := c.last[key(p.Stream, l.Office)] + 1
		for _, q := range l.Pieces {
			if q.Stream == p.Stream {
				next = max(next, q.ID.Number+1)
			}
		}
		next -= min(next, uint64(max(0, rapid.IntRange(-6, 1).Draw(t, "back"))))
		p.ID = id.Block{App: app, Stream: p.Stream, Instance: id.Instance(office), Number: next}
		p.Stores = []id.Store{"A", "B", "C"}[:rapid.SampledFrom([]int{2, 2, 2, 2, 2, 3, 1}).Draw(t, "copies")]
		l.Pieces = append(l.Pieces, p)
	}
	return l
}

func key(s id.Stream, o id.Office) string { return fmt.Sprint(s, "-", o) }

func (c *chains) at() id.Time {
	if len(c.links) == 0 {
		return 100
	}
	return c.links[len(c.links)-1].Time
}

// expected is at which index a link counts, 0 if it is refused.
func (c *chains) expected(l *Link) uint64 {
	if n := len(c.links); n > 0 {
		last := c.links[n-1]
		if last.Time == l.Time && last.Attempt == l.Attempt && last.Office == l.Office && names(last) == names(l) {
			return c.indexes[n-1]
		}
		if l.Time <= last.Time || !l.Full && l.Since != last.Time {
			return 0
		}
	} else if !l.Full {
		return 0
	}
	for i, p := range l.Pieces {
		// In each stream two copies of every piece, on stores with a session (A and B), and rising numbers of the office.
		if p.ID.Instance != id.Instance(l.Office) || p.Part >= 2 || p.ID.Number <= c.last[key(p.Stream, l.Office)] || len(p.Stores) < 2 {
			return 0
		}
		for _, q := range l.Pieces[:i] {
			if q.ID == p.ID || q.Stream == p.Stream && q.Part == p.Part && q.ID.Number >= p.ID.Number {
				return 0
			}
		}
	}
	return c.index
}

// names tells the pieces of a link, whose order among partitions does not count.
func names(l *Link) string {
	var all []string
	for _, p := range l.Pieces {
		all = append(all, fmt.Sprint(p.ID, p.Part, p.CRC))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (c *chains) commit(l *Link) {
	want, before := c.expected(l), dump(c.s)
	index, err := c.s.Commit(l, Rules{
		Required: 2, Open: func(s id.Store) bool { return s != "C" },
		Partitions: func(s id.Stream) (int, bool) { return 2, s == 1 || s == 2 },
	}, c.index)
	if index != want || (err == nil) != (want != 0) {
		c.t.Fatalf("link %+v of %s after %d: index %d, %v, expected %d", *l, names(l), c.at(), index, err, want)
	}
	c.old = append(c.old, l)
	if want != c.index {
		if after := dump(c.s); after != before {
			c.t.Fatalf("link %+v was not taken, and the state changed from\n%s\nto\n%s", *l, before, after)
		}
		return
	}
	if l.Full {
		c.links, c.indexes = nil, nil
	}
	c.links, c.indexes = append(c.links, l), append(c.indexes, c.index)
	for _, p := range l.Pieces {
		k := key(p.Stream, l.Office)
		c.last[k] = max(c.last[k], p.ID.Number)
	}
}

// stores moves a piece of the chain to other stores, and one that is in no chain to nowhere.
func (c *chains) stores() {
	before := dump(c.s)
	c.s.SetStores(id.Block{App: app, Stream: 9, Number: 1}, []id.Store{"D"})
	if after := dump(c.s); after != before {
		c.t.Fatalf("stores of an unknown piece changed the state from\n%s\nto\n%s", before, after)
	}
	for p := range c.s.Pieces(app) {
		c.s.SetStores(p.ID, []id.Store{"D"})
		if now, ok := c.s.Piece(p.ID); !ok || !slices.Equal(now.Stores, []id.Store{"D"}) {
			c.t.Fatalf("piece %v is on %v, expected it on D", p.ID, now)
		}
		return
	}
}

func (c *chains) restore() {
	old := c.s
	c.s = NewState()
	for v := range old.Checkpoints() {
		c.s.PutCheckpoint(v)
	}
	for v := range old.AllOffices() {
		c.s.PutOffice(v)
	}
	for v := range old.AllPieces() {
		c.s.PutPiece(v)
	}
	if a, b := dump(old), dump(c.s); a != b {
		c.t.Fatalf("restored from\n%s\nto\n%s", a, b)
	}
}

func (c *chains) compare() {
	if err := c.s.Check(); err != nil {
		c.t.Fatal(err)
	}
	var want, got []string
	for i, l := range c.links {
		for _, p := range l.Pieces {
			want = append(want, fmt.Sprint(i, p.ID, p.Part))
		}
	}
	for p := range c.s.Pieces(app) {
		got = append(got, fmt.Sprint(p.Link, p.ID, p.Part))
	}
	slices.Sort(want)
	slices.Sort(got)
	cp, ok := c.s.Checkpoint(app)
	if !slices.Equal(got, want) || ok != (len(c.links) > 0) || ok && (cp.Time != c.at() || cp.Links != len(c.links)) {
		c.t.Fatalf("chain %v of %+v, expected %v", got, cp, want)
	}
	for o := range c.s.AllOffices() { // invariant 8: what may be deleted is below all that is in the chain
		cleaned := c.last[key(o.Stream, o.ID)]
		for _, l := range c.links {
			for _, p := range l.Pieces {
				if l.Office == o.ID && p.Stream == o.Stream {
					cleaned = min(cleaned, p.ID.Number-1)
				}
			}
		}
		if now := c.s.Cleaned(o); now != cleaned {
			c.t.Fatalf("pieces of office %+v are needless up to %d, expected %d", *o, now, cleaned)
		}
	}
}

// dump tells everything that a State holds.
func dump(s *State) (text string) {
	for v := range s.Checkpoints() {
		text += fmt.Sprintf("%+v\n", *v)
	}
	for v := range s.AllOffices() {
		text += fmt.Sprintf("%+v\n", *v)
	}
	for v := range s.AllPieces() {
		text += fmt.Sprintf("%+v\n", *v)
	}
	return text
}
