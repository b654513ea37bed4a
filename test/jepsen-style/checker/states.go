package checker

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// rareState is something that guarantees are about and that a run does not come to by itself.
type rareState struct {
	name string
	// luck: faults alone do not bring it about. It is counted, and not required of many runs.
	luck bool
	// kind of command that shows it, and what else must hold before that is applied. "": a single command does not show it.
	kind string
	seen func(before *ledgerModel, l *ledgerLine) bool
}

// States that single commands do not show.
const (
	staleRefused  = "a command of an older leadership was refused"
	nodeReplaced  = "a node came again on an empty disk"
	votersChanged = "the voters of Raft changed"
	snapshotTaken = "a snapshot was taken"
	snapshotSent  = "a node was sent a snapshot"
	cameAgain     = "a producer came again"
	moreWasSafe   = "a producer heard that more of its records are safe than it knew"
)

// rareStates are all of them, in the order in which they are told.
var rareStates = []rareState{
	{name: "a leadership ended while batches were pending", kind: "Epoch", seen: func(m *ledgerModel, l *ledgerLine) bool {
		return m.succeeded(l) && m.pending(nil)
	}},
	{name: "the last command of a leadership was an allocation", kind: "Epoch", seen: func(m *ledgerModel, l *ledgerLine) bool {
		return m.succeeded(l) && m.line.Kind == "BlocksAllocated"
	}},
	{name: "the last command of a leadership was a completion", luck: true, kind: "Epoch", seen: func(m *ledgerModel, l *ledgerLine) bool {
		return m.succeeded(l) && m.line.Kind == "BatchCompleted"
	}},
	{name: staleRefused, luck: true},
	{name: "a session ended while batches were pending", kind: "SessionClosed", seen: func(m *ledgerModel, l *ledgerLine) bool {
		return l.now() && m.pending(nil)
	}},
	{name: "a coordinator was replaced while its batches were pending", kind: "CoordinatorAssigned", seen: func(m *ledgerModel, l *ledgerLine) bool {
		a := m.of(l)
		return l.now() && a != nil && a.office != 0 && m.pending(a)
	}},
	{name: "a batch was completed by another coordinator than it was allocated under", kind: "BatchCompleted", seen: func(m *ledgerModel, l *ledgerLine) bool {
		a := m.of(l)
		if !l.now() || a == nil {
			return false
		}
		b := a.batches[commandOf[reportCommand](l).Time]
		return b != nil && b.office != 0 && b.office != a.office
	}},
	{name: "a completion was reported again", luck: true, kind: "BatchCompleted", seen: func(_ *ledgerModel, l *ledgerLine) bool {
		return l.did() && !l.now()
	}},
	{name: "a coordinator that was replaced reported a batch", luck: true, kind: "BatchCompleted", seen: func(m *ledgerModel, l *ledgerLine) bool {
		a := m.of(l)
		return !l.did() && a != nil && commandOf[reportCommand](l).Office < a.office
	}},
	{name: "keyed state went on from a checkpoint under another coordinator", kind: "CoordinatorAssigned", seen: func(m *ledgerModel, l *ledgerLine) bool {
		a := m.of(l)
		return l.now() && a != nil && a.office != 0 && a.keyed && a.checkpointed > a.zero
	}},
	{name: "a block was reported again", kind: "BlocksAdded", seen: func(_ *ledgerModel, l *ledgerLine) bool {
		for _, r := range l.Result.Blocks {
			if r.Outcome == done && r.Index != l.Index {
				return true
			}
		}
		return false
	}},
	{name: "lost copies were made again", kind: "BlocksCopied", seen: func(_ *ledgerModel, l *ledgerLine) bool { return l.now() }},
	{name: "several batches were allocated at once", kind: "BlocksAllocated", seen: func(_ *ledgerModel, l *ledgerLine) bool {
		c := commandOf[allocatedCommand](l)
		return l.now() && c.To > c.From
	}},
	{name: "an application was stopped at once while batches were pending", kind: "ApplicationStopped", seen: func(m *ledgerModel, l *ledgerLine) bool {
		a := m.of(l)
		return l.now() && a != nil && commandOf[stoppedCommand](l).Now && m.pending(a)
	}},
	{name: "an application was resumed", kind: "ApplicationResumed", seen: func(_ *ledgerModel, l *ledgerLine) bool { return l.now() }},
	{name: nodeReplaced},
	{name: votersChanged},
	{name: snapshotTaken},
	{name: snapshotSent, luck: true}, // most runs keep whole logs, so that they can be judged
	{name: cameAgain},
	{name: moreWasSafe},
}

