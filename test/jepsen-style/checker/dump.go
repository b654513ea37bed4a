package checker

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// dump is the ledger of a stopped node, as `raftstream ledger log -o json` prints it.
type dump struct {
	node  string
	first uint64 // index of the first entry
	taken uint64 // index of the newest snapshot, 0 without one
	lines []ledgerLine
	// Applying all that is there leads to the state with this hash.
	applied uint64
	hash    string
}

// ledgerLine is a command of an entry, or an entry of Raft's own (N is 0 then).
type ledgerLine struct {
	Index     uint64          `json:"index"`
	Term      uint64          `json:"term"` // of the entry
	N         int             `json:"n"`
	Kind      string          `json:"kind"`
	Proposed  uint64          `json:"proposed_term"` // of the leadership that decided; 0: not told
	Command   json.RawMessage `json:"command"`
	CRC       string          `json:"crc"`
	Result    *ledgerResult   `json:"result"`    // none where the state before the entry is not known
	Allocated []blockID       `json:"allocated"` // what BlocksAllocated gave to its first batch
}

// ledgerResult is what the ledger made of a command.
type ledgerResult struct {
	Outcome string `json:"outcome"`
	Index   uint64 `json:"index"`
	Stale   bool   `json:"stale"` // refused, because who proposed it led no more
	Blocks  []struct {
		Outcome string `json:"outcome"`
		Index   uint64 `json:"index"`
	} `json:"blocks"`
}

// done is the outcome of what took effect, now or when it was applied before.
const done = "done"

// now reports whether the command took effect by this line.
func (l *ledgerLine) now() bool { return l.did() && l.Result.Index == l.Index }

// did reports whether the command took effect, now or before.
func (l *ledgerLine) did() bool { return l.Result != nil && l.Result.Outcome == done }

// blockID is the name of a received block.
type blockID struct {
	App      uint64 `json:"app"`
	Stream   int32  `json:"stream"`
	Instance uint64 `json:"instance"`
	Number   uint64 `json:"number"`
}

// String gives the block as the ledger's own messages do.
func (b blockID) String() string {
	return fmt.Sprintf("%d-%d-%d-%d", b.App, b.Stream, b.Instance, b.Number)
}

