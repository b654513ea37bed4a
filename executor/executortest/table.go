package executortest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Table is keyed state of numbers by word, as plain as it can be: rows in the order in which they came.
type Table struct {
	rows  []row
	place map[string]int     // of a word in rows
	gone  map[string]id.Time // words that were removed, and when
}

type row struct {
	word string
	n    int
	at   id.Time // of the last change
}

var _ dataset.State = (*Table)(nil)

// NewTable makes a table without rows.
func NewTable() *Table { return &Table{place: map[string]int{}, gone: map[string]id.Time{}} }

// Change is one row of Changes: a new number, or the end of the row.
type Change struct {
	Word   string
	N      int
	Remove bool
}

// Changes is what a batch changes of a table.
type Changes []Change

// Len implements dataset.Delta.
func (c Changes) Len() int { return len(c) }

// Len implements dataset.State.
func (t *Table) Len() int { return len(t.rows) }

// Get gives the number of a word, 0 for none.
func (t *Table) Get(word string) int {
	if i, ok := t.place[word]; ok {
		return t.rows[i].n
	}
	return 0
}

// Words gives the rows as a map.
func (t *Table) Words() Words {
	w := make(Words, len(t.rows))
	for _, r := range t.rows {
		w[r.word] = r.n
	}
	return w
}

// Each yields the rows in order.
func (t *Table) Each(yield func(word string, n int)) {
	for i := range t.rows {
		yield(t.rows[i].word, t.rows[i].n)
	}
}

// Install implements dataset.State.
func (t *Table) Install(d dataset.Delta, at id.Time) { t.apply(d.(Changes), at) }

func (t *Table) apply(changes Changes, at id.Time) {
	for _, c := range changes {
		i, has := t.place[c.Word]
		switch {
		case c.Remove && has:
			t.rows = slices.Delete(t.rows, i, i+1)
			delete(t.place, c.Word)
			for k := i; k < len(t.rows); k++ {
				t.place[t.rows[k].word] = k
			}
			t.gone[c.Word] = at
		case c.Remove:
		case has:
			t.rows[i].n, t.rows[i].at = c.N, at
		default:
			t.place[c.Word] = len(t.rows)
			t.rows = append(t.rows, row{c.Word, c.N, at})
		}
	}
}

// Encode implements dataset.State. Removals come first: a row that was removed and came again is at the end.
func (t *Table) Encode(since id.Time, full bool, size int, yield func(chunk []byte, rows int64) bool) {
	var chunk []byte
	var rows int64
	put := func(c Change) bool {
		chunk = binary.AppendUvarint(chunk, uint64(len(c.Word)))
		chunk = append(chunk, c.Word...)
		chunk = binary.AppendVarint(chunk, int64(c.N))
		if c.Remove {
			chunk = append(chunk, 1)
		} else {
			chunk = append(chunk, 0)
		}
		rows++
		if len(chunk) < size {
			return true
		}
		whole := yield(chunk, rows)
		chunk, rows = nil, 0
		return whole
	}
	if !full {
		for _, w := range sorted(t.gone) {
			if t.gone[w] > since && !put(Change{Word: w, Remove: true}) {
				return
			}
		}
	}
	for _, r := range t.rows {
		if (full || r.at > since) && !put(Change{Word: r.word, N: r.n}) {
			return
		}
	}
	if rows > 0 {
		yield(chunk, rows)
	}
}

func sorted(m map[string]id.Time) []string {
	all := make([]string, 0, len(m))
	for w := range m {
		all = append(all, w)
	}
	slices.Sort(all)
	return all
}

// Decode implements dataset.State.
func (t *Table) Decode(chunk []byte, at id.Time) error {
	var changes Changes
	for len(chunk) > 0 {
		n, k := binary.Uvarint(chunk)
		if k <= 0 || uint64(len(chunk)-k) < n {
			return errors.New("damaged chunk of a table")
		}
		c := Change{Word: string(chunk[k : k+int(n)])}
		chunk = chunk[k+int(n):]
		v, k := binary.Varint(chunk)
		if k <= 0 || len(chunk) == k {
			return fmt.Errorf("damaged chunk of a table at word %q", c.Word)
		}
		c.N, c.Remove = int(v), chunk[k] == 1
		chunk = chunk[k+1:]
		changes = append(changes, c)
	}
	t.apply(changes, at)
	return nil
}

// Forget implements dataset.State.
func (t *Table) Forget(upTo id.Time) {
	for w, at := range t.gone {
		if at <= upTo {
			delete(t.gone, w)
		}
	}
}
