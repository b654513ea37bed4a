// Package persist owns the partitions that one executor keeps of persisted datasets (Spark: MemoryStore and DiskStore):
// encoded records in memory, and in scratch files where the level says so. It is engine internals, without compatibility
// promise.
//
// It promises that what it gives is exactly what was put under the same key, or nothing: it is a cache that may forget
// anything at any time, and damage of a file is forgetting. Memory and disk are bounded; what was not used for longest
// goes first. It must not know tasks, records, or how a partition is computed.
package persist

import (
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
)

// Limits where Config says nothing, in bytes.
const (
	DefaultMemory = 256 << 20
	DefaultDisk   = 1 << 30
)

// Config is what a Store needs. The zero value keeps partitions in memory alone.
type Config struct {
	MemoryBytes int64 // limit of partitions in memory, 0 for DefaultMemory
	DiskBytes   int64 // limit of partitions in files, 0 for DefaultDisk
	// FS and Dir are where files are made, nil and "" for nowhere. The directory belongs to the store: what an earlier
	// process left there is removed.
	FS           vfs.FS
	Dir          string
	ReserveBytes uint64       // of the disk, which files leave free
	Logger       *slog.Logger // nil: none
}

// Store keeps partitions. Its methods may be called concurrently.
type Store struct {
	cfg Config
	log *slog.Logger

	mu   sync.Mutex
	apps map[id.App]map[job.Partition]*entry
	// Invariant: an entry of apps is in memory (it has chunks), or in files (it has a name), or on its way from the one
	// to the other (spilling, in neither list, its chunks count as memory).
	memory, files              list.List // of *entry, the last used first
	memoryBytes, spillingBytes int64
	fileBytes                  int64
	named                      uint64 // files so far
	hits, misses               uint64
}

type entry struct {
	key    job.Partition
	size   int64
	chunks [][]byte // nil: in a file
	file   string
	spill  bool          // goes to a file when memory is needed
	at     *list.Element // nil while spilling
	gone   bool
}

// New makes a store and removes what an earlier process left in its directory.
func New(c Config) (*Store, error) {
	if c.MemoryBytes <= 0 {
		c.MemoryBytes = DefaultMemory
	}
	if c.DiskBytes <= 0 {
		c.DiskBytes = DefaultDisk
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: c, log: c.Logger, apps: map[id.App]map[job.Partition]*entry{}}
	if c.FS == nil {
		return s, nil
	}
	if err := clear(c.FS, c.Dir); err != nil {
		return nil, fmt.Errorf("clear the directory of kept partitions %s: %w", c.Dir, err)
	}
	return s, nil
}

// Room is the most bytes that a kept partition may have: a quarter of memory, so that one does not push out all others.
func (s *Store) Room() int64 { return s.cfg.MemoryBytes / 4 }

// Get gives what was put under the key; ok is false where nothing is kept. The chunks must not be written to; views into
// them stay valid as long as they are referenced.
func (s *Store) Get(key job.Partition) (chunks [][]byte, ok bool) {
	s.mu.Lock()
	e := s.apps[key.App][key]
	if e == nil {
		s.misses++
		s.mu.Unlock()
		return nil, false
	}
	s.used(e)
	if chunks = e.chunks; chunks != nil {
		s.hits++
		s.mu.Unlock()
		return chunks, true
	}
	file := e.file
	s.mu.Unlock()
	data, err := read(s.cfg.FS, file, e.size)
	s.mu.Lock()
	if err == nil {
		s.hits++
		s.mu.Unlock()
		return [][]byte{data}, true
	}
	s.misses++
	lost := !e.gone // else it was dropped meanwhile, with its file
	s.drop(e)
	s.mu.Unlock()
	if lost {
		s.log.Warn("a kept partition cannot be read and is computed again", "dataset", key.Dataset.String(), "part", key.Part, "error", err)
		s.remove(file)
	}
	return nil, false
}

// used notes that an entry was used last.
func (s *Store) used(e *entry) {
	switch {
	case e.at == nil:
	case e.chunks != nil:
		s.memory.MoveToFront(e.at)
	default:
		s.files.MoveToFront(e.at)
	}
}

