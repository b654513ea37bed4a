package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
)

// ErrDown is what every operation of a Mem says after its power was cut.
var ErrDown = errors.New("the machine is down")

// Kind is a kind of operation on a Mem.
type Kind uint8

// Kinds of operations.
const (
	OpOpen Kind = iota + 1
	OpCreate
	OpWrite
	OpRead
	OpSync
	OpTruncate
	OpRename
	OpRemove
	OpList
	OpStat
	OpMkdir
	OpSyncDir
	OpLock
	OpFree
)

// Op is an operation about to run.
type Op struct {
	N    int // operations before it
	Kind Kind
	Name string
	Size int // bytes of a write
}

// Fault is what becomes of an operation: nothing where Err is nil. Of a write, the first Partial bytes are written
// before it fails.
type Fault struct {
	Err     error
	Partial int
}

// Mem is a file system in memory that knows what is durable: Crash gives what a machine would find after its power was
// cut. It is what tests of durable formats run on, and what runs without a disk use.
type Mem struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode
	pending []nameOp // changes of names that no SyncDir covered yet, in order
	locks   map[string]bool
	inject  func(Op) Fault
	ops     int
	down    bool
	free    int64 // bytes that may be written; negative: no limit
}

// inode is a file or directory. Invariant: bytes of synced are never overwritten, also not by appends to data.
type inode struct {
	dir          bool
	data, synced []byte
}

// nameOp binds, or unbinds where node is nil, a name; a rename also unbinds old.
type nameOp struct {
	name, old string
	node      *inode
}

var _ FS = (*Mem)(nil)

// NewMem makes an empty file system whose root directory is there.
func NewMem() *Mem {
	root := &inode{dir: true}
	return &Mem{
		names:   map[string]*inode{"/": root},
		durable: map[string]*inode{"/": root},
		locks:   map[string]bool{},
		free:    -1,
	}
}

// Inject calls f before every operation and does what it says; nil stops that. f must not call the Mem.
func (m *Mem) Inject(f func(Op) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inject = f
}

// SetFree sets how many bytes may still be written before the disk is full; negative means no limit.
func (m *Mem) SetFree(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = bytes
}

// Ops counts the operations so far.
func (m *Mem) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// StopAt cuts the power at operation n, counted as by Ops: it and all later ones fail with ErrDown. A write that is cut
// is torn at a place that rng chooses.
func (m *Mem) StopAt(n int, rng *rand.Rand) {
	m.Inject(func(op Op) Fault {
		if op.N < n {
			return Fault{}
		}
		f := Fault{Err: ErrDown}
		if op.N == n && op.Kind == OpWrite {
			f.Partial = rng.IntN(op.Size + 1)
		}
		return f
	})
}

// Crash cuts the power and gives the file system as it is found afterwards. With a nil rng everything that was not
// synced is lost; else it chooses: of bytes appended after the last sync a prefix is kept, in which a run may read as
// zeros; of names changed after the last SyncDir the first few changes are kept.
func (m *Mem) Crash(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = true
	keep := 0
	if rng != nil {
		keep = rng.IntN(len(m.pending) + 1)
	}
	for _, op := range m.pending[:keep] {
		op.apply(m.durable)
	}
	after := NewMem()
	after.free = m.free
	seen := map[*inode]*inode{}
	for _, name := range sorted(m.durable) {
		n := m.durable[name]
		if seen[n] == nil {
			data := n.afterCrash(rng)
			seen[n] = &inode{dir: n.dir, data: data, synced: data}
		}
		after.names[name] = seen[n]
		after.durable[name] = seen[n]
	}
	return after
}

// Corrupt replaces the bytes of a file, as a failing disk does; they count as synced.
func (m *Mem) Corrupt(name string, change func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[clean(name)]
	if n == nil {
		panic("vfs: no file " + name + " to corrupt")
	}
	n.data = change(slices.Clone(n.data))
	n.synced = slices.Clip(n.data)
}

func (n *inode) afterCrash(rng *rand.Rand) []byte {
	if rng == nil {
		return slices.Clip(n.synced)
	}
	if len(n.data) < len(n.synced) { // truncated and not synced: either is possible
		if rng.IntN(2) == 0 {
			return slices.Clip(n.synced)
		}
		return slices.Clone(n.data)
	}
	extra := len(n.data) - len(n.synced)
	kept := slices.Clone(n.data[:len(n.synced)+rng.IntN(extra+1)])
	if tail := kept[len(n.synced):]; len(tail) > 1 && rng.IntN(3) == 0 {
		at := rng.IntN(len(tail))
		clear(tail[at : at+1+rng.IntN(len(tail)-at)])
	}
	return kept
}

func (op nameOp) apply(names map[string]*inode) {
	if op.old != "" {
		delete(names, op.old)
	}
	if op.node == nil {
		delete(names, op.name)
		return
	}
	names[op.name] = op.node
}

