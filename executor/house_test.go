package executor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor"
	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/local"
	"github.com/raftstream/raftstream/executor/pieces"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/bucket"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/batches"
	"github.com/raftstream/raftstream/internal/driver/cleaning"
	"github.com/raftstream/raftstream/internal/driver/coordinators"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/driver/executors"
	"github.com/raftstream/raftstream/internal/driver/rates"
	"github.com/raftstream/raftstream/internal/driver/receivers"
	"github.com/raftstream/raftstream/internal/driver/repair"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
)

// house is real executors under a real driver with a real ledger, in one process and in a bubble of synctest: an
// application keeps running totals of what a source gives, and members die.
type house struct {
	*drivertest.Rig
	net     *local.Network
	graph   *executortest.WordCount
	source  *lines
	app     id.App
	members map[string]*member
	bucket  *vfs.Mem                  // where checkpoints are, nil: on the members
	slow    func(ctx context.Context) // what calls among members take; nil for no time
	onState atomic.Pointer[func(t dataset.Task, part int)]
	judged  int // results that were checked
	lines   int // that the newest of them counts
}

// member is one executor's place: its disk outlives its processes.
type member struct {
	name       string
	fs         *vfs.Mem
	generation uint64
	process    *process // nil while it is dead
}

// process is one life of a member.
type process struct {
	*executor.Executor
	house  *house
	hub    job.Dialer
	blocks *blocks.Store
	cancel context.CancelFunc
	done   chan error

	mu   sync.Mutex
	dead bool
	link job.Link
}

// lines is a source that can send again: line n has position n, from 1. It gives one every tick, up to a number.
type lines struct {
	words int // different ones
	every time.Duration

	mu    sync.Mutex
	until int // 0: for ever
	sent  int
}

// text gives the line at a position: three words.
func (l *lines) text(n int) string {
	return fmt.Sprintf("w%d w%d w%d\n", n%l.words, (n*7)%l.words, (n/3)%l.words)
}

// stop lets the source come to its end, and gives the number of lines that it will have given.
func (l *lines) stop() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = l.sent + 20
	return l.until
}

func (l *lines) more(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until != 0 && n > l.until {
		return false
	}
	l.sent = max(l.sent, n)
	return true
}

