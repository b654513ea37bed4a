package table

// slot is an entry of the index: the low half of the key's hash, and its row plus one. Row 0 marks an empty slot.
type slot struct {
	hash uint32
	row  uint32
}

const (
	firstSlots = 64
	maxRows    = 1 << 31
)

// index finds rows by hash: open addressing, one slot after the other. It keeps enough of the hashes to grow and to
// give slots up without looking at keys.
//
// Invariant: its length is a power of two, and at most three of four slots are in use.
type index struct{ slots []slot }

func newIndex(rows int) index {
	n := firstSlots
	for rows*4 >= n*3 {
		n *= 2
	}
	return index{make([]slot, n)}
}

func (x *index) mask() uint32 { return uint32(len(x.slots) - 1) }

// fill sets the empty slot i, and doubles the index when too many are in use.
func (x *index) fill(i, hash uint32, row, used int) {
	x.slots[i] = slot{hash: hash, row: uint32(row) + 1}
	if used*4 >= len(x.slots)*3 {
		old := x.slots
		x.slots = make([]slot, 2*len(old))
		for _, s := range old {
			if s.row != 0 {
				x.add(s)
			}
		}
	}
}

// add puts a slot whose key is not there yet.
func (x *index) add(s slot) {
	mask := x.mask()
	i := s.hash & mask
	for x.slots[i].row != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

// drop empties the slot of a row, and moves those behind it that a search would not reach any more.
func (x *index) drop(hash uint32, row int) {
	mask := x.mask()
	i := hash & mask
	for x.slots[i].row != uint32(row)+1 {
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; x.slots[j].row != 0; j = (j + 1) & mask {
		// The slot at j may stand anywhere from its home to j: i must not be before its home.
		if home := x.slots[j].hash & mask; (j-home)&mask >= (j-i)&mask {
			x.slots[i] = x.slots[j]
			i = j
		}
	}
	x.slots[i] = slot{}
}
