package raftnode

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// MemoryDisk is a disk for tests: it survives Close of the node and, as Crash, its sudden end. It can hang, be slow or
// fail.
type MemoryDisk struct {
	mu      sync.Mutex
	logs    map[uint64]raft.Log
	first   uint64 // lowest and highest index of logs, 0 for none
	last    uint64
	values  map[string][]byte
	stored  snapshotMemory
	hang    chan struct{}        // writes wait until it is closed
	takes   func() time.Duration // what a write takes, nil for no time
	failure error                // of the next writes
	before  func()               // of StoreLogs
	begun   []*diskWrite         // those that have not returned, in order
}

// diskWrite is a write that has begun.
type diskWrite struct{ do func(*MemoryDisk) }

// NewMemoryDisk makes an empty disk.
func NewMemoryDisk() *MemoryDisk {
	return &MemoryDisk{logs: map[uint64]raft.Log{}, values: map[string][]byte{}}
}

// Hang makes writes hang until release is called.
func (d *MemoryDisk) Hang() (release func()) {
	c := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hang = c
	return func() { close(c) }
}

// Slow makes every write take as long as takes says; nil ends that.
func (d *MemoryDisk) Slow(takes func() time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.takes = takes
}

// Fail makes writes fail, as after a failed fsync; nil ends that.
func (d *MemoryDisk) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure = err
}

// BeforeAppend calls f before every StoreLogs does anything, nil for nothing: a process whose disk fails there ends there.
// To let it fail instead would make Raft panic about its term soon after, which a test cannot outlive.
func (d *MemoryDisk) BeforeAppend(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = f
}

// Crash gives the disk as it is found after the sudden end of the process: what had returned is there, and what had
// begun may be, as a whole each (raft-boltdb's writes are transactions). The disk itself goes on for who has it, and
// has no more to do with the one given.
func (d *MemoryDisk) Crash(rng *rand.Rand) *MemoryDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := &MemoryDisk{logs: maps.Clone(d.logs), first: d.first, last: d.last, values: maps.Clone(d.values)}
	d.stored.mu.Lock()
	after.stored.kept, after.stored.made = slices.Clone(d.stored.kept), d.stored.made
	d.stored.mu.Unlock()
	for _, w := range d.begun {
		if rng.IntN(2) == 0 {
			break
		}
		w.do(after)
	}
	return after
}

// write runs f under the lock, unless writes fail.
func (d *MemoryDisk) write(f func(*MemoryDisk)) error {
	w := &diskWrite{f}
	d.mu.Lock()
	hang, takes := d.hang, d.takes
	d.begun = append(d.begun, w)
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if takes != nil {
		<-time.After(takes())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = slices.DeleteFunc(d.begun, func(b *diskWrite) bool { return b == w })
	if d.failure != nil {
		return d.failure
	}
	f(d)
	return nil
}

// StoreLog is StoreLogs of one entry.
func (d *MemoryDisk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs keeps copies of the entries.
func (d *MemoryDisk) StoreLogs(logs []*raft.Log) error {
	copies := make([]raft.Log, len(logs))
	for i, l := range logs {
		copies[i] = *l
		copies[i].Data, copies[i].Extensions = slices.Clone(l.Data), slices.Clone(l.Extensions)
	}
	d.mu.Lock()
	before := d.before
	d.mu.Unlock()
	if before != nil {
		before()
	}
	return d.write(func(d *MemoryDisk) {
		for _, l := range copies {
			d.logs[l.Index] = l
			if d.first == 0 || l.Index < d.first {
				d.first = l.Index
			}
			d.last = max(d.last, l.Index)
		}
	})
}

// GetLog gives an entry or raft.ErrLogNotFound.
func (d *MemoryDisk) GetLog(index uint64, l *raft.Log) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, ok := d.logs[index]
	if !ok {
		return raft.ErrLogNotFound
	}
	*l = found
	return nil
}

// FirstIndex gives the lowest index, 0 for none.
func (d *MemoryDisk) FirstIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first, nil
}

// LastIndex gives the highest index, 0 for none.
func (d *MemoryDisk) LastIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, nil
}

// DeleteRange deletes the entries from low to high.
func (d *MemoryDisk) DeleteRange(low, high uint64) error {
	return d.write(func(d *MemoryDisk) {
		maps.DeleteFunc(d.logs, func(i uint64, _ raft.Log) bool { return low <= i && i <= high })
		d.first, d.last = 0, 0
		for i := range d.logs {
			d.last = max(d.last, i)
			if d.first == 0 || i < d.first {
				d.first = i
			}
		}
	})
}

// Set keeps a value.
func (d *MemoryDisk) Set(key, value []byte) error {
	k, v := string(key), slices.Clone(value)
	return d.write(func(d *MemoryDisk) { d.values[k] = v })
}

