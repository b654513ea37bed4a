package lineage_test

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// A state that is a part of a received string does not keep the block that it came in for as long as the key lasts.
func TestStatesThatAreTextReferToNoBlock(t *testing.T) {
	for _, blocks := range []int{1, 2} { // without and with a shuffle
		m := mapped(t, 1, 0, func(_ id.Time, _ string, value *string, c *lineage.Cell[string]) (string, bool) {
			c.Update((*value)[1:])
			return "", false
		})
		for range 2 { // a new key, then one that is there
			in := make([][]pair[string, string], blocks)
			in[0] = []pair[string, string]{{"key", "the state" + strings.Repeat(" of a key", 10)}}
			_, snapshot := m.batch(t, in)
			state := unsafe.Pointer(unsafe.StringData(snapshot[0][0].V)) // batch collects strings as they are
			for p := range blocks {
				b := m.e.Blocks[lineagetest.Input{Stream: pairs, Time: m.at, Part: p}]
				if first := unsafe.Pointer(unsafe.SliceData(b)); uintptr(state) >= uintptr(first) && uintptr(state) < uintptr(first)+uintptr(len(b)) {
					t.Errorf("%d blocks, at %d: the state is a part of block %d", blocks, m.at, p)
				}
			}
		}
	}
}