// Run implements dataset.Receiver.
func (l *lines) Run(ctx context.Context, in dataset.Inlet) error {
	for n := int(in.Position("p")) + 1; l.more(n); n++ {
		t := time.NewTimer(l.every)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		at := uint64(n)
		_, err := in.Add(ctx, dataset.Records{
			Bytes: []byte(l.text(n)), Count: 1, Range: connector.Range{Partition: "p", First: at, Last: at},
		})
		if err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// total is the totals of the first n lines.
func (l *lines) total(n int) map[string]int {
	var all strings.Builder
	for i := range n {
		all.WriteString(l.text(i + 1))
	}
	return executortest.Count(all.String())
}

// newHouse starts members and submits an application that checkpoints its state so often, 0 for never.
// slow, which may be nil, takes the time of calls among members.
func newHouse(t *testing.T, checkpoint time.Duration, slow func(ctx context.Context), names ...string) *house {
	return newHouseWith(t, nil, checkpoint, slow, names...)
}

// bucketURL is the directory of the members' common disk where checkpoints are.
const bucketURL = "file:///shared/states"

// newHouseWith is newHouse with checkpoints in a bucket on a disk that all members share.
func newHouseWith(t *testing.T, shared *vfs.Mem, checkpoint time.Duration, slow func(ctx context.Context), names ...string) *house {
	clock := batches.NewClock(drivertest.Node, 0)
	h := &house{net: local.NewNetwork(), bucket: shared, slow: slow, source: &lines{words: 20, every: 100 * time.Millisecond}, members: map[string]*member{}}
	h.Rig = drivertest.Start(t, clock.Observe, func(r *drivertest.Rig) []driver.Duty {
		limits := driver.NewLimits()
		return []driver.Duty{
			executors.New(r.Hub, nil, r.Logger), coordinators.New(r.Hub, r.Logger), batches.New(r.Hub, clock, r.Logger).With(limits),
			receivers.New(r.Hub, r.Logger).With(limits), cleaning.New(r.Hub, r.Logger), repair.New(r.Hub, r.Logger),
			rates.New(r.Hub, limits, r.Logger),
		}
	})
	t.Cleanup(h.net.Close)
	t.Cleanup(func() {
		for _, m := range h.members {
			if m.process != nil {
				h.kill(m.name)
			}
		}
	})
	h.graph = &executortest.WordCount{Reducers: 4, Depth: 1, Running: true, CheckpointMS: checkpoint.Milliseconds(), Source: h.source}
	h.graph.OnState = func(t dataset.Task, part int) {
		if slow != nil {
			slow(t.Context())
		}
		if f := h.onState.Load(); f != nil {
			(*f)(t, part)
		}
	}
	h.Lead()
	for _, name := range names {
		h.members[name] = &member{name: name, fs: vfs.NewMem()}
		h.start(name)
	}
	h.Until("all have a session", func() bool { return len(slices.Collect(h.View().Sessions())) == len(names) })
	p := h.graph.Plan()
	h.app = h.Submit("totals", func(c *fsm.ApplicationSubmitted) {
		c.Program, c.Fingerprint, c.Factor = executortest.Program, p.Fingerprint(), 2
		if shared != nil {
			c.CheckpointURL = bucketURL
		}
		c.States = []fsm.StateStream{{Stream: 1, SlideMS: 1000, Partitions: 4}}
	})
	return h
}

// replace puts another member with an empty disk in the place of a dead one.
func (h *house) replace(name, by string) {
	delete(h.members, name)
	h.members[by] = &member{name: by, fs: vfs.NewMem()}
	h.start(by)
}

// start begins another life of a member.
func (h *house) start(name string) *process {
	m := h.members[name]
	m.generation++
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(h.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", name)
	}
	p := &process{house: h, hub: h.Hub, done: make(chan error, 1)}
	var err error
	p.blocks, err = blocks.Open(blocks.Config{
		FS: m.fs, Dir: "wal", Store: storeOf(name), Logger: log, Fatal: func(err error) { h.Error(err) },
	})
	if err != nil {
		h.Fatal(err)
	}
	p.Executor, err = executor.New(executor.Config{
		Store: storeOf(name), Generation: m.generation, Name: name, Addr: name, Slots: 2, Build: "build",
		Dialer: p, Executors: mortal{p}, Builder: &executortest.Builder{Graph: h.graph}, Blocks: p.blocks, Logger: log,
		Cluster: func() string { return h.View().Cluster() }, Bucket: p.openBucket,
	})
	if err != nil {
		h.Fatal(err)
	}
	h.net.Add(name, p.Server())
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.done <- p.Run(ctx) }()
	m.process = p
	return p
}

// openBucket opens the bucket on the shared disk, to which nothing of a dead process goes.
func (p *process) openBucket(ctx context.Context, url string) (pieces.Bucket, error) {
	b, err := bucket.Open(ctx, url, p.house.bucket)
	if err != nil {
		return nil, err
	}
	return &mortalBucket{b, p}, nil
}

// mortalBucket is how a process reaches a bucket while it lives.
type mortalBucket struct {
	*bucket.Bucket
	p *process
}

func (b *mortalBucket) Put(ctx context.Context, key string, data []byte) error {
	if err := (mortal{b.p}).way(ctx); err != nil {
		return err
	}
	return errors.Join(b.Bucket.Put(ctx, key, data), (mortal{b.p}).way(ctx))
}

func (b *mortalBucket) Delete(ctx context.Context, key string) error {
	return errors.Join((mortal{b.p}).way(ctx), b.Bucket.Delete(ctx, key))
}

// kill ends a member's process as SIGKILL would: nothing of it goes out any more, its memory is gone, and its disk has
// what was synced.
func (h *house) kill(name string) {
	m := h.members[name]
	p := m.process
	m.process = nil
	h.net.Remove(name)
	p.die()
	p.cancel()
	if err := <-p.done; err != nil && !errors.Is(err, errDead) {
		h.Log(name, "ended with", err)
	}
	if err := p.blocks.Close(); err != nil {
		h.Error(err)
	}
	m.fs = m.fs.Crash(rand.New(rand.NewPCG(1, m.generation)))
}

var errDead = errors.New("the process is dead")

func (p *process) die() {
	p.mu.Lock()
	p.dead = true
	link := p.link
	p.mu.Unlock()
	if link != nil {
		_ = link.(job.CauseCloser).CloseCause(job.ErrPeerDead)
	}
}

func (p *process) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errDead
	}
	return nil
}

// Dial implements job.Dialer.
func (p *process) Dial(ctx context.Context, h job.Hello) (job.Link, error) {
	if err := p.alive(); err != nil {
		return nil, err
	}
	link, err := p.hub.Dial(ctx, h)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.link = link
	dead := p.dead
	p.mu.Unlock()
	if dead {
		_ = link.(job.CauseCloser).CloseCause(job.ErrPeerDead)
		return nil, errDead
	}
	return link, nil
}

