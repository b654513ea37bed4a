package blocks

import (
	"errors"
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/wal"
)

// needless says whether the ledger does not need a block, and never will: it is cleaned, or it is an orphan of a closed
// instance, above the last one that was committed (rule 5). A block above Last of an open instance may yet be added.
func needless(p job.InstanceProgress, number uint64) bool {
	return number <= p.Cleaned || p.Closed && number > p.Last
}

// Progress drops what the ledger does not need any more. What it says is committed, so an older message is merely
// weaker and the order does not matter. An error is one of the disk; the blocks are dropped all the same. One goroutine
// calls it.
func (s *Store) Progress(p *job.Progress) error {
	s.mu.Lock()
	var free []wal.Position
	if p.Ended {
		free = s.end(p.App)
	} else if !slices.Contains(s.ended, p.App) {
		free = s.progress(p)
	}
	s.mu.Unlock()
	return errors.Join(s.release(free), s.compact())
}

func (s *Store) end(app id.App) (free []wal.Position) {
	for _, in := range s.apps[app] {
		for _, e := range in.sorted() {
			free = s.drop(in, e, free)
		}
	}
	delete(s.apps, app)
	if !slices.Contains(s.ended, app) {
		s.ended = append(s.ended, app)
		s.ended = s.ended[max(0, len(s.ended)-endedMax):]
	}
	return free
}

func (s *Store) progress(p *job.Progress) (free []wal.Position) {
	named := map[run]bool{}
	for _, told := range p.Instances {
		named[run{told.Stream, told.Instance}] = true
		in := s.instance(id.Block{App: p.App, Stream: told.Stream, Instance: told.Instance})
		in.hear(told)
		for _, e := range in.sorted() {
			if needless(in.told, e.id.Number) {
				free = s.drop(in, e, free)
			}
		}
	}
	// An instance that the ledger does not name and of which nothing is held need not be remembered.
	for key, in := range s.apps[p.App] {
		if !named[key] && len(in.blocks) == 0 {
			delete(s.apps[p.App], key)
		}
	}
	return free
}

// hear merges what the ledger says into what it said before.
func (in *instance) hear(p job.InstanceProgress) {
	p.Cleaned = max(p.Cleaned, in.told.Cleaned)
	p.Last = max(p.Last, in.told.Last)
	p.Closed = p.Closed || in.told.Closed
	in.told = p
}

func (in *instance) sorted() []*entry {
	list := make([]*entry, 0, len(in.blocks))
	for _, e := range in.blocks {
		list = append(list, e)
	}
	slices.SortFunc(list, byNumber)
	return list
}

// drop forgets a block. One that is being stored is dropped by who stores it.
func (s *Store) drop(in *instance, e *entry, free []wal.Position) []wal.Position {
	delete(in.blocks, e.id.Number)
	if !e.held {
		e.dropped = true
		return free
	}
	s.evict(e)
	s.count(e, -1)
	return append(free, e.pos)
}

// Delete drops blocks that the ledger said may be deleted, in answer to an inventory. Unknown ones are no error.
func (s *Store) Delete(blocks []id.Block) error {
	s.mu.Lock()
	var free []wal.Position
	for _, b := range blocks {
		in := s.apps[b.App][run{b.Stream, b.Instance}]
		if in == nil || in.blocks[b.Number] == nil {
			continue
		}
		free = s.drop(in, in.blocks[b.Number], free)
	}
	s.mu.Unlock()
	return s.release(free)
}

func (s *Store) release(free []wal.Position) error {
	if len(free) == 0 {
		return nil
	}
	failpoint.Hit(failpoint.BlocksDropped)
	if err := s.log.Release(free...); err != nil {
		return fmt.Errorf("drop %d blocks: %w", len(free), err)
	}
	return nil
}
