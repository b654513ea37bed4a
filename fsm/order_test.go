package fsm

import "testing"

// Invariant 11: the blocks of one report are taken one after the other, as they were reported. Any other order would
// refuse some of them, and others on every node.
func TestBlocksOfOneReportAreTakenInTheirOrder(t *testing.T) {
	r := startRunning(t)
	report := &BlocksAdded{Session: r.a}
	for n := range uint64(64) {
		report.Blocks = append(report.Blocks, r.block(n+1))
	}
	result := r.apply(report)
	if len(result.Blocks) != 64 {
		t.Fatalf("%d answers, expected 64", len(result.Blocks))
	}
	for i, b := range result.Blocks {
		if b.Outcome != Done {
			t.Errorf("block %d of the report: %+v, expected done", i+1, b)
		}
	}
	next := uint64(1)
	for b := range r.m.View().Queued(r.app, 0) {
		if b.ID.Number != next {
			t.Fatalf("block %d waits at the place of block %d", b.ID.Number, next)
		}
		next++
	}
}