// Put keeps a partition: all of its records, in chunks that nobody writes to any more. spill lets it go to a file when
// memory is needed; else it is forgotten then. What has more than Room bytes is not kept, nor what is kept already. Files
// are written before Put returns: by who needs the memory.
//
// Invariant: nothing is kept once ctx has ended. Who drops an application ends the contexts of its tasks first: then no
// late task can bring back what nobody would ever drop.
func (s *Store) Put(ctx context.Context, key job.Partition, chunks [][]byte, spill bool) {
	size := sizeOf(chunks)
	if size > s.Room() {
		return
	}
	if chunks == nil {
		chunks = [][]byte{}
	}
	s.mu.Lock()
	if ctx.Err() != nil || s.apps[key.App][key] != nil {
		s.mu.Unlock()
		return
	}
	e := &entry{key: key, size: size, chunks: chunks, spill: spill && s.cfg.FS != nil}
	if s.apps[key.App] == nil {
		s.apps[key.App] = map[job.Partition]*entry{}
	}
	s.apps[key.App][key] = e
	e.at = s.memory.PushFront(e)
	s.memoryBytes += size
	leaving := s.makeRoom()
	s.mu.Unlock()
	for _, e := range leaving {
		s.toFile(e)
	}
}

// makeRoom brings memory to its limit, but for the entries that it gives: they are to be written to files.
func (s *Store) makeRoom() (leaving []*entry) {
	for s.memoryBytes-s.spillingBytes > s.cfg.MemoryBytes {
		e := s.memory.Back().Value.(*entry)
		if !e.spill {
			s.drop(e)
			continue
		}
		s.memory.Remove(e.at)
		e.at = nil
		s.spillingBytes += e.size
		leaving = append(leaving, e)
	}
	return leaving
}

// drop forgets an entry. Its file, if it has one, is the caller's to remove.
func (s *Store) drop(e *entry) {
	if e.gone {
		return
	}
	e.gone = true
	of := s.apps[e.key.App]
	if delete(of, e.key); len(of) == 0 {
		delete(s.apps, e.key.App)
	}
	switch {
	case e.at == nil: // who writes it counts it
	case e.chunks != nil:
		s.memory.Remove(e.at)
		s.memoryBytes -= e.size
	default:
		s.files.Remove(e.at)
		s.fileBytes -= e.size
	}
}

// toFile writes an entry that leaves memory. Where that fails it is forgotten.
func (s *Store) toFile(e *entry) {
	s.mu.Lock()
	s.named++
	name := s.name(s.named)
	gone := e.gone
	s.mu.Unlock()
	var err error
	if !gone {
		err = s.write(name, e)
	}
	s.mu.Lock()
	s.memoryBytes -= e.size
	s.spillingBytes -= e.size
	var needless []string
	switch {
	case e.gone || err != nil:
		s.drop(e)
		needless = append(needless, name)
	default:
		e.chunks, e.file = nil, name
		e.at = s.files.PushFront(e)
		s.fileBytes += e.size
		for s.fileBytes > s.cfg.DiskBytes {
			last := s.files.Back().Value.(*entry)
			needless = append(needless, last.file)
			s.drop(last)
		}
	}
	s.mu.Unlock()
	if err != nil {
		s.log.Warn("a persisted partition cannot be written and is not kept", "dataset", e.key.Dataset.String(), "part", e.key.Part, "error", err)
	}
	for _, f := range needless {
		s.remove(f)
	}
}

// Progress drops what no batch reads any more: what belongs to batches that are cleaned up, or to an application that is
// over. It removes files.
func (s *Store) Progress(p *job.Progress) {
	var files []string
	s.mu.Lock()
	for key, e := range s.apps[p.App] {
		if !p.Ended && key.Dataset.Time > p.Cleaned {
			continue
		}
		if e.chunks == nil {
			files = append(files, e.file)
		}
		s.drop(e)
	}
	s.mu.Unlock()
	for _, f := range files {
		s.remove(f)
	}
}

// Stats is what a store holds and how it was used.
type Stats struct {
	Partitions   int
	MemoryBytes  int64
	DiskBytes    int64
	Hits, Misses uint64 // of readings, since the start
}

// Stats counts what the store holds.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{MemoryBytes: s.memoryBytes, DiskBytes: s.fileBytes, Hits: s.hits, Misses: s.misses}
	for _, of := range s.apps {
		st.Partitions += len(of)
	}
	return st
}

// entryBytes is about what an entry takes beside its records, so that many empty partitions are bounded, too.
const entryBytes = 256

func sizeOf(chunks [][]byte) int64 {
	size := int64(entryBytes)
	for _, c := range chunks {
		size += int64(cap(c))
	}
	return size
}
