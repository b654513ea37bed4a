package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/receiver"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ledger stands for the stores and the state machine: it takes blocks as rule 4 says, and can be slow, full, unreachable
// or unwilling. It records what a supervisor did in which order.
type ledger struct {
	t *testing.T

	mu        sync.Mutex
	index     uint64
	positions map[string]uint64
	current   id.Instance // the only instance that is taken
	closed    map[id.Instance]bool
	last      map[id.Instance]uint64
	synced    map[id.Block][]byte // on stores
	storing   int
	mostStore int
	have      [][]id.Store // of each Store call
	committed []id.Block
	records   []string // of committed blocks, in order
	events    []string
	failures  []string
	stopped   []*job.ReceiverStopped

	// What goes wrong. Each is asked before the call takes effect; nil means well.
	onStore   func(ctx context.Context, d job.BlockData) error
	onReport  func(ctx context.Context, b job.BlockReport) (job.BlockReply, error, bool)
	onRequest func(ctx context.Context, r job.ToDriver) (job.Reply, error, bool)
}

func newLedger(t *testing.T) *ledger {
	return &ledger{
		t: t, index: 100, current: 7, positions: map[string]uint64{}, closed: map[id.Instance]bool{},
		last: map[id.Instance]uint64{}, synced: map[id.Block][]byte{},
	}
}

func (l *ledger) config(r dataset.Receiver) receiver.Config {
	return receiver.Config{
		App: job.App{ID: 5, BlockMS: 200, Factor: 2}, Stream: 2, Instance: l.current, Receiver: r,
		Store: l.store, Report: l.report, Request: l.request,
	}
}

func (l *ledger) store(ctx context.Context, d job.BlockData, factor int, have []id.Store) ([]id.Store, error) {
	l.mu.Lock()
	l.storing++
	l.mostStore = max(l.mostStore, l.storing)
	l.have = append(l.have, have)
	l.mu.Unlock()
	var err error
	if l.onStore != nil {
		err = l.onStore(ctx, d)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.storing--
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if crc32.Checksum(d.Data, crc32.MakeTable(crc32.Castagnoli)) != d.CRC || factor != 2 {
		l.t.Errorf("block %v: wrong checksum or factor %d", d.ID, factor)
	}
	l.synced[d.ID] = d.Data
	return []id.Store{"a", "b"}, nil
}

func (l *ledger) report(ctx context.Context, b job.BlockReport) (job.BlockReply, error) {
	if l.onReport != nil {
		if reply, err, mine := l.onReport(ctx, b); mine {
			return reply, err
		}
	}
	return l.commit(b), nil
}

// commit is what Apply does with a block.
func (l *ledger) commit(b job.BlockReport) job.BlockReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	data, ok := l.synced[b.ID]
	if !ok || len(b.Stores) != 2 || int64(len(data)) != b.Bytes {
		l.t.Errorf("block %v is reported and not stored: %+v", b.ID, b)
	}
	refuse := func(format string, a ...any) job.BlockReply {
		return job.BlockReply{Outcome: job.Refused, Reason: fmt.Sprintf(format, a...)}
	}
	if at := slices.Index(l.committed, b.ID); at >= 0 {
		return job.BlockReply{Outcome: job.Done, Index: uint64(101 + at)}
	}
	if b.ID.Instance != l.current || l.closed[b.ID.Instance] {
		return refuse("instance %d is not current", b.ID.Instance)
	}
	if b.ID.Number != l.last[b.ID.Instance]+1 {
		l.t.Errorf("block %v follows number %d", b.ID, l.last[b.ID.Instance])
	}
	for _, r := range b.Ranges {
		if r.First != l.positions[r.Partition]+1 {
			return refuse("partition %q starts at %d, expected %d", r.Partition, r.First, l.positions[r.Partition]+1)
		}
	}
	for _, r := range b.Ranges {
		l.positions[r.Partition] = r.Last
	}
	l.last[b.ID.Instance] = b.ID.Number
	l.index++
	l.committed = append(l.committed, b.ID)
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if int64(len(lines)) != b.Records {
		l.t.Errorf("block %v has %d lines and says %d records", b.ID, len(lines), b.Records)
	}
	l.records = append(l.records, lines...)
	return job.BlockReply{Outcome: job.Done, Index: l.index}
}

func (l *ledger) request(ctx context.Context, r job.ToDriver) (job.Reply, error) {
	if l.onRequest != nil {
		if reply, err, mine := l.onRequest(ctx, r); mine {
			return reply, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index++
	reply := job.Reply{Outcome: job.Done, Index: l.index}
	switch r := r.(type) {
	case *job.ReceiverStarted:
		l.events = append(l.events, "started")
		if r.Instance != l.current {
			return job.Reply{Outcome: job.Refused, Reason: "not the current instance"}, nil
		}
		for p, last := range l.positions {
			reply.Positions = append(reply.Positions, connector.Range{Partition: p, Last: last})
		}
	case *job.ReceiverFailed:
		l.events, l.failures = append(l.events, "failed"), append(l.failures, r.Error)
	case *job.ReceiverStopped:
		l.events, l.stopped = append(l.events, "stopped"), append(l.stopped, r)
		l.closed[r.Instance] = true
	}
	return reply, nil
}

// got gives the committed records.
func (l *ledger) got() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

func (l *ledger) blocks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.committed)
}

// source is a receiver made of a function.
type source func(ctx context.Context, in dataset.Inlet) error

func (s source) Run(ctx context.Context, in dataset.Inlet) error { return s(ctx, in) }

// idle receives nothing until it is stopped.
func idle(ctx context.Context, _ dataset.Inlet) error {
	<-ctx.Done()
	return nil
}

// lines makes records of lines; with a partition they are at positions from first.
func lines(partition string, first uint64, texts ...string) dataset.Records {
	r := dataset.Records{Bytes: []byte(strings.Join(texts, "\n") + "\n"), Count: len(texts)}
	if partition != "" {
		r.Range = connector.Range{Partition: partition, First: first, Last: first + uint64(len(texts)) - 1}
	}
	return r
}

// run starts a supervisor; the function waits for its end.
func run(ctx context.Context, t *testing.T, c receiver.Config) (*receiver.Supervisor, func() error) {
	t.Helper()
	s, err := receiver.New(c)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() error { return <-done }
}

// settled says whether a receipt's fate is known, and which.
func settled(r connector.Receipt) (known bool, index uint64, err error) {
	select {
	case <-r.Done():
		index, err = r.Result()
		return true, index, err
	default:
		return false, 0, nil
	}
}

var errUnreachable = errors.New("no driver is reachable")
