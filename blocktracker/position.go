package blocktracker

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/id"
)

func (s *State) position(app id.App, stream id.Stream, partition string) (*Position, bool) {
	return s.positions.Get(&Position{App: app, Stream: stream, Partition: partition})
}

// setPosition raises a position. Only Add and restoring do.
func (s *State) setPosition(app id.App, stream id.Stream, partition string, last uint64, nowMS int64) {
	s.PutPosition(&Position{App: app, Stream: stream, Partition: partition, Last: last, UsedMS: nowMS})
}

// PutPosition puts a position.
func (s *State) PutPosition(p *Position) {
	if old, ok := s.positions.Set(p); ok {
		s.ages.Delete(old)
	} else {
		s.tally(p, 1)
	}
	s.ages.Set(p)
}

func (s *State) dropPosition(p *Position) {
	s.positions.Delete(p)
	s.ages.Delete(p)
	s.tally(p, -1)
}

func (s *State) tally(p *Position, by int) {
	t, _ := s.tallies.Get(tally{app: p.App, stream: p.Stream})
	t = tally{app: p.App, stream: p.Stream, positions: t.positions + by}
	if t.positions == 0 {
		s.tallies.Delete(t)
		return
	}
	s.tallies.Set(t)
}

// makeRoom forgets positions so that a block with fresh new partitions fits: first a bounded number of those that have
// expired, then, at the limit, those used longest ago, but none that was used within PositionsSureMS or that b raises.
// What is forgotten is the same on every node: it depends on the commands alone.
func (s *State) makeRoom(b *Block, raised map[string]uint64, fresh int, nowMS int64) error {
	if fresh == 0 {
		return nil
	}
	app, stream := b.ID.App, b.ID.Stream
	t, _ := s.tallies.Get(tally{app: app, stream: stream})
	over := t.positions + fresh - MaxPositions
	var drop []*Position
	s.ages.Ascend(&Position{App: app, Stream: stream, UsedMS: minMS}, func(p *Position) bool {
		if p.App != app || p.Stream != stream {
			return false
		}
		if _, used := raised[p.Partition]; used {
			return true
		}
		expired := nowMS-p.UsedMS > PositionsKeptMS && len(drop) < positionsPerStep
		pressed := len(drop) < over && nowMS-p.UsedMS > PositionsSureMS
		if !expired && !pressed {
			return false
		}
		drop = append(drop, p)
		return true
	})
	if len(drop) < over {
		return fmt.Errorf("%w: %d partitions of stream %d were used in the last %d minutes, expected at most %d",
			ErrLimit, t.positions+fresh-len(drop), stream, PositionsSureMS/60_000, MaxPositions)
	}
	for _, p := range drop {
		s.dropPosition(p)
	}
	return nil
}

const minMS = -1 << 63
