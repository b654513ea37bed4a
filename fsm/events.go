package fsm

import (
	"cmp"
	"fmt"
	"iter"

	"github.com/tidwall/btree"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// Event is something worth telling people that the application of a command made happen. Events are derived: a node has
// those of the entries that it applied itself, the same as every other node that applied them, but none of the time
// before the snapshot that it started from. They are in no snapshot and not in the hash.
type Event struct {
	Index   uint64 // of the entry: a cursor, which several events may share
	TimeMS  int64  // proposer's clock
	App     id.App // 0 for none
	Name    string // of the application
	Kind    string // one of the constants below
	Text    string
	Warning bool
}

// Kinds of events, in the words that people see.
const (
	EventLeaderChanged        = "leader changed"
	EventClusterNamed         = "cluster named"
	EventSessionOpened        = "session opened"
	EventSessionClosed        = "session closed"
	EventApplicationSubmitted = "application submitted"
	EventApplicationStopping  = "application stopping"
	EventApplicationStopped   = "application stopped at once"
	EventApplicationEnded     = "application ended"
	EventApplicationFailed    = "application failed"
	EventApplicationResumed   = "application resumed"
	EventReceiverScheduled    = "receiver scheduled"
	EventReceiverActive       = "receiver active"
	EventReceiverStopped      = "receiver stopped"
	EventReceiverFailed       = "receiver failed"
	EventCoordinatorAssigned  = "coordinator assigned"
	EventBatchFailed          = "batch failed"
	EventBatchRepeated        = "batch repeated" // it was completed, by another attempt than its first
	EventBlocksLost           = "blocks lost"    // given up by resume --accept-loss
	EventStateCheckpointed    = "state checkpointed"
	EventUnplanned            = "direct sources not planned"
	EventPlanRefused          = "plan refused"
	EventSourceWarning        = "source warning"
)

// MaxEvents is how many events a node keeps; the oldest one makes room.
const MaxEvents = 10_000

// eventLog is a ring of events, copied in constant time.
type eventLog struct {
	all  *btree.BTreeG[*loggedEvent]
	next uint64 // number of the next one
}

type loggedEvent struct {
	Event
	number uint64
}

func newEventLog() *eventLog {
	return &eventLog{all: btree.NewBTreeGOptions(func(a, b *loggedEvent) bool {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.number, b.number)) < 0
	}, btree.Options{NoLocks: true})}
}

func (l *eventLog) copy() *eventLog { return &eventLog{all: l.all.Copy(), next: l.next} }

func (l *eventLog) add(e Event) {
	l.all.Set(&loggedEvent{Event: e, number: l.next})
	l.next++
	for l.all.Len() > MaxEvents {
		l.all.PopMin()
	}
}

// Events lists the events that are kept of an application, or of everything if app is 0, after an index, in order.
func (v View) Events(app id.App, after uint64) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if after == 1<<64-1 {
			return
		}
		v.state().events.all.Ascend(&loggedEvent{Event: Event{Index: after + 1}}, func(e *loggedEvent) bool {
			return app != 0 && e.App != app || yield(e.Event)
		})
	}
}

// event tells of what the command did. A is nil for what is about no application.
func (t *tx) event(nowMS int64, a *App, kind, format string, args ...any) {
	t.tell(Event{TimeMS: nowMS, Kind: kind, Text: fmt.Sprintf(format, args...)}, a)
}

// warn is event for what somebody should look at.
func (t *tx) warn(nowMS int64, a *App, kind, format string, args ...any) {
	t.tell(Event{TimeMS: nowMS, Kind: kind, Text: fmt.Sprintf(format, args...), Warning: true}, a)
}

func (t *tx) tell(e Event, a *App) {
	e.Index = t.index
	if a != nil {
		e.App, e.Name = a.ID, a.Name
	}
	t.events.add(e)
}

// warnBroken tells of a broken invariant, at the latest time that the ledger knows of the application: no command says when
// it was found, and every node must say the same.
func (t *tx) warnBroken(a *App) {
	at := max(t.leader.NowMS, a.SubmittedMS)
	for _, known := range []id.Time{a.Completed, a.Allocated} {
		if b, ok := t.batch(a.ID, known); ok {
			at = max(at, b.AllocatedMS, b.CompletedMS)
		}
	}
	t.warn(at, a, EventApplicationFailed, "%s", a.Error)
}

// receiverEvent tells of a receiver; it warns unless somebody asked for what happened.
func (t *tx) receiverEvent(nowMS int64, r *tracker.Receiver, kind, why string) {
	a, ok := t.app(r.App)
	if !ok {
		return
	}
	tell := t.event
	if kind == EventReceiverFailed || !a.Draining && kind == EventReceiverStopped {
		tell = t.warn
	}
	tell(nowMS, a, kind, "stream %d on %s, instance %d: %s", r.Stream, t.node(r.Session), r.Instance, why)
}

// node gives the name of a session's node, for people.
func (t *tx) node(n id.Session) string {
	if s, ok := t.tracker.Session(n); ok && s.Name != "" {
		return s.Name
	}
	return fmt.Sprintf("session %d", n)
}
