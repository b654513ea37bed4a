package suite

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/raftstream/raftstream/chaos/nemesis"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// Gap is how long nothing was allocated because the leader was hit: from the moment at which the nemesis began, until some
// node was seen to have applied a batch that a later leadership allocated. Nodes are asked every 10 ms, so it may be
// that much longer than what really was.
type Gap struct {
	Event  int           `json:"event"`
	Kind   schedule.Kind `json:"kind"`
	Leader string        `json:"leader"`
	Term   uint64        `json:"term"`
	AtMS   int64         `json:"at_ms"` // of the history
	MS     int64         `json:"ms"`
	// Alone: no other fault was in effect, and the leader was the only target. The others have gaps as long as those faults.
	Alone bool `json:"alone"`
}

// deposing are the kinds that take the leadership from whom they hit.
var deposing = []schedule.Kind{
	schedule.Kill, schedule.Pause, schedule.Terminate, schedule.Exit, schedule.PowerCut, schedule.Cut, schedule.SyncError,
	schedule.TornWrite, schedule.BitFlip, schedule.Truncate, schedule.Wipe, schedule.Transfer, schedule.Memory,
}

// entry is what the gaps need of an entry of the ledger.
type entry struct {
	Index   uint64 `json:"index"`
	Term    uint64 `json:"term"`
	Kind    string `json:"kind"`
	Command struct {
		Name string `json:"name"`
	} `json:"command"`
}

// Kinds of entries that gaps are made of.
const (
	epochEntry    = "Epoch"
	allocateEntry = "BlocksAllocated"
)

// readLedger reads the entries of a dump that gaps are made of.
func readLedger(path string) ([]entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a ledger: %w", err)
	}
	defer f.Close()
	var all []entry
	for in := json.NewDecoder(bufio.NewReaderSize(f, 1<<20)); ; {
		var raw struct {
			entry
			Command json.RawMessage `json:"command"`
		}
		if err := in.Decode(&raw); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, fmt.Errorf("read ledger %s: %w", path, err)
		}
		e := raw.entry
		switch e.Kind {
		case epochEntry:
			if err := json.Unmarshal(raw.Command, &e.Command); err != nil {
				return all, fmt.Errorf("read ledger %s, index %d: %w", path, e.Index, err)
			}
		case allocateEntry:
		default:
			continue
		}
		all = append(all, e)
	}
}

// gaps finds the failovers of a run.
func gaps(ledger []entry, seen []sighting, events []history.Event) []Gap {
	var found []Gap
	all := history.Faults(events)
	byTerm := make(map[uint64]int) // term -> place in found
	for i, f := range all {
		hit, ok := noteOf(f.Begin)
		if !ok || f.End.Type == history.Fail || !deposes(hit.Event) {
			continue
		}
		if hit.Event.Kind == schedule.Exit { // until then it was only armed
			if f.Begin, hit.Targets, ok = tookAt(events, f, hit.ID); !ok {
				continue
			}
		}
		before := indexAt(seen, f.Begin.Time)
		lead, ok := ledAt(ledger, before)
		if !ok || !slices.Contains(hit.Targets, lead.Command.Name) {
			continue
		}
		next, ok := allocatedAfter(ledger, lead.Term)
		if !ok {
			continue
		}
		at, ok := seenAt(seen, next.Index)
		if !ok || at <= f.Begin.Time {
			continue
		}
		g := Gap{
			Event: hit.ID, Kind: hit.Event.Kind, Leader: lead.Command.Name, Term: lead.Term, AtMS: f.Begin.Time / int64(time.Millisecond),
			MS: (at - f.Begin.Time) / int64(time.Millisecond), Alone: len(hit.Targets) == 1 && alone(all, i, at),
		}
		if place, again := byTerm[lead.Term]; again { // the earlier one did not depose it
			found[place] = g
			continue
		}
		byTerm[lead.Term] = len(found)
		found = append(found, g)
	}
	return found
}

func deposes(e *schedule.Event) bool {
	if e.Kind == schedule.Cut {
		return cmp.Or(e.Plane, schedule.AllPlanes) == schedule.AllPlanes || e.Plane == schedule.Raft
	}
	return slices.Contains(deposing, e.Kind)
}

func noteOf(e history.Event) (n faultNote, ok bool) {
	err := json.Unmarshal(e.Value, &n)
	return n, err == nil && n.Event != nil
}

// tookAt finds when a fault took effect, and where.
func tookAt(events []history.Event, f history.Fault, id int) (history.Event, []string, bool) {
	for _, e := range events {
		if e.Process != history.Nemesis || e.F != f.Begin.F+"-"+string(nemesis.Took) || e.Time < f.Start() {
			continue
		}
		var n faultNote
		if err := json.Unmarshal(e.Value, &n); err == nil && n.ID == id {
			return e, n.Targets, true
		}
	}
	return history.Event{}, nil, false
}

// alone reports whether no other fault was in effect from the beginning of one until a time.
func alone(all []history.Fault, i int, until int64) bool {
	for k, o := range all {
		if k != i && o.End.Type != history.Fail && o.Start() < until && o.Ended() > all[i].Start() {
			return false
		}
	}
	return true
}

// indexAt is the highest index that was seen by a time.
func indexAt(seen []sighting, at int64) uint64 {
	i, _ := slices.BinarySearchFunc(seen, at, func(s sighting, t int64) int { return cmp.Compare(s.Time, t+1) })
	if i == 0 {
		return 0
	}
	return seen[i-1].Index
}

// seenAt is when an index was seen first.
func seenAt(seen []sighting, index uint64) (int64, bool) {
	i, _ := slices.BinarySearchFunc(seen, index, func(s sighting, n uint64) int { return cmp.Compare(s.Index, n) })
	if i == len(seen) {
		return 0, false
	}
	return seen[i].Time, true
}

// ledAt is the leadership that an index belongs to.
func ledAt(ledger []entry, index uint64) (last entry, ok bool) {
	for _, e := range ledger {
		if e.Index > index {
			break
		}
		if e.Kind == epochEntry {
			last, ok = e, true
		}
	}
	return last, ok
}

// allocatedAfter is the first allocation of a later term.
func allocatedAfter(ledger []entry, term uint64) (entry, bool) {
	for _, e := range ledger {
		if e.Kind == allocateEntry && e.Term > term {
			return e, true
		}
	}
	return entry{}, false
}

// Spread is how a number of gaps is spread, in milliseconds.
type Spread struct {
	Count int   `json:"count"`
	P50   int64 `json:"p50_ms"`
	P90   int64 `json:"p90_ms"`
	P99   int64 `json:"p99_ms"`
	Max   int64 `json:"max_ms"`
}

// SpreadOf gives the quantiles of gaps by the nearest rank.
func SpreadOf(all []Gap) Spread {
	var ms []int64
	for _, g := range all {
		ms = append(ms, g.MS)
	}
	if len(ms) == 0 {
		return Spread{}
	}
	slices.Sort(ms)
	rank := func(percent int) int64 { return ms[(percent*len(ms)+99)/100-1] }
	return Spread{Count: len(ms), P50: rank(50), P90: rank(90), P99: rank(99), Max: ms[len(ms)-1]}
}

// String is the spread on one line.
func (s Spread) String() string {
	return fmt.Sprintf("p50 %d ms, p90 %d ms, p99 %d ms, max %d ms of %d", s.P50, s.P90, s.P99, s.Max, s.Count)
}
