package coordinator

import (
	"testing"

	"github.com/raftstream/raftstream/internal/plan"
)

// The ledger allows so many batches after a checkpoint, and no more: a longer interval would end in a standstill.
func TestCheckpointsComeBeforeTheLedgersLimit(t *testing.T) { // rule 10
	for _, tt := range []struct{ asked, want int64 }{{10_000, 10_000}, {2_500_000, 2_500_000}, {86_400_000, 2_500_000}, {0, 0}} {
		if got := checkpointMS(&plan.Plan{BatchMS: 1000, CheckpointMS: tt.asked}); got != tt.want {
			t.Errorf("asked for every %d ms: every %d, expected %d", tt.asked, got, tt.want)
		}
	}
}
