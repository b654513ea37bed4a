package fsm

import (
	"bytes"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
)

// Rule 7: the pieces of an application with a bucket are on no store, also after a restart from a snapshot.
func TestPiecesOfAnApplicationWithABucketNameNoStores(t *testing.T) {
	l := startLedger(t)
	r := &running{ledger: l, a: l.session("A"), b: l.session("B")}
	c := submission("wc")
	c.CheckpointURL = "s3://states/one"
	c.States = []StateStream{{Stream: stateStream, SlideMS: 1000, Partitions: 2}}
	r.app = id.App(l.done(c))
	r.instance = r.receiver(r.a, 0)
	r.coordinator(r.a)
	r.batches(1)

	bad := r.checkpoint(r.piece(1))
	r.refused(bad, "checkpoint of batch 11000 of application 4 (wc): piece "+r.piece(1).ID.String()+
		": copies on 2 stores, expected none: the application's pieces are in a bucket")
	p := r.piece(1)
	p.Stores = nil
	r.done(r.checkpoint(p))

	restored := New()
	if err := restored.Restore(bytes.NewReader(snapshot(t, r.m.View()))); err != nil {
		t.Fatal(err)
	}
	a, _ := restored.View().App(r.app)
	if a == nil || a.CheckpointURL != c.CheckpointURL {
		t.Fatalf("restored application %+v", a)
	}
	for p := range restored.View().Pieces(r.app) {
		if len(p.Stores) > 0 {
			t.Errorf("piece %v is on stores %v", p.ID, p.Stores)
		}
	}
}
