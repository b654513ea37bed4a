package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

// fakeLedger is the real state machine without Raft. Tests make its proposals fail.
type fakeLedger struct {
	t *testing.T

	mu      sync.Mutex
	machine *fsm.Machine
	index   uint64
	term    uint64
	follows bool    // this node does not lead
	fail    []error // of the next proposals
	applied bool    // whether failing proposals are applied all the same
	calls   int
	changed chan struct{} // closed and replaced at each entry
}

const ledgerStart = 100

func newLedger(t *testing.T) *fakeLedger {
	l := &fakeLedger{t: t, machine: fsm.New(), index: ledgerStart, term: 1, changed: make(chan struct{})}
	l.must(&fsm.Epoch{Term: 1, Leader: "id-1", Name: "n1", Addr: "addr-1", NowMS: 1})
	return l
}

func (l *fakeLedger) apply(c fsm.Command) fsm.Result {
	data, err := fsm.Encode(l.term, c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.index++
	r, err := l.machine.Apply(l.index, data)
	if err != nil {
		l.t.Fatal(err)
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return r[0]
}

func (l *fakeLedger) Changed(after uint64) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.index > after {
		now := make(chan struct{})
		close(now)
		return now
	}
	return l.changed
}

// must applies what the test needs to be true.
func (l *fakeLedger) must(c fsm.Command) fsm.Result {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.apply(c)
	if r.Outcome != fsm.Done {
		l.t.Fatalf("%T: %s", c, r.Reason)
	}
	return r
}

func (l *fakeLedger) View() fsm.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machine.View()
}

func (l *fakeLedger) Linearizable(context.Context) (fsm.View, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.follows {
		return fsm.View{}, id.ErrNotLeader
	}
	return l.machine.View(), nil
}

func (l *fakeLedger) Propose(_ context.Context, c fsm.Command) (fsm.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if len(l.fail) > 0 {
		err := l.fail[0]
		l.fail = l.fail[1:]
		if l.applied {
			l.apply(c)
		}
		return fsm.Result{}, err
	}
	if l.follows {
		return fsm.Result{}, id.ErrNotLeader
	}
	return l.apply(c), nil
}

func (l *fakeLedger) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// fakePrograms registers word count.
type fakePrograms struct{}

func (fakePrograms) Names() []string { return []string{"grep", "wordcount"} }

func (fakePrograms) Params(_ string, values map[string]string) ([]byte, error) {
	if _, ok := values["odd"]; ok {
		return nil, errors.New(`parameters that wordcount has, not "odd"`)
	}
	return json.Marshal(values)
}

func (fakePrograms) Build(s dataset.Spec) (dataset.App, error) {
	var p struct{ Source, Out string }
	if err := json.Unmarshal(s.Params, &p); err != nil {
		return nil, err
	}
	switch p.Source {
	case "":
		return nil, errors.New("parameter source to be given")
	case "panic":
		panic("user code")
	case "files":
		return fakeApp{plan: &plan.Plan{
			BatchMS: s.BatchMS, RememberMS: s.BatchMS, CheckpointMS: s.BatchMS, Inputs: []plan.Input{{Source: p.Source}},
			States: []plan.State{{Stream: 2, SlideMS: s.BatchMS, Partitions: 1}},
		}}, nil
	case "slow":
		return fakeApp{plan: &plan.Plan{BatchMS: s.BatchMS, RememberMS: s.BatchMS, Inputs: []plan.Input{
			{Source: p.Source, Receiver: true, MaxRate: 50},
		}}}, nil
	}
	return fakeApp{plan: &plan.Plan{BatchMS: s.BatchMS, RememberMS: s.BatchMS, Inputs: []plan.Input{
		{Stream: 0, Source: p.Source, Receiver: true, Pushed: p.Source == "ingest"},
	}}}, nil
}

type fakeApp struct {
	dataset.App
	plan *plan.Plan
}

func (a fakeApp) Plan() *plan.Plan { return a.plan }

// fakePusher is a receiver: it keeps producers' positions and answers at once.
type fakePusher struct {
	mu    sync.Mutex
	here  bool
	last  map[string]uint64
	hold  bool // answers are kept in held
	held  []func()
	err   error // answers of pushes with records
	lines []string
}

func (p *fakePusher) Push(_ context.Context, app id.App, stream id.Stream, push connector.Push) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.here {
		return fmt.Errorf("stream %d of %d: %w", stream, app, job.ErrNoReceiver)
	}
	if len(push.Records) > 0 && p.err != nil {
		push.Reply(0, 0, p.err)
		return nil
	}
	last := p.last[push.Producer]
	for i, r := range push.Records {
		if seq := push.First + uint64(i); seq == last+1 {
			last = seq
			p.lines = append(p.lines, string(r))
		}
	}
	p.last[push.Producer] = last
	answer := func() { push.Reply(last, 1000+last, nil) }
	if p.hold && len(push.Records) > 0 {
		p.held = append(p.held, answer)
	} else {
		answer()
	}
	return nil
}

// apiNode is a node that serves the API.
type apiNode struct {
	api    *API
	ledger *fakeLedger
	pusher *fakePusher
	leader string
	apps   raftstreamv1.ApplicationsClient
	nodes  raftstreamv1.ClusterClient
	addr   string

	server  *Server
	members []Member // nil: one, with all fields set
	servers fakeServers
}

func newAPI(t *testing.T) *apiNode {
	t.Helper()
	n := &apiNode{ledger: newLedger(t), pusher: &fakePusher{here: true, last: map[string]uint64{}}}
	p, err := Listen(PortConfig{Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	n.addr = p.Addr()
	n.api = &API{
		Name: "n1", Addr: p.Addr(), Version: "v1", Build: "build-1", Ledger: n.ledger, Leader: func() string { return n.leader },
		Programs: fakePrograms{}, Pushes: n.pusher, Cluster: func() string { return "c" },
		CheckBucket: func(url string) error {
			if !strings.HasPrefix(url, "file:") {
				return fmt.Errorf("bucket URL: %s, expected file:", url)
			}
			return nil
		},
		Servers: &n.servers,
		Members: func() Membership {
			if n.members != nil {
				return Membership{Term: 1, Leader: "n1", Members: n.members}
			}
			return Membership{Term: 1, Leader: "n1", Members: []Member{filled[Member](t)}}
		},
	}
	n.server = NewServer(ServerConfig{API: n.api})
	serve(t, n.server, p.GRPC())
	cc, err := connect(p.Addr(), Security{}, dialTCP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	n.apps, n.nodes = raftstreamv1.NewApplicationsClient(cc), raftstreamv1.NewClusterClient(cc)
	return n
}

func wordcount(request string) *raftstreamv1.SubmitRequest {
	return &raftstreamv1.SubmitRequest{
		RequestId: request, Program: "wordcount", Name: "wc", Params: map[string]string{"source": "ingest"}, Partitions: 1,
	}
}

func (n *apiNode) submit(t *testing.T) uint64 {
	t.Helper()
	r, err := n.apps.Submit(t.Context(), wordcount("first"))
	if err != nil {
		t.Fatal(err)
	}
	return r.GetId()
}

// kind gives the problem of a failed call.
func kind(t *testing.T, err error) *raftstreamv1.Problem {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if p, ok := d.(*raftstreamv1.Problem); ok {
			return p
		}
	}
	t.Errorf("%v has no problem", err)
	return &raftstreamv1.Problem{}
}

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
