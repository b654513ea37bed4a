package checker

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
)

// IDs is a set of records, each named by its producer and its sequence number there. It is compact where numbers are dense,
// as those of producers are: about a bit for each. The zero value is empty.
type IDs struct {
	producers map[string]*numbers
	n         int64
}

// Add puts the producer's records first to last into the set, both included.
func (s *IDs) Add(producer string, first, last uint64) {
	p := s.of(producer)
	for n := first; n <= last; n++ {
		if p.add(n) {
			s.n++
		}
		if n == last { // which may be the highest number there is
			return
		}
	}
}

// of gives the producer's numbers, new ones where there are none.
func (s *IDs) of(producer string) *numbers {
	p, ok := s.producers[producer]
	if !ok {
		if s.producers == nil {
			s.producers = map[string]*numbers{}
		}
		p = &numbers{pages: map[uint64]*page{}}
		s.producers[producer] = p
	}
	return p
}

// Has reports whether a record is in the set.
func (s *IDs) Has(producer string, number uint64) bool {
	p, ok := s.producers[producer]
	return ok && p.has(number)
}

// Len is the number of records in the set.
func (s *IDs) Len() int64 { return s.n }

// Producers gives the names of the producers that have records, in order.
func (s *IDs) Producers() []string { return slices.Sorted(maps.Keys(s.producers)) }

// less counts the records of s that are not in o, and tells of the first runs of them.
func (s *IDs) less(o *IDs, tell func(run string)) int64 {
	var n int64
	for _, name := range s.Producers() {
		mine := s.producers[name]
		var theirs *numbers
		if p, ok := o.producers[name]; ok {
			theirs = p
		}
		n += mine.less(theirs, func(first, last uint64) { tell(runOf(name, first, last)) })
	}
	return n
}

// runOf gives a run of records as people read it.
func runOf(producer string, first, last uint64) string {
	if first == last {
		return fmt.Sprintf("%s-%d", producer, first)
	}
	return fmt.Sprintf("%s-%d to %d (%d records)", producer, first, last, last-first+1)
}

const (
	pageBits  = 16 // of a number, that its place in a page takes
	pageWords = 1 << pageBits / 64
)

type page [pageWords]uint64

// numbers is a set of numbers as bitmaps.
type numbers struct {
	pages map[uint64]*page
	last  *page // that was asked for last, of number at
	at    uint64
}

func (p *numbers) page(n uint64) *page {
	if at := n >> pageBits; p.last == nil || p.at != at {
		p.last, p.at = p.pages[at], at
	}
	return p.last
}

func (p *numbers) has(n uint64) bool {
	g := p.page(n)
	return g != nil && g[n%(1<<pageBits)/64]&(1<<(n%64)) != 0
}

// add reports whether the number is new.
func (p *numbers) add(n uint64) bool {
	g := p.page(n)
	if g == nil {
		g = new(page)
		p.pages[n>>pageBits], p.last = g, g
	}
	word, bit := &g[n%(1<<pageBits)/64], uint64(1)<<(n%64)
	fresh := *word&bit == 0
	*word |= bit
	return fresh
}

// less counts the numbers of p that are not in o, which may be nil, and gives them as runs.
func (p *numbers) less(o *numbers, run func(first, last uint64)) int64 {
	var n int64
	var first, next uint64 // of the run that goes on, none if they are equal
	for _, at := range slices.Sorted(maps.Keys(p.pages)) {
		mine, theirs := p.pages[at], new(page)
		if o != nil && o.pages[at] != nil {
			theirs = o.pages[at]
		}
		for w := range mine {
			for left := mine[w] &^ theirs[w]; left != 0; left &= left - 1 {
				id := at<<pageBits | uint64(w*64+bits.TrailingZeros64(left))
				n++
				if id != next || first == next {
					if first != next {
						run(first, next-1)
					}
					first = id
				}
				next = id + 1
			}
		}
	}
	if first != next {
		run(first, next-1)
	}
	return n
}
