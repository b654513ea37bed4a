package simulation_test

import (
	"encoding/binary"
	"hash/fnv"
	"sync"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// hashEvery is at which indexes the whole state is hashed and checked; what an entry was and what it answered is compared
// at every one.
const hashEvery = 32

// ledgerWatch holds what every node applied against what the others did.
type ledgerWatch struct {
	sim *sim

	mu      sync.Mutex
	digests map[uint64]uint64      // of an entry and what it answered, by index
	states  map[uint64][32]byte    // hashes of states
	batches map[batchOf]*batchFact // what was allocated, once
	offices map[id.App]id.Office   // highest seen
	live    map[id.App]fsm.View    // last one in which it had not ended: few of its batches are kept after that
	epoch   id.Epoch               // highest seen
	last    map[*process]uint64    // last index
	top     uint64
}

type batchOf struct {
	app id.App
	at  id.Time
}

// batchFact is what never changes of a batch.
type batchFact struct {
	index   uint64
	records int64
	attempt id.Attempt // that completed it, 0 before
}

func newLedgerWatch(s *sim) *ledgerWatch {
	return &ledgerWatch{
		sim: s, digests: map[uint64]uint64{}, states: map[uint64][32]byte{}, batches: map[batchOf]*batchFact{},
		offices: map[id.App]id.Office{}, live: map[id.App]fsm.View{}, last: map[*process]uint64{},
	}
}

// applied is raftnode.Config.Applied of every node.
func (w *ledgerWatch) applied(p *process, v fsm.View, data []byte, results []fsm.Result) {
	index := v.Index()
	restored := data == nil
	hashed := index%hashEvery == 0 || restored
	var hash [32]byte
	if hashed {
		hash = v.Hash()
		if err := v.Check(); err != nil {
			w.sim.Errorf("%s at index %d: %v", p.node.name, index, err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if restored {
		if index < w.last[p] {
			w.sim.Errorf("%s went back from index %d to a snapshot of %d", p.node.name, w.last[p], index)
		}
		if w.last[p] > 0 {
			w.sim.seen(snapshotInstalled)
		}
	} else {
		digest := digestOf(data, results)
		if before, ok := w.digests[index]; ok && before != digest {
			w.sim.Errorf("%s answers entry %d otherwise than another node (invariant 11)", p.node.name, index)
		}
		w.digests[index] = digest
		if index <= w.last[p] {
			w.sim.Errorf("%s applied index %d after %d", p.node.name, index, w.last[p])
		}
	}
	w.last[p] = index
	if hashed {
		if before, ok := w.states[index]; ok && before != hash {
			w.sim.Errorf("%s has another state than another node at index %d (invariant 11)", p.node.name, index)
		}
		w.states[index] = hash
	}
	w.look(v, results, index > w.top)
	w.top = max(w.top, index)
}

func digestOf(data []byte, results []fsm.Result) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(data)
	var b []byte
	for _, r := range results {
		b = append(b[:0], byte(r.Outcome))
		b = binary.LittleEndian.AppendUint64(b, r.Index)
		b = append(b, r.Reason...)
		for _, k := range r.Blocks {
			b = append(b, byte(k.Outcome))
			b = binary.LittleEndian.AppendUint64(b, k.Index)
		}
		_, _ = h.Write(b)
	}
	return h.Sum64()
}

// look holds the batches of a view against what is known of them (rules 1 to 3 of the invariants). first says that no
// node was so far before.
func (w *ledgerWatch) look(v fsm.View, results []fsm.Result, first bool) {
	l := v.Leadership()
	for a := range v.Apps() {
		if a.Broken {
			w.sim.Errorf("application %s at index %d: %s", a.Name, v.Index(), a.Error)
		}
		if a.State == fsm.Failed && !userFailed(a.Error) {
			w.sim.Errorf("application %s failed at index %d: %s", a.Name, v.Index(), a.Error)
		}
		if b, ok := v.Batch(a.ID, a.Allocated); ok {
			w.batch(a, b)
		}
		if b, ok := v.Batch(a.ID, a.Completed); ok {
			w.batch(a, b)
		}
		if first && a.Live() {
			w.live[a.ID] = v
		}
		if first && a.Pending > 0 {
			if l.Epoch > w.epoch {
				w.sim.seen(leaderChangedWithPending)
			}
			if a.Office > w.offices[a.ID] && w.offices[a.ID] != 0 {
				w.sim.seen(officeMovedWithPending)
			}
		}
		w.offices[a.ID] = max(w.offices[a.ID], a.Office)
	}
	w.epoch = max(w.epoch, l.Epoch)
	if first {
		for _, r := range results {
			if r.Stale {
				w.sim.seen(staleRefused)
			}
		}
	}
}

func (w *ledgerWatch) batch(a *fsm.App, b *fsm.Batch) {
	k := batchOf{a.ID, b.Time}
	f := w.batches[k]
	if f == nil {
		f = &batchFact{index: b.Index, records: b.Records}
		w.batches[k] = f
	}
	if f.index != b.Index || f.records != b.Records {
		w.sim.Errorf("batch %d of %s: allocated %d records at index %d, then %d at %d", b.Time, a.Name, f.records, f.index, b.Records, b.Index)
	}
	if b.State != fsm.Completed {
		return
	}
	if f.attempt != 0 && f.attempt != b.Attempt {
		w.sim.Errorf("batch %d of %s: completed by attempt %d, then by %d (invariant 4)", b.Time, a.Name, f.attempt, b.Attempt)
	}
	if before, ok := w.live[a.ID]; ok && f.attempt == 0 {
		if was, ok := before.Batch(a.ID, b.Time); ok && was.State == fsm.Allocated && before.Attempt(a.ID, b.Time) != b.Attempt {
			w.sim.Errorf("batch %d of %s: completed by attempt %d, expected %d (rule 1)", b.Time, a.Name, b.Attempt, before.Attempt(a.ID, b.Time))
		}
	}
	f.attempt = b.Attempt
}

// ended gives the last view in which an application had not ended.
func (w *ledgerWatch) ended(app id.App) fsm.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live[app]
}

// fact gives what is known of a batch; false for nothing.
func (w *ledgerWatch) fact(app id.App, at id.Time) (batchFact, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, ok := w.batches[batchOf{app, at}]
	if !ok {
		return batchFact{}, false
	}
	return *f, true
}
