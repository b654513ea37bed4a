package checker

import (
	"encoding/json"
	"fmt"
)

// Leadership is one that the ledger tells of.
type Leadership struct {
	Index uint64 // of the entry that opened it
	Term  uint64
	Node  string
}

// Leaderships gives the leaderships of a run in order, by the ledger of the most up-to-date node.
func Leaderships(run *Run) ([]Leadership, error) {
	dumps, err := readDumps(run)
	if err != nil || len(dumps) == 0 {
		return nil, err
	}
	var all []Leadership
	for i := range dumps[0].lines {
		l := &dumps[0].lines[i]
		if l.Kind != "Epoch" || l.Result != nil && !l.now() {
			continue
		}
		var c struct {
			Term uint64 `json:"term"`
			Name string `json:"name"`
		}
		if err := json.Unmarshal(l.Command, &c); err != nil {
			return nil, fmt.Errorf("ledger of %s, entry %d: %w", dumps[0].node, l.Index, err)
		}
		all = append(all, Leadership{Index: l.Index, Term: c.Term, Node: c.Name})
	}
	return all, nil
}