// readDump reads the dump of one node. One that has no last line broke off.
func readDump(node, path string) (*dump, error) {
	d := &dump{node: node}
	n, ended := 0, false
	err := linesOf(path, func(line []byte) error {
		n++
		var l struct {
			ledgerLine
			First *uint64 `json:"first_index"`
			Taken uint64  `json:"snapshot_index"`
			Hash  string  `json:"state_hash"`
			End   uint64  `json:"applied_index"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		switch {
		case ended:
			return fmt.Errorf("%s, line %d is behind the end", path, n)
		case l.First != nil:
			d.first, d.taken = *l.First, l.Taken
		case l.Hash != "":
			d.applied, d.hash, ended = l.End, l.Hash, true
		case l.Index == 0 || l.Kind == "":
			return fmt.Errorf("%s, line %d: expected a command of an entry", path, n)
		default:
			d.lines = append(d.lines, l.ledgerLine)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ledger of %s: %w", node, err)
	}
	if !ended {
		return nil, fmt.Errorf("ledger of %s: %s breaks off after %d lines", node, path, n)
	}
	d.cut()
	if d.first == 0 && len(d.lines) > 0 {
		d.first = d.lines[0].Index
	}
	return d, nil
}

// cut leaves out what is before a gap that the snapshot fills: a crash just after a leader's snapshot was installed leaves
// entries there that nobody reads any more.
func (d *dump) cut() {
	for i := len(d.lines) - 1; i > 0; i-- {
		if at := d.lines[i].Index; at > d.lines[i-1].Index+1 && at <= d.taken+1 {
			d.lines = d.lines[i:]
			d.first = at
			return
		}
	}
}

// last gives the term and index of the last entry; zeros where there is none.
func (d *dump) last() (term, index uint64) {
	if n := len(d.lines); n > 0 {
		return d.lines[n-1].Term, d.lines[n-1].Index
	}
	return 0, 0
}

// readDumps reads the ledgers of all nodes, the most up-to-date first, as Raft compares logs: among the logs of all voters
// that one holds every committed entry.
func readDumps(run *Run) ([]*dump, error) {
	var dumps []*dump
	for _, node := range slices.Sorted(maps.Keys(run.Ledgers)) {
		d, err := readDump(node, run.Ledgers[node])
		if err != nil {
			return nil, err
		}
		dumps = append(dumps, d)
	}
	slices.SortStableFunc(dumps, func(a, b *dump) int {
		at, ai := a.last()
		bt, bi := b.last()
		if at != bt {
			return compare(bt, at)
		}
		return compare(bi, ai)
	})
	return dumps, nil
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// entries groups the lines of a log by entry.
func entries(lines []ledgerLine) [][]ledgerLine {
	var all [][]ledgerLine
	for i := 0; i < len(lines); {
		j := i + 1
		for j < len(lines) && lines[j].Index == lines[i].Index {
			j++
		}
		all = append(all, lines[i:j])
		i = j
	}
	return all
}

// whole puts one log together out of those of all nodes: each entry as the most up-to-date node has it that still has it,
// and with results where any node has them. An error says that entries are missing; it is errTrimmed where that is in order.
func whole(dumps []*dump) ([]ledgerLine, error) {
	if len(dumps) == 0 {
		return nil, fmt.Errorf("there is no ledger of any node")
	}
	_, last := dumps[0].last()
	byIndex := make(map[uint64][]ledgerLine, last)
	for i, d := range dumps {
		for _, e := range entries(d.lines) {
			index := e[0].Index
			known, ok := byIndex[index]
			if !ok && (i == 0 || index <= last) || ok && known[0].Result == nil && e[0].Result != nil && sameEntry(known, e) {
				byIndex[index] = e
			}
		}
	}
	var all []ledgerLine
	var gap uint64 // the last entry that is not there
	var err error
	for index := uint64(1); index <= last; index++ {
		e, ok := byIndex[index]
		if ok && !slices.ContainsFunc(e, func(l ledgerLine) bool { return l.N > 0 && l.Result == nil }) {
			all = append(all, e...)
			continue
		}
		if gap = index; err == nil && !ok {
			err = fmt.Errorf("no ledger has entry %d of %d: it cannot be checked what became of it", index, last)
		} else if err == nil {
			err = fmt.Errorf("no ledger says what became of entry %d of %d", index, last)
		}
	}
	if err != nil && slices.ContainsFunc(dumps, func(d *dump) bool { return d.taken >= gap }) {
		err = fmt.Errorf("%w: %w", err, errTrimmed)
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// wholeLog is whole of the ledgers of a run.
func wholeLog(run *Run) ([]ledgerLine, error) {
	dumps, err := readDumps(run)
	if err != nil {
		return nil, err
	}
	return whole(dumps)
}

// sameEntry reports whether two nodes hold the same under one index.
func sameEntry(a, b []ledgerLine) bool {
	return slices.EqualFunc(a, b, func(x, y ledgerLine) bool {
		return x.Term == y.Term && x.N == y.N && x.Kind == y.Kind && x.CRC == y.CRC && string(x.Command) == string(y.Command)
	})
}

// sameResults reports whether two nodes came to the same by the same entry, where both tell.
func sameResults(a, b []ledgerLine) bool {
	return slices.EqualFunc(a, b, func(x, y ledgerLine) bool {
		if x.Result == nil || y.Result == nil {
			return true
		}
		return x.Result.Outcome == y.Result.Outcome && x.Result.Index == y.Result.Index &&
			slices.Equal(x.Result.Blocks, y.Result.Blocks) && slices.Equal(x.Allocated, y.Allocated)
	})
}
