package rpc

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

func TestSubmitIsRecordedOnce(t *testing.T) {
	n := newAPI(t)
	first := n.submit(t)
	again, err := n.apps.Submit(t.Context(), wordcount("first"))
	if err != nil || again.GetId() != first || again.GetRaftIndex() != first {
		t.Errorf("repeated request id: %v, %v, expected application %d", again, err, first)
	}
	app, ok := n.ledger.View().App(id.App(first))
	if !ok {
		t.Fatal("no application")
	}
	if app.Name != "wc" || app.Program != "wordcount" || string(app.Params) != `{"source":"ingest"}` || app.BatchMS != 1000 ||
		app.BlockMS != 200 || app.Factor != 2 || app.Partitions != 1 || app.Build != "build-1" || app.Fingerprint == "" ||
		len(app.Inputs) != 1 || !app.Inputs[0].Pushed {
		t.Errorf("recorded as %+v", app)
	}
	_, err = n.apps.Submit(t.Context(), wordcount("second"))
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_TAKEN || p.GetAppId() != first {
		t.Errorf("second application of the name: %v", err)
	}
}

func TestBadSubmissionsAreExplained(t *testing.T) {
	n := newAPI(t)
	for name, test := range map[string]struct {
		change func(*raftstreamv1.SubmitRequest)
		code   codes.Code
		thing  string
	}{
		"no request id":       {func(r *raftstreamv1.SubmitRequest) { r.RequestId = "" }, codes.InvalidArgument, "request id"},
		"unknown program":     {func(r *raftstreamv1.SubmitRequest) { r.Program = "wordcont" }, codes.NotFound, "program"},
		"short interval":      {func(r *raftstreamv1.SubmitRequest) { r.BatchMs = 9 }, codes.InvalidArgument, "batch interval"},
		"short block":         {func(r *raftstreamv1.SubmitRequest) { r.BlockMs = 9 }, codes.InvalidArgument, "block interval"},
		"negative partitions": {func(r *raftstreamv1.SubmitRequest) { r.Partitions = -1 }, codes.InvalidArgument, "partitions"},
		"replication":         {func(r *raftstreamv1.SubmitRequest) { r.Replication = 99 }, codes.InvalidArgument, "replication"},
		"control character":   {func(r *raftstreamv1.SubmitRequest) { r.Name = "a\nb" }, codes.InvalidArgument, "name"},
		"checkpoint URL":      {func(r *raftstreamv1.SubmitRequest) { r.CheckpointUrl = "odd://b" }, codes.InvalidArgument, "checkpoint URL"},
		"JSON":                {func(r *raftstreamv1.SubmitRequest) { r.ParamsJson = "[]" }, codes.InvalidArgument, "params_json"},
		"unknown parameter":   {func(r *raftstreamv1.SubmitRequest) { r.Params["odd"] = "1" }, codes.InvalidArgument, "parameters of program wordcount"},
		"missing parameter":   {func(r *raftstreamv1.SubmitRequest) { r.Params = nil }, codes.InvalidArgument, "parameters of program wordcount"},
		"panic of user code": {
			func(r *raftstreamv1.SubmitRequest) { r.Params["source"] = "panic" }, codes.InvalidArgument, "parameters of program wordcount",
		},
	} {
		r := wordcount("id")
		test.change(r)
		_, err := n.apps.Submit(t.Context(), r)
		if p := kind(t, err); status.Code(err) != test.code || p.GetThing() != test.thing || p.GetExpected() == "" {
			t.Errorf("%s: %v, problem with %q", name, err, p.GetThing())
		}
	}
	if n.ledger.calls != 0 {
		t.Error("a bad submission was proposed")
	}
}

