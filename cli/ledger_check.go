package cli

import (
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftstream/raftstream/internal/raftnode"
)

// ledgerCheckJSON is what ledger check says.
type ledgerCheckJSON struct {
	Agree       bool              `json:"agree"`
	CommonIndex uint64            `json:"common_index"`
	Nodes       []checkedNodeJSON `json:"nodes"`
	Problems    []string          `json:"problems"`
	Notes       []string          `json:"notes"`
}

type checkedNodeJSON struct {
	Data          string `json:"data"`
	Node          string `json:"node"`
	NodeID        string `json:"node_id"`
	Term          uint64 `json:"term"`
	FirstIndex    uint64 `json:"first_index"`
	LastIndex     uint64 `json:"last_index"`
	SnapshotIndex uint64 `json:"snapshot_index"`
	AppliedIndex  uint64 `json:"applied_index"`
	StateHash     string `json:"state_hash"` // at the common index, empty where it is not known
}

func (e *env) ledgerCheckCommand(g *globals) *cobra.Command {
	var data []string
	cmd := &cobra.Command{
		Use:   "check --data DIR --data DIR...",
		Short: "Hold the logs of nodes that do not run against each other",
		Long: "Reads the ledgers of several stopped nodes of one cluster, changes nothing, and checks that they agree: entries of equal\n" +
			"index and term are equal, logs differ at their ends at most, where nothing was committed, and the states that they lead to\n" +
			"have equal hashes at the last index that all have. One directory alone is checked in itself. Exit status 1 if not.",
		Example: "  raftstream ledger check --data /backup/n1 --data /backup/n2 --data /backup/n3",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if len(data) == 0 {
				return usagef("flag --data is missing: the data directories of nodes that do not run")
			}
			return e.ledgerCheck(g, data)
		},
	}
	cmd.Flags().StringArrayVar(&data, "data", nil, "data directory of a node that does not run; repeat it for more nodes")
	return cmd
}

// comparison is the logs that are held against each other.
type comparison struct {
	out  ledgerCheckJSON
	logs []checkedLog
}

// checkedLog is one node's log.
type checkedLog struct {
	data    string
	name    string
	replay  *replay
	entries map[uint64]checkedEntry
	last    uint64
}

type checkedEntry struct {
	term uint64
	sum  uint32 // of kind and data
}

func (c *comparison) problem(format string, args ...any) {
	c.out.Problems = append(c.out.Problems, fmt.Sprintf(format, args...))
}

func (e *env) ledgerCheck(g *globals, data []string) (err error) {
	c := &comparison{out: ledgerCheckJSON{Problems: []string{}, Notes: []string{}}}
	defer func() {
		for _, l := range c.logs {
			err = errors.Join(err, l.replay.close())
		}
	}()
	for _, dir := range data {
		r, err := openReplay(dir)
		if err != nil {
			return err
		}
		l := checkedLog{data: dir, name: r.dir.Name(), replay: r, entries: map[uint64]checkedEntry{}, last: max(r.raft.Last, r.raft.SnapshotIndex)}
		c.logs = append(c.logs, l)
		for entry, err := range r.raft.Entries() {
			if err != nil {
				c.problem("%s: %v", l.name, err)
				break
			}
			l.entries[entry.Index] = checkedEntry{entry.Term, sumOf(entry)}
		}
		l.forgetReplaced()
	}
	c.compare()
	c.states()
	c.out.Agree = len(c.out.Problems) == 0
	return e.printCheck(g, &c.out)
}

// forgetReplaced leaves out entries that a snapshot of a leader's replaces, where a crash kept them from being removed:
// they may be of another history.
func (l *checkedLog) forgetReplaced() {
	end := l.replay.raft.SnapshotIndex
	if at, ok := l.entries[end]; end == 0 || ok && at.term == l.replay.raft.SnapshotTerm {
		return
	}
	maps.DeleteFunc(l.entries, func(i uint64, _ checkedEntry) bool { return i <= end })
}

func sumOf(e raftnode.StoppedEntry) uint32 {
	sum := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(e.Kind), sum), sum, e.Data)
}

