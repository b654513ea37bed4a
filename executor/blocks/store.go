// Package blocks owns the received blocks of one executor (Spark: BlockManager and ReceivedBlockHandler): a Store keeps
// them in the log on disk, with a bounded cache in memory; a Replicator puts a new block on as many stores as it must
// be on. It is engine internals, without compatibility promise.
//
// It promises that a block which Put returned for is synced and read back unchanged or not at all, and that a block is
// only dropped when the ledger said that it is not needed (rule 5). It must not know receivers, tasks or how other
// executors are reached.
package blocks

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
	"github.com/raftstream/raftstream/wal"
)

// DefaultMemoryBytes bounds the cache of a Store that does not say otherwise.
const DefaultMemoryBytes = 256 << 20

// Config says where a Store is and how much it takes.
type Config struct {
	FS    vfs.FS
	Dir   string // of the log
	Store id.Store
	// MemoryBytes bounds the cache: 0 is DefaultMemoryBytes, negative no cache.
	MemoryBytes int64
	// ReserveBytes and SegmentBytes are the log's.
	ReserveBytes uint64
	SegmentBytes int64
	// Fatal is called once when the disk failed and the process must end; see wal.Config.
	Fatal  func(error)
	Logger *slog.Logger
}

// ConflictError says that a block of the same id but with other bytes is held: the sender is wrong about its id.
type ConflictError struct {
	ID        id.Block
	Has, Want uint32 // CRC32C of the block held and of the one given
}

// Error names the block and both checksums.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("block %v is held with CRC32C %08x, another one with %08x was given", e.ID, e.Has, e.Want)
}

// Stats is what a Store holds.
type Stats struct {
	Blocks      int
	Bytes       int64
	MemoryBytes int64
	Log         wal.Stats
}

// Store keeps the blocks of one executor. Its methods may be called from several goroutines.
type Store struct {
	cfg Config
	log *wal.Log

	mu     sync.Mutex
	apps   map[id.App]map[run]*instance
	ended  []id.App   // applications known to be over, the last endedMax in order of the news
	cache  *list.List // of *entry with data, the least recently used first
	cached int64      // bytes of data in cache
	blocks int
	bytes  int64
	live   map[uint64]int64 // bytes of blocks held, by segment of the log
}

// endedMax bounds the applications that are remembered to be over, so that a late copy of a block is refused.
const endedMax = 1024

// run names a receiver instance within its application.
type run struct {
	stream   id.Stream
	instance id.Instance
}

// instance is what is held of a receiver instance, and what the ledger said last.
type instance struct {
	blocks map[uint64]*entry
	told   job.InstanceProgress
}

// entry is a block held or being stored.
type entry struct {
	id      id.Block
	records int64
	crc     uint32
	size    int
	pos     wal.Position
	stored  chan struct{} // closed when the outcome of storing is known
	held    bool          // synced. Invariant: false only while it is being stored
	dropped bool          // not needed any more; set while it is being stored
	data    []byte        // nil: only in the log
	use     *list.Element // in cache, nil without data
}

