package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

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
