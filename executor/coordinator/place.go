package coordinator

import (
	"cmp"
	"slices"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// place gives every partition an executor: where most bytes of its blocks are, the least loaded among equals; or, for
// partitions that read no blocks of these executors, evenly and always the same one, whichever are pending, until it does
// not reach the holders of its blocks: then the next one. A partition that has a home goes there in any case.
func (s *stage) place(parts []int, peers []job.Peer, homes map[int]job.Peer) []*share {
	peers = slices.SortedFunc(slices.Values(peers), func(a, b job.Peer) int { return cmp.Compare(a.Session, b.Session) })
	shares := make([]*share, len(peers))
	of := map[id.Session]*share{}
	for i, p := range peers {
		shares[i] = &share{peer: p}
		of[p.Session] = shares[i]
	}
	anyone := shares
	for _, part := range parts {
		to := anyone[(part+s.missed[part])%len(anyone)]
		if home, ok := homes[part]; ok {
			if to = of[home.Session]; to == nil { // it has just not answered, and has what others do not have
				to = &share{peer: home}
				of[home.Session] = to
				shares = append(shares, to)
			}
		} else if at := s.nearest(part, anyone); at != nil {
			to = at
		}
		to.parts = append(to.parts, part)
	}
	return slices.DeleteFunc(shares, func(x *share) bool { return len(x.parts) == 0 })
}

// nearest gives the share whose executor holds most bytes that the partition reads, nil if none holds any.
func (s *stage) nearest(part int, shares []*share) *share {
	at := map[id.Store]int64{}
	s.weigh(s.of, part, at)
	var best *share
	for _, x := range shares {
		here := at[x.peer.Store]
		switch {
		case here == 0:
		case best == nil || here > at[best.peer.Store]:
			best = x
		case here == at[best.peer.Store] && x.load() < best.load():
			best = x
		}
	}
	return best
}

func (x *share) load() float64 { return float64(len(x.parts)) / float64(max(x.peer.Slots, 1)) }

// weigh adds up, by store, the bytes of blocks that a partition reads in its own task.
func (s *stage) weigh(d dataset.Dataset, part int, at map[id.Store]int64) {
	deps := d.Deps()
	if len(deps) == 0 {
		blocks := s.inputs[source{d.ID().Stream, d.ID().Time}].Blocks
		if part < len(blocks) {
			for _, store := range blocks[part].Stores {
				at[store] += blocks[part].Bytes
			}
		}
		return
	}
	for _, dep := range deps {
		if dep.Narrow == nil {
			continue
		}
		for _, p := range dep.Narrow(part) {
			s.weigh(dep.On, p, at)
		}
	}
}
