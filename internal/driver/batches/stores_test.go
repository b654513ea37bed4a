package batches

import (
	"slices"
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

// Rules 5 and 8: a batch that waits for a block hears of the copy that another store's inventory brings.
func TestPendingBatchIsOrderedAgainWhenItsStoresChange(t *testing.T) {
	start(t, nil, func(s *stage) {
		block := s.add()
		s.Until("the batch is ordered", func() bool { return s.ordered(1) != nil })
		attempt := s.ordered(1).Authority.Attempt
		count := func() (n int) {
			for _, at := range s.orders() {
				if at == s.zero(1) {
					n++
				}
			}
			return n
		}
		time.Sleep(5 * time.Second)
		if n := count(); n != 1 {
			t.Errorf("the batch was ordered %d times while nothing changed", n)
		}
		holder := drivertest.NewExecutor(s.Rig, s.Hub, "b").Connect()
		holder.Must(&job.Inventory{Blocks: []id.Block{block}, First: true, Last: true})
		told := time.Now()
		s.Until("the order names the copy", func() bool { return count() == 2 })
		if late := time.Since(told); late > time.Second {
			t.Errorf("the copy was told of after %v", late)
		}
		again := s.ordered(1)
		if stores := again.Inputs[0].Blocks[0].Stores; !slices.Contains(stores, holder.Hello.Store) {
			t.Errorf("stores are %v, expected %s among them", stores, holder.Hello.Store)
		}
		if again.Authority.Attempt != attempt {
			t.Errorf("attempt %d, expected %d as before: no work is done again", again.Authority.Attempt, attempt)
		}
	})
}
