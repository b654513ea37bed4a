package suite

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/nemesis"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// note is an event of the nemesis at a time in milliseconds.
func note(ms int64, t history.Type, f string, id int, kind schedule.Kind, targets ...string) history.Event {
	v, err := json.Marshal(faultNote{ID: id, Targets: targets, Event: &schedule.Event{ID: id, Kind: kind}})
	if err != nil {
		panic(err)
	}
	return history.Event{Time: ms * int64(time.Millisecond), Process: history.Nemesis, Type: t, F: f, Value: v}
}

// led is a ledger in which n1, n2 and n3 lead in terms 1, 2 and 3, and allocate at once.
func led() []entry {
	var all []entry
	for i, name := range []string{"n1", "n2", "n3"} {
		e := entry{Index: uint64(10 * (i + 1)), Term: uint64(i + 1), Kind: epochEntry}
		e.Command.Name = name
		all = append(all, e, entry{Index: e.Index + 2, Term: e.Term, Kind: allocateEntry})
	}
	return all
}

func sightings() []sighting {
	var all []sighting
	for _, s := range [][2]int64{{100, 12}, {1000, 15}, {1500, 21}, {1600, 22}, {3000, 25}, {3900, 33}} {
		all = append(all, sighting{Time: s[0] * int64(time.Millisecond), Index: uint64(s[1])})
	}
	return all
}

func TestAGapEndsWithTheFirstAllocationOfALaterLeadership(t *testing.T) {
	for name, tt := range map[string]struct {
		events []history.Event
		want   []Gap
	}{
		"a leader is killed": {
			[]history.Event{note(1100, history.Invoke, "kill", 1, schedule.Kill, "n1"), note(2000, history.OK, "kill", 1, schedule.Kill, "n1")},
			[]Gap{{Event: 1, Kind: schedule.Kill, Leader: "n1", Term: 1, AtMS: 1100, MS: 500, Alone: true}},
		},
		"a follower is killed": {[]history.Event{note(1100, history.Invoke, "kill", 1, schedule.Kill, "n2")}, nil},
		"the leader was not hit after all": {
			[]history.Event{note(1100, history.Invoke, "kill", 1, schedule.Kill, "n1"), note(1200, history.Fail, "kill", 1, schedule.Kill, "n1")}, nil,
		},
		"a fault that deposes nobody": {[]history.Event{note(1100, history.Invoke, "delay", 1, schedule.Delay, "n1")}, nil},
		"nobody leads afterwards":     {[]history.Event{note(3950, history.Invoke, "kill", 1, schedule.Kill, "n3")}, nil},
		"a short pause before the kill does not count": {
			[]history.Event{
				note(900, history.Invoke, "pause", 1, schedule.Pause, "n1"), note(950, history.OK, "pause", 1, schedule.Pause, "n1"),
				note(1100, history.Invoke, "kill", 2, schedule.Kill, "n1"),
			},
			[]Gap{{Event: 2, Kind: schedule.Kill, Leader: "n1", Term: 1, AtMS: 1100, MS: 500, Alone: true}},
		},
		"another node is away": {
			[]history.Event{note(1000, history.Invoke, "pause", 1, schedule.Pause, "n3"), note(1100, history.Invoke, "kill", 2, schedule.Kill, "n1")},
			[]Gap{{Event: 2, Kind: schedule.Kill, Leader: "n1", Term: 1, AtMS: 1100, MS: 500}},
		},
		"an exit counts from when the process ended": {
			[]history.Event{
				note(500, history.Invoke, "exit", 1, schedule.Exit, "n2"), note(1200, history.Info, "exit-took", 1, schedule.Exit, "n1"),
				note(2000, history.OK, "exit", 1, schedule.Exit, "n1"),
			},
			[]Gap{{Event: 1, Kind: schedule.Exit, Leader: "n1", Term: 1, AtMS: 1200, MS: 400, Alone: true}},
		},
	} {
		got := gaps(led(), sightings(), tt.events)
		if len(got) != len(tt.want) || len(got) == 1 && got[0] != tt.want[0] {
			t.Errorf("%s: %+v, expected %+v", name, got, tt.want)
		}
	}
}

