package jobgen

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// world has a clock of one node, an application of one-second batches, and clocks to turn.
type world struct {
	*ledger
	app   *fsm.App
	clock *Clock
	mono  time.Duration
	wall  int64 // Unix milliseconds
}

// submitted makes a world in which the application was submitted at 10.5 s by the wall clock, at index 7.
func submitted(replayed uint64) *world {
	app := seconds(func(a *fsm.App) { a.SubmittedMS = 10_500 })
	w := &world{
		ledger: &ledger{index: 7, room: orAll(0), leader: "self", apps: []*fsm.App{app}},
		app:    app, clock: NewClock("self", replayed), mono: time.Hour, wall: 10_500,
	}
	w.observe()
	return w
}

func (w *world) reading() Reading { return Reading{Mono: w.mono, Wall: time.UnixMilli(w.wall)} }
func (w *world) observe()         { w.clock.Observe(w, w.reading()) }
func (w *world) now() id.Time     { return w.clock.Now(w, w.app, w.reading()) }

// pass lets time pass in small steps, the wall clock with it.
func (w *world) pass(ms int64) {
	for range ms / 50 {
		w.mono += 50 * time.Millisecond
		w.wall += 50
		w.now()
	}
}

// allocate applies an allocation of the batch time, the next index.
func (w *world) allocate(at id.Time) {
	w.index++
	w.batches = append(w.batches, &fsm.Batch{App: w.app.ID, Time: at, Index: w.index})
	next := *w.app
	next.Allocated = at
	w.app, w.apps = &next, []*fsm.App{&next}
	w.observe()
}

func (w *world) expect(t *testing.T, least, most id.Time) {
	t.Helper()
	if got := w.now(); got < least || got > most {
		t.Errorf("time is %d, expected %d to %d", got, least, most)
	}
}

// Rule 9: all of the tests below.

func TestTimeBeginsAtTheSubmission(t *testing.T) {
	w := submitted(0)
	w.expect(t, 10_500, 10_500)
	w.pass(500)
	w.expect(t, 11_000, 11_000)
}

func TestJumpOfTheWallClockIsSlewed(t *testing.T) {
	for name, jump := range map[string]int64{"an hour ahead": 3_600_000, "an hour back": -3_600_000} {
		t.Run(name, func(t *testing.T) {
			w := submitted(0)
			w.pass(500)
			w.allocate(11_000)
			w.wall += jump
			w.pass(10_000)
			if jump > 0 {
				w.expect(t, 21_400, 21_501)
			} else {
				w.expect(t, 20_499, 20_600)
			}
		})
	}
}

func TestWallClockIsReachedInTheEnd(t *testing.T) {
	w := submitted(0)
	w.wall += 1000
	w.pass(30_000)
	w.expect(t, id.Time(w.wall), id.Time(w.wall))
}

func TestStrobingWallClockMovesNothing(t *testing.T) {
	w := submitted(0)
	for range 200 {
		w.wall += 7_200_000
		w.pass(50)
		w.wall -= 7_200_000
		w.pass(50)
	}
	w.expect(t, 30_490, 30_510) // 20 s later: as much ahead as back
}

func TestNewLeaderGoesOnFromTheLastAllocation(t *testing.T) {
	w := submitted(0)
	w.leader = "other"
	w.wall += 3_600_000 // our clock is an hour ahead of the leader's
	w.allocate(11_000)
	w.mono += time.Second
	w.allocate(12_000)
	w.mono += 2500 * time.Millisecond
	w.leader = "self"
	w.expect(t, 14_500, 14_625)
}

func TestOwnAllocationsDoNotHoldTimeBack(t *testing.T) {
	w := submitted(0)
	w.pass(500)
	for at := id.Time(11_000); at <= 20_000; at += 1000 {
		w.pass(50) // the proposal takes 50 ms
		w.allocate(at)
		w.pass(950)
	}
	w.expect(t, 21_000, 21_000)
}

func TestOthersAllocationsSetTime(t *testing.T) {
	w := submitted(0)
	w.wall += 3_600_000
	w.pass(20_000) // led, and hurried after a wrong wall clock
	w.leader = "other"
	w.allocate(29_000)
	w.expect(t, 29_000, 29_000)
}

