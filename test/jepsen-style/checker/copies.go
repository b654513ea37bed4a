package checker

import (
	"encoding/json"
	"slices"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// Ledger checks the ledgers of all nodes, as they were dumped after the run: first that they are copies of one log, then
// that the log keeps the rules of the house (docs/architecture.md, sections 6 and 10).
func Ledger(run *Run) []Result {
	dumps, err := readDumps(run)
	if err != nil {
		j := Judging("ledger-copies", "")
		j.Doubt("%v", err)
		return []Result{j.Result()}
	}
	return []Result{copies(dumps, run), rules(dumps)}
}

// copies holds the logs of all nodes against each other: the same entries at the same index, and the same state after
// them. Entries at the end of a log may differ, if they are of another term and no client has ever heard of their index:
// they were never committed. What clients have heard of is held against a majority of logs only: one of them has it.
func copies(dumps []*dump, run *Run) Result {
	j := Judging("ledger-copies", "")
	heard := heardOf(run.Events)
	if n := voters(dumps, len(run.Nodes)); 2*len(dumps) <= n {
		j.Doubt("there are ledgers of %d drivers, of %d", len(dumps), n)
		heard = 0
	}
	base := map[uint64][]ledgerLine{} // entries by index, of the nodes before
	var last uint64
	hashes := map[uint64]*dump{}
	for i, d := range dumps {
		j.See("nodes", 1)
		all := entries(d.lines)
		inOrder(j, d, all)
		reaches(j, d, run.Events)
		if i == 0 {
			_, last = d.last()
			if heard > last {
				j.Bad("a client has heard of index %d, and no ledger goes beyond %d (%s)", heard, last, d.node)
			}
		}
		same := true
		for _, e := range all {
			index := e[0].Index
			known, ok := base[index]
			switch {
			case !ok && (i == 0 || index <= last):
				base[index] = e
				j.See("entries", 1)
			case ok && sameEntry(known, e):
				j.See("entries", 1)
				same = agree(j, d, known, e, same)
			default:
				same = differ(j, d, known, e, same, heard)
			}
		}
		if !same || d.hash == "" {
			continue
		}
		if other, ok := hashes[d.applied]; ok && other.hash != d.hash {
			j.Bad("at index %d the state of %s is %.16s, that of %s %.16s: the same log gave different states", d.applied, d.node, d.hash, other.node, other.hash)
		} else if ok {
			j.See("equal states", 1)
		} else {
			hashes[d.applied] = d
		}
	}
	return j.Result()
}

// reaches checks that a node's ledger still has what the node has shown to be applied, and that its state is that of all of
// it: what is applied is durable, and no later start of the node takes it back.
func reaches(j *Judge, d *dump, events []history.Event) {
	var shown uint64
	for i := range events {
		if e := &events[i]; e.Type == history.OK && e.Process != history.Nemesis && e.Node == d.node {
			shown = max(shown, e.RaftIndex)
		}
	}
	if _, last := d.last(); max(last, d.applied) < shown {
		j.Bad("%s has shown its state at index %d, and its ledger ends at %d", d.node, shown, max(last, d.applied))
	}
	for _, l := range slices.Backward(d.lines) {
		if l.N > 0 {
			if d.applied < l.Index {
				j.Bad("the state of %s is that of index %d, its ledger has commands up to %d", d.node, d.applied, l.Index)
			}
			return
		}
	}
}

// voters counts the drivers in the last configuration of the most up-to-date log; otherwise where it has none.
func voters(dumps []*dump, otherwise int) int {
	if len(dumps) == 0 {
		return otherwise
	}
	for _, l := range slices.Backward(dumps[0].lines) {
		var c struct {
			Servers []struct {
				Voter bool `json:"voter"`
			} `json:"servers"`
		}
		if l.Kind != "raft/configuration" || json.Unmarshal(l.Command, &c) != nil {
			continue
		}
		n := 0
		for _, s := range c.Servers {
			if s.Voter {
				n++
			}
		}
		return n
	}
	return otherwise
}

// heardOf gives the highest index that a client was told of: it and all before it are committed.
func heardOf(events []history.Event) uint64 {
	var highest uint64
	for i := range events {
		if e := &events[i]; e.Type == history.OK && e.Process != history.Nemesis {
			highest = max(highest, e.RaftIndex)
		}
	}
	return highest
}

// inOrder checks one log by itself: no entry is missing, and terms never go back.
func inOrder(j *Judge, d *dump, all [][]ledgerLine) {
	for i := 1; i < len(all); i++ {
		a, b := all[i-1][0], all[i][0]
		if b.Index != a.Index+1 {
			j.Bad("%s: entry %d is followed by %d", d.node, a.Index, b.Index)
		}
		if b.Term < a.Term {
			j.Bad("%s: entry %d is of term %d, the one before of %d: terms never go back", d.node, b.Index, b.Term, a.Term)
		}
	}
}

// agree is about an entry that is the same as elsewhere.
func agree(j *Judge, d *dump, known, e []ledgerLine, same bool) bool {
	if !same {
		j.Bad("%s: entry %d is the same as elsewhere, and one before it is not", d.node, e[0].Index)
	}
	if !sameResults(known, e) {
		j.Bad("%s: entry %d had another result than elsewhere: the same log gave different states", d.node, e[0].Index)
	}
	return same
}

// differ is about an entry that is not what others have under its index, or that nobody else has.
func differ(j *Judge, d *dump, known, e []ledgerLine, same bool, heard uint64) bool {
	index, term := e[0].Index, e[0].Term
	switch {
	case len(known) > 0 && known[0].Term == term:
		j.Bad("%s: entry %d of term %d is another one elsewhere", d.node, index, term)
	case index <= heard && same: // the first one says it all
		j.Bad("%s: entry %d is of term %d, elsewhere it is not, and clients have heard of index %d", d.node, index, term, heard)
	default:
		j.Found.Counts["uncommitted"]++
	}
	return false
}