// mortal is how a process reaches others while it lives.
type mortal struct{ p *process }

// way takes the time of a call, unless the process is dead before or after.
func (m mortal) way(ctx context.Context) error {
	if err := m.p.alive(); err != nil {
		return err
	}
	if slow := m.p.house.slow; slow != nil {
		slow(ctx)
	}
	return m.p.alive()
}

func (m mortal) Launch(ctx context.Context, to job.Peer, l *job.Launch) (*job.LaunchResult, error) {
	if err := m.way(ctx); err != nil {
		return nil, err
	}
	r, err := m.p.house.net.Launch(ctx, to, l)
	return r, errors.Join(err, m.way(ctx))
}

func (m mortal) Fetch(ctx context.Context, to job.Peer, f *job.Fetch, each func(int, []byte) error) error {
	if err := m.way(ctx); err != nil {
		return err
	}
	return errors.Join(m.p.house.net.Fetch(ctx, to, f, each), m.p.alive())
}

func (m mortal) Put(ctx context.Context, to job.Peer, b job.BlockData) error {
	if err := m.way(ctx); err != nil {
		return err
	}
	return errors.Join(m.p.house.net.Put(ctx, to, b), m.way(ctx))
}

func (m mortal) Get(ctx context.Context, to job.Peer, b id.Block) (job.BlockData, error) {
	if err := m.way(ctx); err != nil {
		return job.BlockData{}, err
	}
	d, err := m.p.house.net.Get(ctx, to, b)
	return d, errors.Join(err, m.way(ctx))
}

func (m mortal) States(ctx context.Context, to job.Peer, app id.App) ([]job.Held, error) {
	if err := m.way(ctx); err != nil {
		return nil, err
	}
	return m.p.house.net.States(ctx, to, app)
}

// completed is the time of the last completed batch.
func (h *house) completed() id.Time { return h.App(h.app).Completed }

// batches waits for so many more batches.
func (h *house) batches(n int) {
	h.Helper()
	end := h.completed() + id.Time(n)*1000
	h.Until(fmt.Sprintf("%d more batches", n), func() bool { return h.completed() >= end })
}

// coordinator names the member that coordinates the application.
func (h *house) coordinator() (name string) {
	h.Helper()
	h.Until("there is a coordinator", func() bool {
		office := h.App(h.app).Coordinator
		for s := range h.View().Sessions() {
			if s.ID == office {
				name = s.Name
			}
		}
		return name != ""
	})
	return name
}

// other names a member that is alive and does not coordinate.
func (h *house) other() string {
	h.Helper()
	of := h.coordinator()
	for _, name := range slices.Sorted(maps.Keys(h.members)) {
		if name != of && h.members[name].process != nil {
			return name
		}
	}
	h.Fatal("no other member is alive")
	return ""
}

// repaired reports whether every block that may be read yet, and every piece of the checkpoint outside a bucket, has two copies on disks
// that are there.
func (h *house) repaired() bool {
	there := map[id.Store]bool{}
	for s := range h.View().Sessions() {
		there[s.Store] = true
	}
	enough := func(stores []id.Store) bool {
		n := 0
		for _, s := range stores {
			if there[s] {
				n++
			}
		}
		return n >= 2
	}
	pieces := 0
	for p := range h.View().Pieces(h.app) {
		if pieces++; h.bucket == nil && !enough(p.Stores) {
			return false
		}
	}
	for b := range h.View().Kept(h.app, 0) {
		if !enough(b.Stores) {
			return false
		}
	}
	return pieces > 0
}

// judge checks the totals of every batch that was committed since it was called last: each is that of some first lines.
// It gives their number for the newest.
func (h *house) judge() (n int) {
	h.Helper()
	for _, r := range h.graph.Results.Log()[h.judged:] {
		h.judged++
		words := h.graph.Results.Words(r.Output, r.Time)
		n = 0
		for _, c := range words {
			n += c
		}
		if want := h.source.total(n / 3); n%3 != 0 || !maps.Equal(words, want) {
			h.Fatalf("totals of batch %d are %v, expected those of the first %d lines: %v", r.Time, words, n/3, want)
		}
		h.lines = n / 3
	}
	return h.lines
}

// finish lets the source come to an end and checks that every line was counted once.
func (h *house) finish() {
	h.Helper()
	n := h.source.stop()
	h.Until("every line is counted", func() bool { return h.judge() >= n })
	h.batches(2)
	if got := h.judge(); got != n {
		h.Errorf("%d lines are counted, expected %d", got, n)
	}
}