func TestAfterReplayTheWallClockCounts(t *testing.T) {
	tests := []struct {
		name        string
		replayed    uint64
		down        int64 // by the wall clock
		least, most id.Time
	}{
		{"all drivers were down for an hour", 9, 3_600_000, 3_612_000, 3_612_000},
		{"the wall clock was put back meanwhile", 9, -3_600_000, 12_000, 12_000},
		{"the last allocation came after the replay", 8, 3_600_000, 12_000, 12_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := submitted(0)
			before.allocate(11_000)
			before.allocate(12_000)
			w := submitted(tt.replayed)
			w.wall = 12_000 + tt.down
			w.allocate(11_000)
			w.allocate(12_000)
			w.leader = "self"
			w.expect(t, tt.least, tt.most)
			w.wall += 7_200_000 // once it runs, a jump is slewed as ever
			w.pass(1000)
			w.expect(t, tt.most+1000, tt.most+1051)
		})
	}
}

// Rule 9: a driver that was away learns late of the last allocation, which must not make the next one late, nor early
// by more than an interval whatever its wall clock says.
func TestMissedAllocationsAreNotFromNow(t *testing.T) {
	tests := []struct {
		name   string
		missed uint64
		late   int64 // how long after it was due it is applied, by the wall clock
		want   id.Time
	}{
		{"missed", 9, 700, 12_700},
		{"missed, and the wall clock is ahead", 9, 3_600_000, 13_000},
		{"missed, and the wall clock is behind", 9, -3_600_000, 12_000},
		{"told at once", 8, 700, 12_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := submitted(0)
			w.leader = "another"
			w.clock.Missed(tt.missed)
			w.allocate(11_000)
			w.wall = 12_000 + tt.late
			w.allocate(12_000)
			w.leader = "self"
			w.expect(t, tt.want, tt.want)
		})
	}
}

func TestSubmissionBeforeTheReplayCountsByTheWallClock(t *testing.T) {
	w := submitted(7)
	w.wall += 3_600_000
	w.expect(t, 3_610_500, 3_610_500)
}

func TestClockForgetsStoppedApplications(t *testing.T) {
	w := submitted(0)
	stopped := *w.app
	stopped.State = fsm.Stopped
	w.apps = []*fsm.App{&stopped}
	w.observe()
	if len(w.clock.times) != 0 {
		t.Errorf("%d times kept, expected none", len(w.clock.times))
	}
	w = submitted(0)
	w.apps = nil
	w.observe()
	if len(w.clock.times) != 0 {
		t.Errorf("%d times kept, expected none", len(w.clock.times))
	}
}

// Invariant 3 and rule 9: whatever the clocks, the leaders and restarts do, the times that are allocated are the
// multiples of the interval since zero time without gaps, and a node's time neither goes back while it leads nor runs
// faster than it may.
func TestBatchTimesAreGaplessWhateverClocksDo(t *testing.T) {
	allocated := 0
	rapid.Check(t, func(t *rapid.T) {
		w := submitted(0)
		clocks := map[string]*Clock{"self": w.clock, "other": NewClock("other", 0)}
		next := w.app.Interval(w.app.ZeroTime, 1)
		var highest id.Time
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				w.wall += rapid.Int64Range(-4_000_000, 4_000_000).Draw(t, "jump")
			case 1: // the other node leads from here on
				w.leader = rapid.SampledFrom([]string{"self", "other"}).Draw(t, "leader")
				w.clock, highest = clocks[w.leader], 0
			case 2: // all drivers restart
				for name := range clocks {
					clocks[name] = NewClock(name, w.index)
				}
				w.clock, highest = clocks[w.leader], 0
			default:
				ms := rapid.Int64Range(1, 5000).Draw(t, "passed")
				before := w.now()
				w.mono += time.Duration(ms) * time.Millisecond
				w.wall += ms
				if passed := int64(w.now() - before); passed > ms+ms/slew+1 || passed < ms-ms/slew-1 {
					t.Fatalf("%d ms took the time %d ms further", ms, passed)
				}
			}
			now := w.now()
			if now < highest {
				t.Fatalf("time went back from %d to %d", highest, now)
			}
			highest = now
			if c, ok := Due(w, at(now), 0)[w.app.ID].(*fsm.BlocksAllocated); ok {
				if c.From != next || c.To < c.From || c.To > now || (c.To-c.From)%1000 != 0 {
					t.Fatalf("allocation of %d to %d at %d, expected from %d", c.From, c.To, now, next)
				}
				for ; next <= c.To; next += 1000 {
					allocated++
					w.index++
					w.batches = append(w.batches, &fsm.Batch{App: w.app.ID, Time: next, Index: w.index})
				}
				a := *w.app
				a.Allocated = c.To
				w.app, w.apps = &a, []*fsm.App{&a}
				for _, c := range clocks {
					c.Observe(w, w.reading())
				}
			}
		}
	})
	if allocated == 0 {
		t.Error("no batch was allocated")
	}
}
