package streamtest

import (
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
)

// cleanedAfter runs a graph over batches of numbers and gives, after each, the last batch whose input is not kept.
func cleanedAfter(t *testing.T, batches int, op func(*dstream.DStream[int]) *dstream.DStream[int]) (cleaned []int) {
	t.Helper()
	input := make([][]int, batches)
	for i := range input {
		input[i] = []int{i}
	}
	c := configOf(batches, nil)
	in, err := feedOf(c, input)
	if err != nil {
		t.Fatal(err)
	}
	programs := dstream.NewRegistry()
	var got results[int]
	dstream.RegisterIn(programs, program, func(ctx *dstream.Context, _ struct{}) error {
		dstream.ForeachPartition(op(in.stream(ctx)), got.take)
		return nil
	})
	cl, err := start(c, []feed{in}, programs)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= batches; n++ {
		if _, err := cl.batch(n); err != nil {
			t.Fatal(err)
		}
		v := cl.ledger.view()
		a, _ := v.App(cl.app)
		upTo := c.batch(a.Cleaned)
		for b := 1; b <= n; b++ { // what the ledger says it has cleaned is gone, and nothing else
			if has := len(v.Input(cl.app, c.at(b), 0)) > 0; has != (b > upTo) {
				t.Errorf("after batch %d, which cleans up to %d: batch %d has input: %v", n, upTo, b, has)
			}
		}
		cleaned = append(cleaned, upTo)
	}
	if err := cl.stop(); err != nil {
		t.Error(err)
	}
	return cleaned
}

// Rule 8 of the invariants: input is kept for its remember duration after its batch, and no longer: without a window, one
// interval; below a window, as long as the last window that has it; below state, also until a checkpoint has it.
func TestInputIsKeptForAsLongAsSomethingMayReadIt(t *testing.T) {
	second := time.Second
	passing := func(s *dstream.DStream[int]) *dstream.DStream[int] { return s.Filter(func(int) bool { return true }) }
	for name, c := range map[string]struct {
		op   func(*dstream.DStream[int]) *dstream.DStream[int]
		want []int // after each batch
		may  []int // after each batch, where the checkpoint of that very batch was committed by then; nil: as want
	}{
		"no window": {passing, []int{0, 1, 2, 3, 4, 5, 6, 7}, nil},
		"a window":  {func(s *dstream.DStream[int]) *dstream.DStream[int] { return passing(s).Window(3*second, second) }, []int{0, 0, 0, 1, 2, 3, 4, 5}, nil},
		"two windows in a chain": {func(s *dstream.DStream[int]) *dstream.DStream[int] {
			return passing(s).Window(2*second, 2*second).Window(4*second, 2*second)
		}, []int{0, 0, 0, 0, 1, 2, 3, 4}, nil},
		"a window that keeps its records": {func(s *dstream.DStream[int]) *dstream.DStream[int] {
			return s.Repartition(2).Window(3*second, second).Checkpoint(3 * second)
		}, []int{0, 0, 0, 3, 3, 3, 6, 6}, []int{0, 0, 2, 3, 3, 5, 6, 6}},
	} {
		may := c.may
		if may == nil {
			may = c.want
		}
		got := cleanedAfter(t, 8, c.op)
		for i := range c.want {
			if got[i] != c.want[i] && got[i] != may[i] {
				t.Errorf("%s: cleaned up to %v, want %v, or %v where checkpoints are quick", name, got, c.want, may)
				break
			}
		}
	}
}
