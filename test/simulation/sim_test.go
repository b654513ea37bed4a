package simulation_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/local"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/raftnode"
	"github.com/raftstream/raftstream/internal/vfs"
)

// bucketURL is the directory of the disk that all share where checkpoints are.
const bucketURL = "file:///shared/states"

// patience bounds, in virtual time, what must come about once everything is healed.
const patience = 2 * time.Minute

// sim is one run: a cluster, its applications and what is done to them, in a bubble of synctest.
type sim struct {
	*testing.T
	drawn   *drawn
	net     *network
	streams *streams
	local   *local.Network
	bucket  *vfs.Mem
	ledger  *ledgerWatch
	work    sync.WaitGroup // messages on their way, faults, what is left of dead processes
	began   time.Time

	rngMu sync.Mutex
	rng   *rand.Rand // of what crashes leave

	mu       sync.Mutex
	nodes    []*node    // by place
	programs []*program // in order of their submissions
	wiped    int
	broken   map[*node]int // faults of its disk
	starting map[*node]bool
	wiping   chan struct{} // holds one: somebody replaces a node's disks
	counts   coverage
}

func newSim(t *testing.T, d *drawn) *sim {
	s := &sim{
		T: t, drawn: d, net: newNetwork(d.seed, d.base), local: local.NewNetwork(), bucket: vfs.NewMem(),
		rng: rand.New(rand.NewPCG(d.seed, 2)), began: time.Now(), broken: map[*node]int{}, starting: map[*node]bool{}, wiping: make(chan struct{}, 1), counts: coverage{},
	}
	s.streams = &streams{net: s.net, listen: map[string]*stream{}}
	s.ledger = newLedgerWatch(s)
	for i := range d.nodes {
		s.nodes = append(s.nodes, newNode(placeName(i), s.identity(placeName(i))))
	}
	return s
}

// identity makes an id of disks.
func (s *sim) identity(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wiped++
	return fmt.Sprintf("%s-%013d", name, s.wiped) // 16 bytes
}

// places gives the nodes.
func (s *sim) places() []*node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.nodes)
}

// apps gives the applications.
func (s *sim) apps() []*program {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.programs)
}

// place gives the node of a name.
func (s *sim) place(name string) *node {
	all := s.places()
	return all[slices.IndexFunc(all, func(n *node) bool { return n.name == name })]
}

// Errorf says what went wrong at once: what follows may end the whole process.
func (s *sim) Errorf(format string, args ...any) {
	s.Helper()
	fmt.Fprintf(os.Stderr, "seed %d: %s\n", s.drawn.seed, fmt.Sprintf(format, args...))
	s.T.Errorf(format, args...)
}

// Fatalf is Errorf, and the end.
func (s *sim) Fatalf(format string, args ...any) {
	s.Helper()
	s.Errorf(format, args...)
	s.FailNow()
}

func (s *sim) logger(name string) *slog.Logger {
	if *verbose {
		return slog.New(slog.NewTextHandler(s.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
	}
	return slog.New(watchful{s})
}

// watchful is a log that only looks for what a rare state says of itself.
type watchful struct{ s *sim }

func (w watchful) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (w watchful) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "cut a torn tail") {
		w.s.seen(tornTail)
	}
	return nil
}

func (w watchful) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w watchful) WithGroup(string) slog.Handler      { return w }

// shuffled gives all nodes' names, first one that is given.
func (s *sim) shuffled(first string) []string {
	names := []string{first}
	for _, n := range s.places() {
		if n.name != first {
			names = append(names, n.name)
		}
	}
	return names
}

// candidates are what gossip sees: whose process runs.
func (s *sim) candidates() (seen []raftnode.Candidate) {
	for _, n := range s.places() {
		if p := s.running(n.name); p != nil {
			seen = append(seen, raftnode.Candidate{
				ID: n.id, Name: n.name, Addr: n.addr(), Expect: s.drawn.nodes, HasState: p.raft.HasState(), Cluster: n.belongs(),
			})
		}
	}
	return seen
}

// leading gives a process that leads, nil for none.
func (s *sim) leading() *process {
	var best *process
	var epoch id.Epoch
	for _, n := range s.places() {
		if p := s.running(n.name); p != nil {
			if e, ok := p.driver.Leading(); ok && e > epoch {
				best, epoch = p, e
			}
		}
	}
	return best
}