// Open opens or creates a Store: it reads the whole log, so that Inventory is complete. Damage is a
// *wal.CorruptionError.
func Open(c Config) (*Store, error) {
	if c.MemoryBytes == 0 {
		c.MemoryBytes = DefaultMemoryBytes
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = wal.DefaultSegmentBytes
	}
	s := &Store{cfg: c, apps: map[id.App]map[run]*instance{}, cache: list.New(), live: map[uint64]int64{}}
	var twice []wal.Position
	log, err := wal.Open(wal.Config{
		FS: c.FS, Dir: c.Dir, Store: string(c.Store),
		SegmentBytes: c.SegmentBytes, ReserveBytes: c.ReserveBytes, Fatal: c.Fatal, Logger: c.Logger,
	}, func(p wal.Position, payload []byte) error {
		d, err := decodeBlock(payload)
		if err != nil {
			return fmt.Errorf("segment %d at %d: %w", p.Segment, p.Offset, err)
		}
		if old := s.found(&d, p); old != nil {
			twice = append(twice, *old)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open block store: %w", err)
	}
	s.log = log
	if err := log.Release(twice...); err != nil {
		return nil, errors.Join(fmt.Errorf("open block store: %w", err), log.Close())
	}
	return s, nil
}

// found enters a block of the log; a block that was stored, dropped and stored again is there twice.
func (s *Store) found(d *job.BlockData, p wal.Position) (old *wal.Position) {
	in := s.instance(d.ID)
	if e := in.blocks[d.ID.Number]; e != nil {
		old = &e.pos
		s.count(e, -1)
	}
	e := newEntry(d)
	e.pos, e.held = p, true
	close(e.stored)
	in.blocks[d.ID.Number] = e
	s.count(e, +1)
	return old
}

// count adds a block that is held at its position, or takes it off.
func (s *Store) count(e *entry, sign int) {
	bytes := int64(sign) * int64(e.size)
	s.blocks += sign
	s.bytes += bytes
	if s.live[e.pos.Segment] += bytes; s.live[e.pos.Segment] == 0 {
		delete(s.live, e.pos.Segment)
	}
}

func newEntry(d *job.BlockData) *entry {
	return &entry{id: d.ID, records: d.Records, crc: d.CRC, size: len(d.Data), stored: make(chan struct{})}
}

func (s *Store) instance(b id.Block) *instance {
	runs := s.apps[b.App]
	if runs == nil {
		runs = map[run]*instance{}
		s.apps[b.App] = runs
	}
	key := run{b.Stream, b.Instance}
	if runs[key] == nil {
		runs[key] = &instance{blocks: map[uint64]*entry{}}
	}
	return runs[key]
}

// lookup gives the entry of a block, nil where there is none.
func (s *Store) lookup(b id.Block) *entry {
	if in := s.apps[b.App][run{b.Stream, b.Instance}]; in != nil {
		return in.blocks[b.Number]
	}
	return nil
}

// Put stores a block; on return it is synced. A block that is held already is done at once. Errors: job.ErrFull at the
// disk reserve (try again later), job.ErrFenced for a block that the ledger is known not to need, *ConflictError.
// The bytes of d must not be changed afterwards.
func (s *Store) Put(ctx context.Context, d job.BlockData) error {
	if err := check(&d); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	for {
		e, mine, err := s.enter(&d)
		if err != nil {
			return err
		}
		if mine {
			return s.write(ctx, e, &d)
		}
		select {
		case <-e.stored:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
		held := e.held
		s.mu.Unlock()
		if held {
			return nil
		}
	}
}

// enter gives the block's entry; mine says that it is new and the caller must store it.
func (s *Store) enter(d *job.BlockData) (e *entry, mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.ended, d.ID.App) {
		return nil, false, fmt.Errorf("put block %v: its application is over: %w", d.ID, job.ErrFenced)
	}
	if in := s.apps[d.ID.App][run{d.ID.Stream, d.ID.Instance}]; in != nil && needless(in.told, d.ID.Number) {
		return nil, false, fmt.Errorf("put block %v: it is cleaned up to %d, and ended at %d if closed (%t): %w",
			d.ID, in.told.Cleaned, in.told.Last, in.told.Closed, job.ErrFenced)
	}
	if e := s.lookup(d.ID); e != nil {
		if e.crc != d.CRC || e.size != len(d.Data) {
			return nil, false, &ConflictError{ID: d.ID, Has: e.crc, Want: d.CRC}
		}
		return e, false, nil
	}
	e = newEntry(d)
	s.instance(d.ID).blocks[d.ID.Number] = e
	return e, true, nil
}

// write appends a block to the log and settles its entry.
func (s *Store) write(ctx context.Context, e *entry, d *job.BlockData) error {
	pos, err := s.log.Append(ctx, appendHeader(make([]byte, 0, recordHeader), d), d.Data)
	s.mu.Lock()
	defer close(e.stored)
	if err != nil {
		if !e.dropped {
			delete(s.instance(d.ID).blocks, d.ID.Number)
		}
		s.mu.Unlock()
		if errors.Is(err, wal.ErrReserve) {
			err = fmt.Errorf("%w: %w", job.ErrFull, err)
		}
		return fmt.Errorf("put block %v: %w", d.ID, err)
	}
	if e.dropped {
		s.mu.Unlock()
		return errors.Join(
			fmt.Errorf("put block %v: it is not needed any more: %w", d.ID, job.ErrFenced), s.log.Release(pos))
	}
	e.pos, e.held = pos, true
	s.count(e, +1)
	s.keep(e, d.Data)
	s.mu.Unlock()
	return nil
}

// keep puts a block's bytes into the cache and drops others over the limit.
func (s *Store) keep(e *entry, data []byte) {
	if e.use != nil || int64(len(data)) > s.cfg.MemoryBytes {
		return
	}
	e.data, e.use = data, s.cache.PushBack(e)
	s.cached += int64(e.size)
	for s.cached > s.cfg.MemoryBytes {
		s.evict(s.cache.Front().Value.(*entry))
	}
}

func (s *Store) evict(e *entry) {
	if e.use == nil {
		return
	}
	s.cache.Remove(e.use)
	s.cached -= int64(e.size)
	e.data, e.use = nil, nil
}

// Get reads a block; its bytes must not be changed. job.ErrNoBlock says that it is not held.
func (s *Store) Get(b id.Block) (job.BlockData, error) {
	s.mu.Lock()
	e := s.lookup(b)
	if e == nil || !e.held {
		s.mu.Unlock()
		return job.BlockData{}, fmt.Errorf("get block %v: %w", b, job.ErrNoBlock)
	}
	d := job.BlockData{ID: b, Records: e.records, CRC: e.crc, Data: e.data}
	if e.use != nil {
		s.cache.MoveToBack(e.use)
		s.mu.Unlock()
		return d, nil
	}
	pos := e.pos
	s.mu.Unlock()
	return s.load(e, pos)
}

// load reads a block from the log and puts it back into the cache.
func (s *Store) load(e *entry, pos wal.Position) (job.BlockData, error) {
	payload, err := s.log.Read(pos)
	for errors.Is(err, wal.ErrNoRecord) {
		now, held := s.place(e)
		if !held || now == pos {
			err = fmt.Errorf("%w: %w", job.ErrNoBlock, err) // dropped meanwhile
			break
		}
		pos = now // moved meanwhile
		payload, err = s.log.Read(pos)
	}
	if err != nil {
		return job.BlockData{}, fmt.Errorf("get block %v: %w", e.id, err)
	}
	d, err := decodeBlock(payload)
	if err != nil {
		return job.BlockData{}, fmt.Errorf("get block %v: %w", e.id, err)
	}
	if d.ID != e.id {
		return job.BlockData{}, fmt.Errorf("get block %v: the log has block %v at its place", e.id, d.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lookup(e.id) == e {
		s.keep(e, d.Data)
	}
	return d, nil
}

// Inventory lists the blocks held, in order.
func (s *Store) Inventory() []id.Block {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]id.Block, 0, s.blocks)
	for _, runs := range s.apps {
		for _, in := range runs {
			for _, e := range in.blocks {
				if e.held {
					list = append(list, e.id)
				}
			}
		}
	}
	slices.SortFunc(list, id.Block.Compare)
	return list
}

// Stats gives what is held now.
func (s *Store) Stats() Stats {
	log := s.log.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Blocks: s.blocks, Bytes: s.bytes, MemoryBytes: s.cached, Log: log}
}

// Close closes the log.
func (s *Store) Close() error { return s.log.Close() }

func byNumber(a, b *entry) int { return cmp.Compare(a.id.Number, b.id.Number) }
