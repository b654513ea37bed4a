package coordinator

import (
	"cmp"
	"maps"
	"slices"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

// unit is partitions of keyed state that tasks read together, and thus move together.
type unit struct {
	parts []statePart
	at    id.Session // that holds all of them, 0 where that is not one executor
}

// tie notes that a task read partitions together.
func (k *keyed) tie(parts []statePart) {
	for i := 1; i < len(parts); i++ {
		if a, b := k.tied(parts[0]), k.tied(parts[i]); a != b {
			k.ties[b] = a
		}
	}
}

// tied gives the partition that stands for all that are read together with one.
func (k *keyed) tied(p statePart) statePart {
	for {
		q, ok := k.ties[p]
		if !ok {
			return p
		}
		p = q
	}
}

// rebalance lets partitions move to executors that have fewer than others, where that makes them more equal: the
// checkpoint that was just committed is what they are restored from there, with the next batch. So executors that join
// get state. What one task reads moves together: else it would come back, or never go.
func (b *batch) rebalance(states []plan.State) {
	clear(b.keyed.moves)
	table, _ := b.cfg.Peers()
	b.keyed.holders.keep(table)
	among := b.trusted(table)
	have := map[id.Session]int{}
	for x := range among {
		if !b.suspected(x) {
			have[x] = 0
		}
	}
	if len(have) < 2 {
		return
	}
	units := b.units(states, among, have)
	sessions := slices.Sorted(maps.Keys(have))
	fewer := func(x, y id.Session) int { return cmp.Compare(have[x], have[y]) }
	for {
		most, least := slices.MaxFunc(sessions, fewer), slices.MinFunc(sessions, fewer)
		i := len(units) - 1
		for i >= 0 && (units[i].at != most || have[most] < have[least]+2*len(units[i].parts)) {
			i--
		}
		if i < 0 {
			return
		}
		u := units[i]
		u.at = least
		have[most] -= len(u.parts)
		have[least] += len(u.parts)
		for _, k := range u.parts {
			b.keyed.moves[k] = least
			b.log.Info("a partition of keyed state moves", "stream", int(k.stream), "part", k.part, "from", among[most].Name, "to", among[least].Name)
		}
	}
}

// units lists what may move, in order, and counts in have how many partitions executors hold.
func (b *batch) units(states []plan.State, among map[id.Session]job.Peer, have map[id.Session]int) (units []*unit) {
	of := map[statePart]*unit{}
	for _, st := range states {
		for p := range st.Partitions {
			k := statePart{st.Stream, p}
			x := b.holder(among, k, b.keyed.chain.version)
			if _, ok := have[x]; ok {
				have[x]++
			}
			u := of[b.keyed.tied(k)]
			if u == nil {
				u = &unit{at: x}
				of[b.keyed.tied(k)] = u
				units = append(units, u)
			}
			if u.parts = append(u.parts, k); u.at != x {
				u.at = 0
			}
		}
	}
	return units
}