func TestQuantilesAreByTheNearestRank(t *testing.T) {
	var all []Gap
	for i := range 200 {
		all = append(all, Gap{MS: int64(200 - i)})
	}
	if got, want := SpreadOf(all), (Spread{Count: 200, P50: 100, P90: 180, P99: 198, Max: 200}); got != want {
		t.Errorf("%+v, expected %+v", got, want)
	}
	if got := SpreadOf(nil); got != (Spread{}) {
		t.Errorf("%+v of nothing", got)
	}
}

func TestAVerdictIsGreenOnlyIfAllHappenedAndAllHolds(t *testing.T) {
	injected := nemesis.Outcome{Event: schedule.Event{ID: 1, Kind: schedule.Kill}, Injected: true, Proof: chaos.Proof{Bites: 1}}
	missed := nemesis.Outcome{Event: schedule.Event{ID: 2, Kind: schedule.Kill}, Reason: "nobody was there"}
	broken := injected
	broken.Broken = "it stays"
	result := func(v checker.Verdict) checker.Result { return checker.Result{Checker: "c", Verdict: v} }
	for name, tt := range map[string]struct {
		outcomes []nemesis.Outcome
		results  []checker.Result
		want     Outcome
	}{
		"all well":                             {[]nemesis.Outcome{injected}, []checker.Result{result(checker.Valid)}, Green},
		"nothing checked":                      {[]nemesis.Outcome{injected}, nil, Incomplete},
		"a fault did not happen":               {[]nemesis.Outcome{injected, missed}, []checker.Result{result(checker.Valid)}, Incomplete},
		"a fault stays":                        {[]nemesis.Outcome{broken}, []checker.Result{result(checker.Valid)}, Violated},
		"not known":                            {nil, []checker.Result{result(checker.Valid), result(checker.Unknown)}, Incomplete},
		"violated":                             {nil, []checker.Result{result(checker.Invalid), result(checker.Valid)}, Violated},
		"violated, and not all is known":       {[]nemesis.Outcome{missed}, []checker.Result{result(checker.Invalid), result(checker.Unknown)}, Violated},
		"a verdict that no checker would give": {nil, []checker.Result{result("fine")}, Violated},
	} {
		v := Verdict{Results: tt.results}
		v.judge(tt.outcomes)
		if v.Outcome != tt.want || (v.Outcome == Green) != (len(v.Reasons) == 0) {
			t.Errorf("%s: %s %q, expected %s", name, v.Outcome, v.Reasons, tt.want)
		}
	}
}

func TestAcknowledgedRecordsAreCountedOnceForEachWorkload(t *testing.T) {
	valid := func(workload string, counts map[string]int64) checker.Result {
		return checker.Result{Checker: "c", Workload: workload, Verdict: checker.Valid, Counts: counts}
	}
	v := Verdict{Results: []checker.Result{
		valid("sink", map[string]int64{acknowledged: 5}), valid("sink", map[string]int64{acknowledged: 5, "records": 9}),
		valid("window", map[string]int64{acknowledged: 7}), valid("apps", map[string]int64{"sightings": 3}), valid("", nil),
	}}
	if v.judge(nil); v.Acknowledged != 12 || v.Outcome != Green {
		t.Errorf("%d acknowledged, %s %q, expected 12", v.Acknowledged, v.Outcome, v.Reasons)
	}
}

func TestRandomSchedulesNameFailpointsThatThereAre(t *testing.T) {
	known := map[string]bool{}
	for _, p := range failpoint.All() {
		known[string(p)] = true
	}
	for _, p := range points {
		if !known[p] {
			t.Errorf("failpoint %s is not there", p)
		}
	}
	if failpoint.ExitStatus != chaos.ExitFailpoint {
		t.Errorf("exit status %d, chaos expects %d", failpoint.ExitStatus, chaos.ExitFailpoint)
	}
}
