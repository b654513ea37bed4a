package state_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/state"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// won is a batch that the ledger completed: what it changed, and the words after it.
type won struct {
	version job.Version
	changes executortest.Changes
	words   executortest.Words
}

// history is a partition's life on one executor after another, with a map as oracle.
type history struct {
	t       *rapid.T
	store   *state.Store
	log     []won // completed batches, from zero time
	chain   [][]byte
	covered id.Time // of the checkpoint
	at      int     // of the checkpoint in log
	attempt id.Attempt
}

// base makes sure that the last version is held: restored from the chain, the batches after it computed again.
func (h *history) base() job.Version {
	for i := h.at + 1; i < len(h.log); i++ {
		if h.store.Has(app, held(0, h.log[i].version)) {
			continue
		}
		h.advance(h.log[i-1].version, h.log[i].version, h.log[i].changes)
	}
	return h.log[len(h.log)-1].version
}

func (h *history) load(at job.Version) func(context.Context) (dataset.State, error) {
	switch {
	case at.Attempt == 0:
		return empty
	case at == h.log[h.at].version:
		return func(context.Context) (dataset.State, error) {
			s := executortest.NewTable()
			return s, state.Restore(app, held(0, at), s, chunks(h.chain))
		}
	}
	return nil
}

// advance makes a delta and gives the words with it.
func (h *history) advance(base, makes job.Version, changes executortest.Changes) executortest.Words {
	h.t.Helper()
	table, delta, release, err := h.store.Advance(context.Background(), app, held(0, base), makes, h.load(base),
		func(dataset.State) dataset.Delta { return changes })
	if err != nil {
		h.t.Fatalf("advance from %v to %v: %v", base, makes, err)
	}
	defer release()
	return view(table, delta)
}

// batch runs some attempts of the next batch, one of which wins.
func (h *history) batch() {
	base := h.base()
	last := h.log[len(h.log)-1]
	var attempts []won
	for range rapid.IntRange(1, 3).Draw(h.t, "attempts") {
		h.attempt++
		a := won{version: v(base.Time+1000, h.attempt), words: maps.Clone(last.words)}
		for range rapid.IntRange(0, 4).Draw(h.t, "changes") {
			c := executortest.Change{Word: fmt.Sprint("w", rapid.IntRange(0, 9).Draw(h.t, "word")), N: int(h.attempt)}
			c.Remove = rapid.IntRange(0, 3).Draw(h.t, "remove") == 0
			if slices.ContainsFunc(a.changes, func(o executortest.Change) bool { return o.Word == c.Word }) {
				continue
			}
			a.changes = append(a.changes, c)
			if a.words[c.Word] = c.N; c.Remove {
				delete(a.words, c.Word)
			}
		}
		if got := h.advance(base, a.version, a.changes); !maps.Equal(got, a.words) {
			h.t.Fatalf("attempt %v sees %v, expected %v", a.version, got, a.words)
		}
		attempts = append(attempts, a)
	}
	h.log = append(h.log, rapid.SampledFrom(attempts).Draw(h.t, "winner"))
}

// checkpoint makes an image or changes of the last completed batch.
func (h *history) checkpoint() {
	at := h.base()
	full := h.chain == nil || rapid.Bool().Draw(h.t, "full")
	var made [][]byte
	err := h.store.Checkpoint(context.Background(), app, held(0, at), full, h.covered, h.load(at), func(c []byte, _ int64) error {
		made = append(made, c)
		return nil
	})
	if err != nil {
		h.t.Fatalf("checkpoint at %v: %v", at, err)
	}
	if rapid.IntRange(0, 3).Draw(h.t, "refused") == 0 {
		return // the ledger did not take it: nothing has to be undone
	}
	if full {
		h.chain = nil
	}
	h.chain = append(h.chain, made...)
	h.covered, h.at = at.Time, len(h.log)-1
	if rapid.Bool().Draw(h.t, "told") {
		h.store.Progress(&job.Progress{App: app, Completed: at.Time, Checkpointed: h.covered})
	}
}

// Rule 7: whatever attempts, executors and checkpoints get lost, the state is the fold of the winners' changes.
func TestStateIsTheFoldOfTheWinners(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{t: t, store: newStore(), log: []won{{words: executortest.Words{}}}}
		t.Repeat(map[string]func(*rapid.T){
			"batch":      func(*rapid.T) { h.batch() },
			"checkpoint": func(*rapid.T) { h.checkpoint() },
			"executor dies": func(*rapid.T) {
				h.store = newStore()
			},
			"": func(t *rapid.T) {
				last := h.log[len(h.log)-1]
				if got := h.advance(h.base(), v(last.version.Time+1000, 1<<40), nil); !maps.Equal(got, last.words) {
					t.Fatalf("state at %v is %v, expected %v", last.version, got, last.words)
				}
			},
		})
	})
}