// start counts an operation and gives its fault.
func (m *Mem) start(kind Kind, name string, size int) Fault {
	op := Op{N: m.ops, Kind: kind, Name: name, Size: size}
	m.ops++
	if m.down {
		return Fault{Err: ErrDown}
	}
	if m.inject == nil {
		return Fault{}
	}
	return m.inject(op)
}

func (m *Mem) change(op nameOp) {
	op.apply(m.names)
	m.pending = append(m.pending, op)
}

func (m *Mem) lookup(op, name string) (*inode, error) {
	if n := m.names[name]; n != nil {
		return n, nil
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

func clean(name string) string { return path.Clean("/" + name) }

func sorted(names map[string]*inode) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// Open opens an existing file for reading.
func (m *Mem) Open(name string) (File, error) { return m.open(OpOpen, name) }

// Append opens an existing file for appending.
func (m *Mem) Append(name string) (File, error) { return m.open(OpOpen, name) }

func (m *Mem) open(kind Kind, name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = clean(name)
	if f := m.start(kind, name, 0); f.Err != nil {
		return nil, fmt.Errorf("open %s: %w", name, f.Err)
	}
	n, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	return &memFile{m: m, n: n, name: name}, nil
}

// Create makes a new file.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = clean(name)
	if f := m.start(OpCreate, name, 0); f.Err != nil {
		return nil, fmt.Errorf("create %s: %w", name, f.Err)
	}
	if m.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	if _, err := m.lookup("create", path.Dir(name)); err != nil {
		return nil, err
	}
	n := &inode{}
	m.change(nameOp{name: name, node: n})
	return &memFile{m: m, n: n, name: name}, nil
}

// Rename replaces newName by oldName.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldName, newName = clean(oldName), clean(newName)
	if f := m.start(OpRename, newName, 0); f.Err != nil {
		return fmt.Errorf("rename %s: %w", oldName, f.Err)
	}
	n, err := m.lookup("rename", oldName)
	if err != nil {
		return err
	}
	m.change(nameOp{name: newName, old: oldName, node: n})
	return nil
}

// Remove removes a file, or a directory that is empty.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = clean(name)
	if f := m.start(OpRemove, name, 0); f.Err != nil {
		return fmt.Errorf("remove %s: %w", name, f.Err)
	}
	n, err := m.lookup("remove", name)
	if err != nil {
		return err
	}
	for other := range m.names {
		if n.dir && path.Dir(other) == name {
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrExist} // as of ENOTEMPTY
		}
	}
	if m.free >= 0 {
		m.free += int64(len(n.data))
	}
	m.change(nameOp{name: name})
	return nil
}

// List gives the names in a directory, in order.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = clean(dir)
	if f := m.start(OpList, dir, 0); f.Err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, f.Err)
	}
	if _, err := m.lookup("list", dir); err != nil {
		return nil, err
	}
	var list []string
	for _, name := range sorted(m.names) {
		if name != dir && path.Dir(name) == dir {
			list = append(list, path.Base(name))
		}
	}
	return list, nil
}

// Stat gives a file's size.
func (m *Mem) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = clean(name)
	if f := m.start(OpStat, name, 0); f.Err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", name, f.Err)
	}
	n, err := m.lookup("stat", name)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: int64(len(n.data)), Dir: n.dir}, nil
}

// MkdirAll makes a directory and those above it; their names are durable at once, as FS asks for.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = clean(dir)
	if f := m.start(OpMkdir, dir, 0); f.Err != nil {
		return fmt.Errorf("make directory %s: %w", dir, f.Err)
	}
	for at := range len(dir) {
		if name := dir[:at+1]; at+1 == len(dir) || strings.HasPrefix(dir[at+1:], "/") {
			if m.names[name] == nil {
				n := &inode{dir: true}
				m.names[name], m.durable[name] = n, n
			}
		}
	}
	return nil
}

// SyncDir makes the names in a directory durable.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = clean(dir)
	if f := m.start(OpSyncDir, dir, 0); f.Err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, f.Err)
	}
	m.pending = slices.DeleteFunc(m.pending, func(op nameOp) bool {
		if path.Dir(op.name) != dir {
			return false
		}
		op.apply(m.durable)
		return true
	})
	return nil
}

// Lock takes the exclusive lock on a name within this Mem.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = clean(name)
	if f := m.start(OpLock, name, 0); f.Err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, f.Err)
	}
	if m.locks[name] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	m.locks[name] = true
	return unlock(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, name)
	}), nil
}

type unlock func()

func (u unlock) Close() error { u(); return nil }

// Free gives what SetFree left, or a very large number.
func (m *Mem) Free(dir string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.start(OpFree, clean(dir), 0); f.Err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, f.Err)
	}
	if m.free < 0 {
		return 1 << 60, nil
	}
	return uint64(m.free), nil
}
