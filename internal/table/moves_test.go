package table_test

import (
	"fmt"
	"hash/maphash"
	"testing"

	"github.com/raftstream/raftstream/internal/table"
)

var seed = maphash.MakeSeed()

func TestMovesSayWhereCompactPutsRows(t *testing.T) {
	hashOf := func(key *string) uint64 { return maphash.String(seed, *key) }
	tab := table.NewState[string, int](nil, hashOf)
	for i := range 200 {
		key := fmt.Sprint(i)
		tab.Put(hashOf(&key), key, i, 1)
	}
	for row := range 200 {
		moves := tab.Moves()
		if moves != nil {
			break
		}
		if tab.Compact() {
			t.Fatal("rows were moved, and nothing said so")
		}
		if row%3 > 0 {
			tab.Remove(row, 2)
		}
	}
	moves := tab.Moves()
	if moves == nil || !tab.Compact() || tab.Moves() != nil {
		t.Fatal("no rows were moved")
	}
	live := 0
	for old, to := range moves {
		if to < 0 {
			continue
		}
		if live++; *tab.Value(int(to)) != old {
			t.Errorf("row %d is that of %d, expected %d", to, *tab.Value(int(to)), old)
		}
	}
	if live != tab.Len() {
		t.Errorf("%d rows were moved of %d", live, tab.Len())
	}
}
