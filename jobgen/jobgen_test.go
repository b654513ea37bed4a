package jobgen

import (
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// ledger is a hand-made view.
type ledger struct {
	fsm.Viewer
	index     uint64
	room      int64 // what limits besides that of pending batches leave
	leader    string
	apps      []*fsm.App
	receivers []*tracker.Receiver
	instances []*blocktracker.Instance
	batches   []*fsm.Batch
}

func (l *ledger) Room(a *fsm.App, _ int64) int64 {
	return max(0, min(l.room, int64(fsm.MaxPending-a.Pending)))
}
func (l *ledger) Index() uint64                                { return l.index }
func (l *ledger) Leadership() fsm.Leadership                   { return fsm.Leadership{Leader: l.leader} }
func (l *ledger) Apps() iter.Seq[*fsm.App]                     { return slices.Values(l.apps) }
func (l *ledger) Receivers(id.App) iter.Seq[*tracker.Receiver] { return slices.Values(l.receivers) }
func (l *ledger) Instances(id.App) iter.Seq[*blocktracker.Instance] {
	return slices.Values(l.instances)
}

func (l *ledger) App(a id.App) (*fsm.App, bool) {
	i := slices.IndexFunc(l.apps, func(x *fsm.App) bool { return x.ID == a })
	if i < 0 {
		return nil, false
	}
	return l.apps[i], true
}

func (l *ledger) Batch(a id.App, t id.Time) (*fsm.Batch, bool) {
	for _, b := range l.batches {
		if b.App == a && b.Time == t {
			return b, true
		}
	}
	return nil, false
}

func (l *ledger) Batches(a id.App, after id.Time) iter.Seq[*fsm.Batch] {
	return func(yield func(*fsm.Batch) bool) {
		for _, b := range l.batches {
			if b.App == a && b.Time > after && !yield(b) {
				return
			}
		}
	}
}

// at makes a Now that is the same for every application.
func at(t id.Time) Now { return func(*fsm.App) id.Time { return t } }

// seconds is an application of one-second batches, id 7, whose zero time is 10 s.
func seconds(change func(*fsm.App)) *fsm.App {
	a := &fsm.App{ID: 7, State: fsm.Running, BatchMS: 1000, ZeroTime: 10_000, Allocated: 10_000, Completed: 10_000}
	if change != nil {
		change(a)
	}
	return a
}

// orAll gives the room, or without one that of pending batches alone.
func orAll(room int64) int64 {
	if room == 0 {
		return fsm.MaxPending
	}
	return room
}

// Spark: RecurringTimerSuite, and a case derived from it. A batch time is that of the application's zero time and whole
// intervals, before a restart and after it; the first is strictly after the zero time.
func TestRecurringTimerSuite(t *testing.T) {
	t.Run("timer start/restart time", func(t *testing.T) {
		for _, c := range []struct{ zero, interval, now, want id.Time }{
			{0, 1000, 0, 1000},
			{0, 1000, 999, 1000},
			{0, 1000, 1000, 2000},
			{0, 2000, 12_000, 14_000},
			{0, 1000, 3000, 4000},
			{0, 2000, 15_000, 16_000},
			{200, 1000, 3500, 4200},
		} {
			a := seconds(func(a *fsm.App) {
				a.ZeroTime, a.BatchMS = c.zero, int64(c.interval)
				a.Allocated = c.zero + (c.now-c.zero)/c.interval*c.interval // all that was due
			})
			left, ok := Next(&ledger{apps: []*fsm.App{a}, room: orAll(0)}, at(c.now))
			if got := c.now + id.Time(left.Milliseconds()); !ok || got != c.want {
				t.Errorf("zero time %d, interval %d, now %d: next at %d, expected %d", c.zero, c.interval, c.now, got, c.want)
			}
		}
	})
}

func TestDueAllocations(t *testing.T) {
	allocation := func(from, to id.Time, last bool) *fsm.BlocksAllocated {
		return &fsm.BlocksAllocated{App: 7, From: from, To: to, Last: last, NowMS: 99}
	}
	closed := []*blocktracker.Instance{{App: 7, ID: 8, Closed: true}}
	tests := []struct {
		name      string
		app       *fsm.App
		receivers []*tracker.Receiver
		instances []*blocktracker.Instance
		room      int64
		now       id.Time
		want      *fsm.BlocksAllocated
	}{
		{name: "nothing before the first batch time", app: seconds(nil), now: 10_999},
		{name: "first batch is zero time and one interval", app: seconds(nil), now: 11_000, want: allocation(11_000, 11_000, false)},
		{
			name: "not due again", app: seconds(func(a *fsm.App) { a.Allocated = 11_000 }), now: 11_999,
		},
		{
			name: "downtime batches are one command, and gapless", app: seconds(func(a *fsm.App) { a.Allocated = 12_000 }),
			now: 20_500, want: allocation(13_000, 20_000, false),
		},
		{
			name: "rule 10: they end at the limit of pending batches",
			app:  seconds(func(a *fsm.App) { a.Pending = fsm.MaxPending - 3 }),
			now:  60_000, want: allocation(11_000, 13_000, false),
		},
		{
			name: "rule 10: ticks wait at the limit", app: seconds(func(a *fsm.App) { a.Pending = fsm.MaxPending }), now: 60_000,
		},
		{
			name: "rule 10: and at that of batches after the checkpoint", app: seconds(nil), room: 2, now: 60_000,
			want: allocation(11_000, 12_000, false),
		},
		{name: "a failed application allocates nothing", app: seconds(func(a *fsm.App) { a.State = fsm.Failed }), now: 60_000},
		{name: "nor does a stopped one", app: seconds(func(a *fsm.App) { a.State = fsm.Stopped }), now: 60_000},
		{
			name: "draining goes on allocating while an instance may add blocks",
			app:  seconds(func(a *fsm.App) { a.State = fsm.Stopping }),
			instances: []*blocktracker.Instance{
				{App: 7, ID: 8, Closed: true}, {App: 7, ID: 9},
			},
			now: 12_000, want: allocation(11_000, 12_000, false),
		},
		{
			name: "or one is about to begin", app: seconds(func(a *fsm.App) { a.State = fsm.Stopping }),
			receivers: []*tracker.Receiver{{App: 7, State: tracker.Scheduled}},
			now:       11_000, want: allocation(11_000, 11_000, false),
		},
		{
			name: "rule 11: the last allocation when everything is closed", app: seconds(func(a *fsm.App) { a.State = fsm.Stopping }),
			receivers: []*tracker.Receiver{{App: 7, State: tracker.Inactive}}, instances: closed,
			now: 14_000, want: allocation(11_000, 11_000, true),
		},
		{
			name: "the last one waits for its time too", app: seconds(func(a *fsm.App) { a.State = fsm.Stopping }),
			instances: closed, now: 10_999,
		},
		{
			name: "rule 11: none after the last", app: seconds(func(a *fsm.App) { a.State, a.LastGiven = fsm.Stopping, true }),
			instances: closed, now: 60_000,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := &ledger{apps: []*fsm.App{tt.app}, receivers: tt.receivers, instances: tt.instances, room: orAll(tt.room)}
			want := map[id.App]fsm.Command{}
			if tt.want != nil {
				want[7] = tt.want
			}
			if d := cmp.Diff(want, Due(v, at(tt.now), 99)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNextTick(t *testing.T) {
	minute := seconds(func(a *fsm.App) { a.ID, a.BatchMS = 8, 60_000 })
	tests := []struct {
		name string
		apps []*fsm.App
		room int64
		now  id.Time
		left time.Duration
		ok   bool
	}{
		{name: "no applications"},
		{name: "the earliest of all", apps: []*fsm.App{minute, seconds(nil)}, now: 10_250, left: 750 * time.Millisecond, ok: true},
		{name: "what is due already is left out", apps: []*fsm.App{seconds(nil), minute}, now: 12_000, left: 58 * time.Second, ok: true},
		{
			name: "rule 10: what waits for a checkpoint is looked at again", apps: []*fsm.App{seconds(nil), minute}, room: -1,
			now: 12_000, left: 10 * time.Second, ok: true,
		},
		{name: "what waits for the ledger is left out", apps: []*fsm.App{seconds(func(a *fsm.App) { a.Pending = fsm.MaxPending })}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			left, ok := Next(&ledger{apps: tt.apps, room: orAll(tt.room)}, at(tt.now))
			if left != tt.left || ok != tt.ok {
				t.Errorf("got %v, %v; want %v, %v", left, ok, tt.left, tt.ok)
			}
		})
	}
}

func TestPendingBatchesInOrderOfTime(t *testing.T) {
	batch := func(at id.Time, s fsm.BatchState) *fsm.Batch { return &fsm.Batch{App: 7, Time: at, State: s} }
	v := &ledger{batches: []*fsm.Batch{
		batch(11_000, fsm.Completed), batch(12_000, fsm.Allocated), batch(13_000, fsm.Allocated), batch(14_000, fsm.Allocated),
	}}
	a := seconds(func(a *fsm.App) { a.Completed = 11_000 })
	times := func(limit int) (all []id.Time) {
		for _, b := range Pending(v, a, limit) {
			all = append(all, b.Time)
		}
		return all
	}
	if got, want := times(2), []id.Time{12_000, 13_000}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := times(9), []id.Time{12_000, 13_000, 14_000}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	v.batches[1].State = fsm.BatchFailedState
	if got := times(9); len(got) != 0 {
		t.Errorf("behind a failed batch: got %v, want none", got)
	}
}
