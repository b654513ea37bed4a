package rpc

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// run makes n a cluster of two executors with an application that has keyed state over a direct source; its first two
// batches are completed, the second one is checkpointed and the first one cleaned.
func (n *apiNode) run(t *testing.T) *fsm.App {
	t.Helper()
	first := id.Session(n.ledger.must(&fsm.SessionOpened{Store: "s1", Generation: 1, Name: "n1", Addr: "a1", Slots: 1, NowMS: 5}).Index)
	n.ledger.must(&fsm.SessionOpened{Store: "s2", Generation: 1, Name: "n2", Addr: "a2", Slots: 1, NowMS: 5})
	r := wordcount("first")
	r.Params["source"] = "files"
	reply, err := n.apps.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	app, _ := n.ledger.View().App(id.App(reply.GetId()))
	office := id.Office(n.ledger.must(&fsm.CoordinatorAssigned{App: app.ID, Session: first, NowMS: 6}).Index)
	for i := range int64(2) {
		at := app.Interval(app.ZeroTime, i+1)
		n.ledger.must(&fsm.BlocksAllocated{App: app.ID, From: at, To: at, NowMS: int64(at), Direct: []fsm.StreamPlan{{Plan: connector.Plan{
			Parts: []connector.Part{{Data: []byte("f"), Records: 5, Bytes: 5, Ranges: []connector.Range{
				{Partition: "f" + string(rune('0'+i)), First: 1, Last: 5},
			}}},
			Mark: "up to file " + string(rune('0'+i)), Warning: "file 9 is too large",
		}}}})
		n.ledger.must(&fsm.BatchCompleted{
			App: app.ID, Time: at, Office: office, Attempt: n.ledger.View().Attempt(app.ID, at), StartedMS: 1, EndedMS: 2, Tries: 1, NowMS: 7,
		})
	}
	at := app.Interval(app.ZeroTime, 2)
	batch, _ := n.ledger.View().Batch(app.ID, at)
	n.ledger.must(&fsm.StateCheckpointed{
		App: app.ID, Office: office, Time: at, Attempt: batch.Attempt, Full: true, NowMS: 8,
		Pieces: []fsm.CheckpointPiece{{
			ID:     id.Block{App: app.ID, Stream: 2, Instance: id.Instance(office), Number: 1 << 16},
			Stream: 2, Rows: 3, Bytes: 30, CRC: 1, Stores: []id.Store{"s1", "s2"},
		}},
	})
	n.ledger.must(&fsm.BatchesCleaned{App: app.ID, UpTo: app.Interval(app.ZeroTime, 1)})
	return app
}

func TestDirectStreamsShowWhoPlansThemAndWhatMayBeRemoved(t *testing.T) { // rule 12
	n := newAPI(t)
	app := n.run(t)
	want := &raftstreamv1.Receiver{
		App: "wc", AppId: uint64(app.ID), Source: "files", State: raftstreamv1.ReceiverState_RECEIVER_STATE_ACTIVE,
		Kind: raftstreamv1.ReceiverKind_RECEIVER_KIND_DIRECT, Node: "n1", Addr: "a1", Mark: "up to file 0", Positions: 2,
		Warning: "file 9 is too large",
	}
	show := func() *raftstreamv1.Receiver {
		t.Helper()
		r, err := n.apps.ListReceivers(t.Context(), &raftstreamv1.ListReceiversRequest{Name: "wc"})
		if err != nil || len(r.GetReceivers()) != 1 {
			t.Fatalf("%v, %v, expected one stream", r, err)
		}
		return r.GetReceivers()[0]
	}
	if diff := cmp.Diff(want, show(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	at := app.Interval(app.ZeroTime, 3)
	n.ledger.must(&fsm.BlocksAllocated{App: app.ID, From: at, To: at, NowMS: int64(at), Unplanned: "directory /d: it is not there"})
	got := show()
	if got.GetErrors() != 1 || got.GetErrorMs() != int64(at) || got.GetLastError() == "" {
		t.Errorf("%v, expected that the batch was not planned", got)
	}
	n.ledger.must(&fsm.ApplicationStopped{App: app.ID, Now: true, NowMS: 20})
	if got := show(); got.GetState() != raftstreamv1.ReceiverState_RECEIVER_STATE_INACTIVE {
		t.Errorf("%v, expected an inactive stream of a stopping application", got)
	}
}

func TestReceiversShowTheirRateAndHowManyProducersTheyKnow(t *testing.T) {
	n := newAPI(t)
	r := wordcount("first")
	r.Params["source"] = "slow"
	if _, err := n.apps.Submit(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	list, err := n.apps.ListReceivers(t.Context(), &raftstreamv1.ListReceiversRequest{})
	if err != nil || len(list.GetReceivers()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	got := list.GetReceivers()[0]
	if got.GetKind() != raftstreamv1.ReceiverKind_RECEIVER_KIND_RECEIVER || got.GetRate() != 50 || got.GetPositions() != 0 ||
		got.GetState() != raftstreamv1.ReceiverState_RECEIVER_STATE_INACTIVE {
		t.Errorf("%v, expected an inactive receiver of 50 records a second", got)
	}
	n.api.Rate = func(*fsm.App, id.Stream) int64 { return 20 } // rate control found out
	if list, err := n.apps.ListReceivers(t.Context(), &raftstreamv1.ListReceiversRequest{}); err != nil || list.GetReceivers()[0].GetRate() != 20 {
		t.Errorf("%v, %v, expected 20 records a second", list, err)
	}
}

func TestApplicationShowsItsCheckpointAndWhatHasTooFewCopies(t *testing.T) { // rules 5 and 7
	n := newAPI(t)
	app := n.run(t)
	show := func() *raftstreamv1.App {
		t.Helper()
		r, err := n.apps.GetApp(t.Context(), &raftstreamv1.GetAppRequest{Name: "wc"})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetApp()
	}
	if a := show(); a.GetCheckpointTimeMs() != int64(app.Interval(app.ZeroTime, 2)) || a.GetCheckpointBytes() != 30 || a.GetUnderReplicated() != 0 {
		t.Errorf("%v, expected the checkpoint of the second batch with all its copies", a)
	}
	var second id.Session
	for s := range n.ledger.View().Sessions() {
		if s.Store == "s2" {
			second = s.ID
		}
	}
	n.ledger.must(&fsm.SessionClosed{Session: second, NowMS: 9})
	if got := show().GetUnderReplicated(); got != 0 {
		t.Errorf("%d have too few copies, expected none: there is no other executor to have one", got)
	}
	n.ledger.must(&fsm.SessionOpened{Store: "s3", Generation: 1, Name: "n3", Addr: "a3", Slots: 1, NowMS: 10})
	if got := show().GetUnderReplicated(); got != 1 {
		t.Errorf("%d have too few copies, expected the piece of the checkpoint", got)
	}
}