func TestCheckpointURLIsRecordedAndShown(t *testing.T) {
	n := newAPI(t)
	r := wordcount("id")
	r.CheckpointUrl = "file:///shared"
	if _, err := n.apps.Submit(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	list, err := n.apps.ListApps(t.Context(), &raftstreamv1.ListAppsRequest{})
	if err != nil || list.GetApps()[0].GetCheckpointUrl() != "file:///shared" {
		t.Errorf("%v, %v", list, err)
	}
	n.api.CheckBucket = nil
	if _, err := n.apps.Submit(t.Context(), r); status.Code(err) != codes.InvalidArgument {
		t.Errorf("on a node that knows no buckets: %v", err)
	}
}

func TestStopAndResumeNameTheApplication(t *testing.T) {
	n := newAPI(t)
	app := n.submit(t)
	_, err := n.apps.Stop(t.Context(), &raftstreamv1.StopRequest{Name: "other"})
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_NOT_FOUND {
		t.Errorf("unknown name: %v", err)
	}
	_, err = n.apps.Stop(t.Context(), &raftstreamv1.StopRequest{Name: "other", Id: app})
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_INVALID {
		t.Errorf("name of another id: %v", err)
	}
	_, err = n.apps.Resume(t.Context(), &raftstreamv1.ResumeRequest{Name: "wc"})
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_REFUSED {
		t.Errorf("resume of a running application: %v", err)
	}
	r, err := n.apps.Stop(t.Context(), &raftstreamv1.StopRequest{Name: "wc", Now: true})
	if err != nil || r.GetId() != app || r.GetRaftIndex() == 0 || r.GetMessage() == "" {
		t.Errorf("stop: %v, %v", r, err)
	}
	again, err := n.apps.Stop(t.Context(), &raftstreamv1.StopRequest{Name: "wc", Now: true})
	if err != nil || again.GetRaftIndex() != r.GetRaftIndex() {
		t.Errorf("stop again: %v, %v, expected index %d", again, err, r.GetRaftIndex())
	}
}

func TestOutcomeUnknownIsProposedAgain(t *testing.T) {
	n := newAPI(t)
	n.ledger.set(func() { n.ledger.fail, n.ledger.applied = []error{errors.New("lost"), errors.New("lost")}, true })
	first := n.submit(t)
	apps := slices.Collect(n.ledger.View().Apps())
	if len(apps) != 1 || uint64(apps[0].ID) != first {
		t.Errorf("%d applications, expected one", len(apps))
	}
	// Leadership is lost after a proposal with unknown outcome: the client must repeat the call.
	n.ledger.set(func() { n.ledger.fail, n.ledger.applied = []error{errors.New("lost"), id.ErrNotLeader}, true })
	_, err := n.apps.Stop(t.Context(), &raftstreamv1.StopRequest{Name: "wc"})
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_UNKNOWN_OUTCOME || status.Code(err) != codes.Unavailable {
		t.Errorf("%v, expected an unknown outcome", err)
	}
	n.ledger.set(func() { n.ledger.fail = []error{id.ErrOverloaded} })
	_, err = n.apps.Stop(t.Context(), &raftstreamv1.StopRequest{Name: "wc"})
	if p := kind(t, err); status.Code(err) != codes.ResourceExhausted || p.GetRetryMs() == 0 {
		t.Errorf("%v, expected RESOURCE_EXHAUSTED with a time to come again", err)
	}
}

func TestOldTermIsNoVerdict(t *testing.T) { // rule 1
	n := newAPI(t)
	n.submit(t)
	n.leader = "127.0.0.1:9"
	n.ledger.must(&fsm.Epoch{Term: 1, Leader: "id-1", NowMS: 2})
	n.ledger.set(func() { n.ledger.term = 7 }) // of a leadership that was never announced
	_, err := n.apps.Stop(t.Context(), &raftstreamv1.StopRequest{Name: "wc"})
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_NOT_LEADER {
		t.Errorf("%v, expected a redirection", err)
	}
}

func TestFollowerRedirects(t *testing.T) {
	n := newAPI(t)
	n.submit(t)
	n.ledger.set(func() { n.ledger.follows = true })
	n.leader = "127.0.0.1:9"
	for name, err := range map[string]error{
		"submit":   second(n.apps.Submit(t.Context(), wordcount("x"))),
		"stop":     second(n.apps.Stop(t.Context(), &raftstreamv1.StopRequest{Name: "wc"})),
		"resume":   second(n.apps.Resume(t.Context(), &raftstreamv1.ResumeRequest{Name: "wc"})),
		"get":      second(n.apps.GetApp(t.Context(), &raftstreamv1.GetAppRequest{Name: "wc"})),
		"list":     second(n.apps.ListApps(t.Context(), &raftstreamv1.ListAppsRequest{})),
		"batches":  second(n.apps.ListBatches(t.Context(), &raftstreamv1.ListBatchesRequest{Name: "wc"})),
		"receiver": second(n.apps.ListReceivers(t.Context(), &raftstreamv1.ListReceiversRequest{})),
		"members":  second(n.nodes.ListMembers(t.Context(), &raftstreamv1.ListMembersRequest{})),
	} {
		if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_NOT_LEADER || p.GetAddr() != n.leader {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.apps.GetApp(t.Context(), &raftstreamv1.GetAppRequest{Name: "wc", Stale: true}); err != nil {
		t.Errorf("stale read: %v", err)
	}
	if _, err := n.nodes.ListMembers(t.Context(), &raftstreamv1.ListMembersRequest{Stale: true}); err != nil {
		t.Errorf("stale read: %v", err)
	}
	n.leader = n.addr // raft knows already, the driver is not established yet
	_, err := n.apps.GetApp(t.Context(), &raftstreamv1.GetAppRequest{Name: "wc"})
	if p := kind(t, err); p.GetAddr() != "" {
		t.Errorf("%v: redirects to itself", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestReadsShowTheLedger(t *testing.T) {
	n := newAPI(t)
	n.ledger.must(&fsm.SessionOpened{Store: "s1", Generation: 1, Name: "n1", Addr: n.addr, Slots: 3, NowMS: 5})
	app := n.submit(t)
	got, err := n.apps.GetApp(t.Context(), &raftstreamv1.GetAppRequest{Id: app})
	if err != nil {
		t.Fatal(err)
	}
	a := got.GetApp()
	if a.GetState() != raftstreamv1.AppState_APP_STATE_RUNNING || a.GetProgram() != "wordcount" || a.GetPartitions() != 1 || got.GetRaftIndex() < app {
		t.Errorf("shown as %v at index %d", a, got.GetRaftIndex())
	}
	office := n.ledger.must(&fsm.CoordinatorAssigned{App: id.App(app), Session: session(n.ledger), NowMS: 6})
	_ = office
	for i := int64(1); i <= 5; i++ {
		at := id.Time(a.GetZeroTimeMs() + i*1000)
		n.ledger.must(&fsm.BlocksAllocated{App: id.App(app), From: at, To: at, NowMS: int64(at)})
	}
	b, err := n.apps.ListBatches(t.Context(), &raftstreamv1.ListBatchesRequest{Name: "wc", Last: 5})
	if err != nil || len(b.GetBatches()) != 5 {
		t.Fatalf("%v, %v", b, err)
	}
	for i, batch := range b.GetBatches() {
		want := raftstreamv1.BatchState_BATCH_STATE_ALLOCATED
		if i == 0 {
			want = raftstreamv1.BatchState_BATCH_STATE_RUNNING
		}
		if batch.GetTimeMs() != a.GetZeroTimeMs()+int64(i+1)*1000 || batch.GetState() != want {
			t.Errorf("batch %d: %v", i, batch)
		}
	}
	if b, err := n.apps.ListBatches(t.Context(), &raftstreamv1.ListBatchesRequest{Name: "wc", Last: 2}); err != nil ||
		len(b.GetBatches()) != 2 || b.GetBatches()[1].GetTimeMs() != a.GetZeroTimeMs()+5000 {
		t.Errorf("last two: %v, %v", b, err)
	}
	list, err := n.apps.ListApps(t.Context(), &raftstreamv1.ListAppsRequest{})
	if err != nil || len(list.GetApps()) != 1 || list.GetApps()[0].GetCoordinator() != "n1" || list.GetApps()[0].GetPendingBatches() != 5 {
		t.Errorf("%v, %v", list, err)
	}
	v, err := n.nodes.GetVersion(t.Context(), &raftstreamv1.GetVersionRequest{})
	if err != nil || v.GetVersion() != "v1" || v.GetCluster() != "c" || len(v.GetPrograms()) != 2 {
		t.Errorf("%v, %v", v, err)
	}
	l, err := n.nodes.GetLedger(t.Context(), &raftstreamv1.GetLedgerRequest{})
	if err != nil || len(l.GetStateHash()) != 64 || l.GetAppliedIndex() != n.ledger.index {
		t.Errorf("%v, %v", l, err)
	}
	m, err := n.nodes.ListMembers(t.Context(), &raftstreamv1.ListMembersRequest{})
	if err != nil || len(m.GetMembers()) != 1 || m.GetMembers()[0].GetHttpAddr() == "" {
		t.Errorf("%v, %v", m, err)
	}
}

func session(l *fakeLedger) id.Session {
	for s := range l.View().Sessions() {
		return s.ID
	}
	return 0
}