// compare holds the entries of every two logs against each other and finds the last index that all have alike.
func (c *comparison) compare() {
	common := uint64(math.MaxUint64)
	for i := range c.logs {
		common = min(common, c.logs[i].last)
		for k := range i {
			if differ := c.pair(&c.logs[k], &c.logs[i]); differ > 0 {
				common = min(common, differ-1)
			}
		}
	}
	c.out.CommonIndex = common
}

// pair gives the first index at which two logs differ, 0 for none. Once terms differ, no later entries may be alike: an
// entry's index and term name everything before it.
func (c *comparison) pair(a, b *checkedLog) (differ uint64) {
	if x, y := a.replay.dir.Cluster(), b.replay.dir.Cluster(); x != y {
		c.problem("%s is of cluster %q, %s of cluster %q", a.name, x, b.name, y)
	}
	first := max(a.replay.raft.First, b.replay.raft.First, 1)
	for i := first; i <= min(a.last, b.last); i++ {
		x, inA := a.entries[i]
		y, inB := b.entries[i]
		switch {
		case !inA || !inB:
			continue
		case x.term != y.term && differ == 0:
			differ = i
		case x.term != y.term:
		case differ > 0:
			c.problem("entry %d is of term %d in %s and %s, but entry %d differs", i, x.term, a.name, b.name, differ)
			return differ
		case x.sum != y.sum:
			c.problem("entry %d of term %d differs between %s and %s", i, x.term, a.name, b.name)
			return i
		}
	}
	if differ == 0 {
		return 0
	}
	if s := max(a.replay.raft.SnapshotIndex, b.replay.raft.SnapshotIndex); differ <= s {
		c.problem("entry %d differs between %s and %s, and a snapshot of %d says that it is committed", differ, a.name, b.name, s)
	}
	c.out.Notes = append(c.out.Notes, fmt.Sprintf("from entry %d on %s (to %d) and %s (to %d) are of different terms: one of them holds what was not committed",
		differ, a.name, a.last, b.name, b.last))
	return differ
}

// states applies every log up to the common index and compares what comes out.
func (c *comparison) states() {
	was := -1
	for i := range c.logs {
		l := &c.logs[i]
		head := l.replay.headJSON()
		n := checkedNodeJSON{
			Data: l.data, Node: head.Node, NodeID: head.NodeID, Term: head.Term, FirstIndex: head.FirstIndex, LastIndex: head.LastIndex,
			SnapshotIndex: head.SnapshotIndex,
		}
		err := l.replay.run(c.out.CommonIndex, func(*logged) error { return nil })
		switch {
		case errors.Is(err, errNotThatFar):
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s: %v", l.name, err))
		case err != nil:
			c.problem("%s: %v", l.name, err)
		default:
			v := l.replay.machine.View()
			n.AppliedIndex, n.StateHash = v.Index(), fmt.Sprintf("%x", v.Hash())
			if err := l.replay.machine.Check(); err != nil {
				c.problem("%s: the state of index %d: %v", l.name, v.Index(), err)
			}
			if was >= 0 && c.out.Nodes[was].StateHash != n.StateHash {
				c.problem("the state of index %d differs between %s and %s", c.out.CommonIndex, c.out.Nodes[was].Node, l.name)
			}
			was = i
		}
		c.out.Nodes = append(c.out.Nodes, n)
	}
}

func (e *env) printCheck(g *globals, j *ledgerCheckJSON) error {
	var failure error
	if !j.Agree {
		failure = errors.New("the ledgers do not agree: " + strings.Join(j.Problems, "; "))
	}
	if g.output == "json" {
		return errors.Join(printJSON(e.out, j), failure)
	}
	t := newTable(e.out, "NODE", "DATA", "TERM", "FIRST", "LAST", "SNAPSHOT", "APPLIED INDEX", "STATE HASH")
	for _, n := range j.Nodes {
		t.row(n.Node, n.Data, n.Term, n.FirstIndex, n.LastIndex, n.SnapshotIndex, n.AppliedIndex, n.StateHash)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, note := range j.Notes {
		if _, err := fmt.Fprintln(e.out, note); err != nil {
			return wroteOutput(err)
		}
	}
	if failure == nil {
		_, err := fmt.Fprintf(e.out, "the ledgers agree up to index %d\n", j.CommonIndex)
		return wroteOutput(err)
	}
	return failure
}