// RareStates are the names of what States counts: all of them, and those that many runs under faults of all kinds must
// have come to.
func RareStates() (all, required []string) {
	for _, s := range rareStates {
		all = append(all, s.name)
		if !s.luck {
			required = append(required, s.name)
		}
	}
	return all, required
}

// States counts how often a run came to each of the rare states, by its ledgers and its history. It judges none of them: that
// is for Required, over many runs.
func States(run *Run) Result {
	j := Judging("rare-states", "")
	dumps, err := readDumps(run)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	for _, d := range dumps {
		if d.taken > 0 {
			j.came(snapshotTaken)
		}
	}
	statesOfNodes(j, run.Logs)
	switch log, err := whole(dumps); {
	case errors.Is(err, errTrimmed): // its commands were seen by nobody; the rest counts
		j.See("nodes", int64(len(dumps)))
	case err != nil:
		j.Doubt("%v", err)
		return j.Result()
	default:
		statesOfLog(j, log)
	}
	statesOfProducers(j, run.Events)
	return j.Result()
}

// came counts a state.
func (j *Judge) came(state string) { j.Found.Counts[state]++ }

// statesOfLog counts what a log shows.
func statesOfLog(j *Judge, log []ledgerLine) {
	voters := false
	for i := range log {
		if log[i].Kind == "raft/configuration" {
			if voters {
				j.came(votersChanged)
			}
			voters = true
		}
	}
	stores := map[string]string{} // by the node's name
	watch(log, Judging("", ""), func(m *ledgerModel, l *ledgerLine) {
		j.See("commands", 1)
		for i := range rareStates {
			if s := &rareStates[i]; s.kind == l.Kind && s.seen(m, l) {
				j.came(s.name)
			}
		}
		if l.Result.Stale {
			j.came(staleRefused)
		}
		if l.Kind == "SessionOpened" && l.now() {
			c := commandOf[sessionOpenedCommand](l)
			if was := stores[c.Name]; was != "" && was != c.Store {
				j.came(nodeReplaced)
			}
			stores[c.Name] = c.Store
		}
	})
}

// installed is how a node says that it goes on from a snapshot of the leader's.
var installed = []byte("raft: Installed remote snapshot")

// statesOfNodes counts what nodes say.
func statesOfNodes(j *Judge, logs map[string]string) {
	for _, node := range slices.Sorted(maps.Keys(logs)) {
		err := linesOf(logs[node], func(line []byte) error {
			if bytes.Contains(line, installed) {
				j.came(snapshotSent)
			}
			return nil
		})
		if err != nil {
			j.Doubt("log of %s: %v", node, err)
		}
	}
}

// statesOfProducers counts what producers heard that came again.
func statesOfProducers(j *Judge, events []history.Event) {
	for i := range events {
		e := &events[i]
		if e.F != history.Open || e.Type != history.OK {
			continue
		}
		v, err := decode[history.Opening](e.Index, e.Value)
		if err != nil {
			j.Doubt("%v", err)
			continue
		}
		if v.Tried > 0 {
			j.came(cameAgain)
		}
		if v.Position > v.Acked {
			j.came(moreWasSafe)
		}
	}
}

// commandOf decodes the command of a line. What cannot be read is the ledger checker's to tell.
func commandOf[C any](l *ledgerLine) (c C) {
	_ = json.Unmarshal(l.Command, &c)
	return c
}

// succeeded reports whether a line opens a leadership after another one.
func (m *ledgerModel) succeeded(l *ledgerLine) bool { return l.now() && m.term != 0 }

// pending reports whether a batch is allocated and not completed: of an application, nil for of any.
func (m *ledgerModel) pending(of *appModel) bool {
	for _, a := range m.apps {
		if (of == nil || of == a) && !a.over && a.allocated > a.completed {
			return true
		}
	}
	return false
}

// of gives the application that a command is about, nil where there is none.
func (m *ledgerModel) of(l *ledgerLine) *appModel {
	return m.apps[commandOf[struct {
		App uint64 `json:"app"`
	}](l).App]
}