// Get gives a value or errNotFound.
func (d *MemoryDisk) Get(key []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.values[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return slices.Clone(v), nil
}

// Close keeps everything.
func (d *MemoryDisk) Close() error { return nil }

func (d *MemoryDisk) snapshots() raft.SnapshotStore { return &d.stored }

// snapshotMemory retains the newest snapshots.
type snapshotMemory struct {
	mu   sync.Mutex
	kept []*memorySnapshot // newest first
	made int
}

type memorySnapshot struct {
	bytes.Buffer
	meta raft.SnapshotMeta
	in   *snapshotMemory
}

func (s *snapshotMemory) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return &memorySnapshot{in: s, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, s.made), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

func (s *snapshotMemory) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var metas []*raft.SnapshotMeta
	for _, k := range s.kept {
		m := k.meta
		metas = append(metas, &m)
	}
	return metas, nil
}

func (s *snapshotMemory) Open(name string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		if k.meta.ID == name {
			m := k.meta
			return &m, io.NopCloser(bytes.NewReader(k.Bytes())), nil
		}
	}
	return nil, nil, errors.New("there is no such snapshot")
}

// ID names the snapshot.
func (m *memorySnapshot) ID() string { return m.meta.ID }

// Cancel forgets the snapshot.
func (m *memorySnapshot) Cancel() error { return nil }

// Close makes the snapshot one of those retained.
func (m *memorySnapshot) Close() error {
	m.in.mu.Lock()
	defer m.in.mu.Unlock()
	m.meta.Size = int64(m.Len())
	m.in.kept = append([]*memorySnapshot{m}, m.in.kept...)
	slices.SortStableFunc(m.in.kept, func(a, b *memorySnapshot) int { // as raft's file store does
		return cmp.Or(cmp.Compare(b.meta.Term, a.meta.Term), cmp.Compare(b.meta.Index, a.meta.Index))
	})
	m.in.kept = m.in.kept[:min(len(m.in.kept), retain)]
	return nil
}

// MemoryNetwork connects nodes in one process, for tests under testing/synctest. Addresses are any strings.
type MemoryNetwork struct {
	mu        sync.Mutex
	listeners map[string]*memoryStream
	isolated  map[string]bool
	conns     map[*memoryConn]bool
}

// NewMemoryNetwork makes a network without nodes.
func NewMemoryNetwork() *MemoryNetwork {
	return &MemoryNetwork{
		listeners: map[string]*memoryStream{}, isolated: map[string]bool{}, conns: map[*memoryConn]bool{},
	}
}

// Stream listens at an address, instead of who did before.
func (m *MemoryNetwork) Stream(addr string) Stream {
	s := &memoryStream{net: m, addr: addr, incoming: make(chan net.Conn), closed: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listeners[addr] = s
	return s
}

// Isolate breaks the connections of an address and lets none be made; Join ends that.
func (m *MemoryNetwork) Isolate(addr string) {
	m.mu.Lock()
	m.isolated[addr] = true
	var broken []*memoryConn
	for c := range m.conns {
		if c.from == addr || c.to == addr {
			broken = append(broken, c)
		}
	}
	m.mu.Unlock()
	for _, c := range broken {
		_ = c.Close() // of a pipe: never fails
	}
}

// Join ends the isolation of an address.
func (m *MemoryNetwork) Join(addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.isolated, addr)
}

type memoryStream struct {
	net      *MemoryNetwork
	addr     string
	incoming chan net.Conn
	once     sync.Once
	closed   chan struct{}
}

type memoryConn struct {
	net.Conn
	net      *MemoryNetwork
	from, to string
}

func (c *memoryConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}

func (s *memoryStream) Accept() (net.Conn, error) {
	select {
	case c := <-s.incoming:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *memoryStream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *memoryStream) Addr() net.Addr { return address(s.addr) }

func (s *memoryStream) Dial(to string, timeout time.Duration) (net.Conn, error) {
	s.net.mu.Lock()
	peer := s.net.listeners[to]
	cut := s.net.isolated[s.addr] || s.net.isolated[to]
	s.net.mu.Unlock()
	if cut || peer == nil {
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	here, there := net.Pipe()
	c := &memoryConn{Conn: here, net: s.net, from: s.addr, to: to}
	s.net.mu.Lock()
	s.net.conns[c] = true
	s.net.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case peer.incoming <- there:
		return c, nil
	case <-peer.closed:
		return nil, errors.Join(fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED), c.Close())
	case <-timer.C:
		return nil, errors.Join(fmt.Errorf("dial %s: no answer within %v", to, timeout), c.Close())
	}
}
