package checker

import (
	"cmp"
	"slices"
)

// commits is what the ledger has of producers: which of their records were committed as one, and at which index.
type commits struct {
	runs map[commitID][]commit // in order, without overlaps
}

type commitID struct {
	app      uint64
	producer string
}

type commit struct{ first, last, index uint64 }

// readCommits reads the ledgers of a run. An error says that they do not go back to the beginning.
func readCommits(run *Run) (*commits, error) {
	log, err := wholeLog(run)
	if err != nil {
		return nil, err
	}
	c := &commits{runs: map[commitID][]commit{}}
	for _, a := range replay(log, Judging("commits", "")).apps {
		for _, b := range a.added {
			for _, r := range b.Ranges {
				id := commitID{a.id, string(r.Partition)}
				c.runs[id] = append(c.runs[id], commit{r.First, r.Last, b.index})
			}
		}
	}
	for _, runs := range c.runs {
		slices.SortFunc(runs, func(a, b commit) int { return cmp.Compare(a.first, b.first) })
	}
	return c, nil
}

// of gives the commits that hold records first to last of a producer, or some of them, in order.
func (c *commits) of(app uint64, producer string, first, last uint64) []commit {
	runs := c.runs[commitID{app, producer}]
	from, _ := slices.BinarySearchFunc(runs, first, func(k commit, n uint64) int { return cmp.Compare(k.last, n) })
	to := from
	for to < len(runs) && runs[to].first <= last {
		to++
	}
	return runs[from:to]
}