// propose proposes to whoever leads until the outcome is known, as a client does.
func (s *sim) propose(c fsm.Command) fsm.Result {
	s.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); sleep(100 * time.Millisecond) {
		p := s.leading()
		if p == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), silence)
		r, err := p.driver.Propose(ctx, c)
		cancel()
		if err == nil && p.alive() {
			return r
		}
	}
	s.Fatalf("%T: no answer within %v", c, patience)
	return fsm.Result{}
}

// until waits for a condition.
func (s *sim) until(what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(patience); !ok(); sleep(100 * time.Millisecond) {
		if s.Failed() {
			s.FailNow()
		}
		if time.Now().After(end) {
			s.Fatalf("%s: not within %v\n%s", what, patience, s.describe())
		}
	}
}

// view gives the newest view of a process that leads, or of any.
func (s *sim) view() (v fsm.View) {
	if p := s.leading(); p != nil {
		return p.raft.View()
	}
	for _, n := range s.places() {
		if p := s.running(n.name); p != nil && p.raft.View().Index() >= v.Index() {
			v = p.raft.View()
		}
	}
	return v
}

func (s *sim) app(p *program) *fsm.App {
	if a, ok := s.view().App(p.id()); ok {
		return a
	}
	return &fsm.App{}
}

// describe says where everything stands.
func (s *sim) describe() string {
	var b strings.Builder
	for _, n := range s.places() {
		p := s.running(n.name)
		if p == nil {
			fmt.Fprintf(&b, "%s: no process\n", n.name)
			continue
		}
		st := p.executor.Status()
		fmt.Fprintf(&b, "%s: %+v, control %+v, coordinates %+v\n", n.name, p.raft.Stats(), st.Control, st.Batches)
	}
	for _, p := range s.apps() {
		fmt.Fprintf(&b, "%s: %+v\n", p.name, *s.app(p))
	}
	return b.String()
}

// run is the whole life of a simulation.
func (s *sim) run() {
	defer s.end()
	for _, n := range s.places() {
		s.start(n)
	}
	s.until("a leader", func() bool { return s.leading() != nil })
	for _, p := range s.drawn.programs {
		s.submit(p)
	}
	s.suffer()
	s.finish()
}

// suffer lets everything happen that is planned, and heals it.
func (s *sim) suffer() {
	began := time.Now()
	var faults, owners sync.WaitGroup
	for _, e := range s.drawn.plan.Events {
		sleep(time.Until(began.Add(time.Duration(e.AtMS) * time.Millisecond)))
		if ofOwner(e) {
			owners.Go(func() { s.act(e) })
		} else {
			faults.Go(func() { s.inject(e) })
		}
	}
	faults.Wait()
	for _, n := range s.places() {
		s.revive(n.name)
	}
	owners.Wait() // some come to their ends only in a cluster that works
}

// finish lets the sources come to their ends, stops the applications and checks what was made of them.
func (s *sim) finish() {
	s.until("a leader after all faults", func() bool { return s.leading() != nil })
	for _, p := range s.apps() {
		if p.stopping.Load() {
			continue
		}
		total := int64(0)
		for _, src := range p.sources {
			total += int64(src.finish() * src.partitions)
		}
		s.until(fmt.Sprintf("%s receives its %d lines", p.name, total), func() bool {
			s.resume(p)
			return s.app(p).Received >= total
		})
		s.stop(p, false)
	}
	s.agree()
}

// agree waits until all nodes have applied the same, and compares their states.
func (s *sim) agree() {
	s.until("all nodes are at one index", func() bool {
		seen := map[uint64]bool{}
		for _, n := range s.places() {
			p := s.running(n.name)
			if p == nil {
				return false
			}
			seen[p.raft.View().Index()] = true
		}
		return len(seen) == 1
	})
	hashes := map[[32]byte]bool{}
	for _, n := range s.places() {
		if p := s.running(n.name); p != nil {
			v := p.raft.View()
			hashes[v.Hash()] = true
			if err := v.Check(); err != nil {
				s.Errorf("%s: %v", n.name, err)
			}
		}
	}
	if len(hashes) > 1 {
		s.Errorf("%d different states at one index (invariant 11)", len(hashes))
	}
}

// end stops everything and waits for all goroutines.
func (s *sim) end() {
	var ends sync.WaitGroup
	for _, n := range s.places() {
		if p := s.running(n.name); p != nil {
			ends.Go(func() { s.terminate(p) })
		}
	}
	ends.Wait()
	s.local.Close()
	s.work.Wait()
	sleep(time.Minute) // back-offs of raft's end
}
