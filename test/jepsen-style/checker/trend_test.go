package checker

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

const second = int64(time.Second)

// fault adds one of the nemesis, from begin to end; without end it is never healed.
func (s *story) fault(id int, begin, end int64) {
	v := json.RawMessage(fmt.Sprintf(`{"id":%d}`, id))
	s.events = append(s.events, history.Event{Process: history.Nemesis, F: "kill", Type: history.Invoke, Time: begin, Value: v})
	if end > 0 {
		s.events = append(s.events, history.Event{Process: history.Nemesis, F: "kill", Type: history.OK, Time: end, Value: v})
	}
}

func expect(t *testing.T, r Result, want Verdict, detail string) {
	t.Helper()
	if r.Verdict != want || !strings.Contains(strings.Join(r.Details, "\n"), detail) {
		t.Errorf("%+v\nexpected %s, %q", r, want, detail)
	}
}

func TestMonotonicSeesWhatGoesBack(t *testing.T) {
	good := []Count{{"a", 2, 5, "y"}, {"a", 1, 5, "x"}, {"b", 1, 9, "x"}, {"b", 3, 10, "z"}, {"a", 3, 7, "z"}}
	expect(t, Monotonic("w", good), Valid, "")
	expect(t, Monotonic("w", append(good, Count{"a", 4, 6, "u"})), Invalid, `"a" is 6 at 4 in u, and was 7 at 3 in z`)
	expect(t, Monotonic("w", append(good, Count{"b", 3, 11, "u"})), Invalid, `"b" is 10 at 3 in z, and 11 in u`)
	expect(t, Monotonic("w", nil), Unknown, "nothing")
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfN(rapid.Int64Range(0, 5), 2, 30).Draw(t, "steps")
		var all []Count
		total := int64(0)
		for i, n := range steps {
			total += n
			all = append(all, Count{Key: "k", At: int64(i), Value: total})
		}
		if r := Monotonic("w", rapid.Permutation(all).Draw(t, "order")); r.Verdict != Valid {
			t.Fatalf("%+v", r)
		}
		at := rapid.IntRange(1, len(all)-1).Draw(t, "victim")
		all[at].Value = all[at-1].Value - 1
		if r := Monotonic("w", all); r.Verdict != Invalid {
			t.Fatalf("%+v", r)
		}
	})
}

// pending reads an application with batches pending.
func (s *story) pending(at, batches int64) {
	c := history.Counts{App: "a", Pending: batches}
	s.op(at, at+1, history.Read, c, history.OK, 9, c)
}

func TestConvergenceWantsWorkDoneSoonAfterTheLastFault(t *testing.T) {
	const within = 30 * time.Second
	tests := []struct {
		name, detail string
		want         Verdict
		tell         func(s *story)
	}{
		{"caught up", "", Valid, func(s *story) { s.fault(1, 0, 10*second); s.pending(12*second, 9); s.pending(20*second, 1) }},
		{"behind again later", "", Valid, func(s *story) { s.fault(1, 0, 10*second); s.pending(20*second, 0); s.pending(90*second, 9) }},
		{"too late", "expected it to have caught up", Invalid, func(s *story) { s.fault(1, 0, 10*second); s.pending(45*second, 0) }},
		{"never", "9 batches pending", Invalid, func(s *story) { s.fault(1, 0, 10*second); s.pending(45*second, 9) }},
		{"not long enough to see", "was last read", Unknown, func(s *story) { s.fault(1, 0, 10*second); s.pending(15*second, 9) }},
		{"not looked at afterwards", "nobody has read a", Unknown, func(s *story) { s.pending(5*second, 0); s.fault(1, 0, 10*second) }},
		{"not healed", "never healed", Invalid, func(s *story) { s.fault(1, 0, 0); s.pending(5*second, 0) }},
		{"nobody looked at all", "nothing", Unknown, func(s *story) { s.fault(1, 0, 10*second) }},
		{"no fault", "", Valid, func(s *story) { s.pending(5*second, 0) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &story{}
			tt.tell(s)
			expect(t, Convergence(s.run(), within), tt.want, tt.detail)
		})
	}
}

func TestMinimumRateLooksBeforeTheFirstFault(t *testing.T) {
	s := &story{}
	for i := range int64(10) {
		s.add(i*second, i*second+second/2, history.OK, uint64(i+1), uint64(i+1))
	}
	s.fault(1, 5*second, 6*second)
	expect(t, MinimumRate(s.run(), "w", 1), Valid, "")
	expect(t, MinimumRate(s.run(), "", 1), Valid, "")
	expect(t, MinimumRate(s.run(), "w", 1.1), Invalid, "1.0 a second")
	expect(t, MinimumRate(s.run(), "other", 1), Unknown, "nothing was acknowledged")
	s = &story{}
	v := history.Range{App: "a", Producer: "p", First: 1, Last: 1000}
	s.op(0, second, history.Add, v, history.OK, 9, v)
	expect(t, MinimumRate(s.run(), "w", 1000), Valid, "")
	s.op(2*second, 3*second, history.Add, v, history.Info, 9, v)
	expect(t, MinimumRate(s.run(), "w", 1000), Valid, "")
	expect(t, MinimumRate(&Run{Events: []history.Event{{F: "x", Type: history.OK}}}, "", 1), Unknown, "begun nothing")
}

func TestUnexplainedWantsAFaultForEveryUnknown(t *testing.T) {
	const grace = 10 * time.Second
	tell := func(begin, end int64) *Run {
		s := &story{}
		s.fault(1, 20*second, 30*second)
		s.add(0, second, history.OK, 1, 1)
		s.add(begin, end, history.Info, 0, 2)
		return s.run()
	}
	expect(t, Unexplained(tell(25*second, 26*second), grace), Valid, "")
	expect(t, Unexplained(tell(15*second, 21*second), grace), Valid, "")
	expect(t, Unexplained(tell(39*second, 45*second), grace), Valid, "")
	for _, at := range []int64{1, 41} {
		r := Unexplained(tell(at*second, (at+1)*second), grace)
		expect(t, r, Invalid, "no fault was in effect")
		if r.Unexplained != 1 || r.Counts["unknown"] != 1 {
			t.Errorf("%+v", r)
		}
	}
	run := tell(second, 2*second)
	for i := range run.Events {
		if run.Events[i].Type == history.Info {
			run.Events[i].Error = history.ClientLost
		}
	}
	expect(t, Unexplained(run, grace), Invalid, "")
	expect(t, Unexplained(run, grace, regexp.MustCompile(regexp.QuoteMeta(history.ClientLost))), Valid, "")
	expect(t, Unexplained(&Run{}, grace), Unknown, "nothing")
	s := &story{}
	s.add(0, second, history.OK, 1, 1)
	open := s.run()
	open.Events = open.Events[:1]
	expect(t, Unexplained(open, grace), Invalid, "no end")
}

func TestLeaksSeesWhatGrows(t *testing.T) {
	samples := func(n int, memory, files func(i int64) int64) []Sample {
		var all []Sample
		for i := range int64(n) {
			all = append(all, Sample{Node: "n1", Seconds: float64(i), Memory: memory(i), Files: files(i)})
		}
		return all
	}
	limit := Growth{Memory: 100 << 20, Files: 10}
	flat := func(i int64) int64 { return 100<<20 + i%7<<10 }
	few := func(i int64) int64 { return 40 + i%3 }
	expect(t, Leaks(samples(300, flat, few), time.Minute, limit), Valid, "")
	expect(t, Leaks(samples(300, func(i int64) int64 { return flat(i) + i*100<<10 }, few), time.Minute, limit), Invalid, "bytes of memory more per hour")
	expect(t, Leaks(samples(300, flat, func(i int64) int64 { return few(i) + i/30 }), time.Minute, limit), Invalid, "files more per hour")
	warm := func(i int64) int64 { return flat(min(i, 90)*1000) + min(i, 90)<<20 }
	expect(t, Leaks(samples(300, warm, few), time.Minute, limit), Valid, "")
	expect(t, Leaks(samples(30, flat, few), time.Minute, limit), Unknown, "nothing")
	expect(t, Leaks(nil, time.Minute, limit), Unknown, "nothing")
}

func TestRequiredNamesWhatWasNeverSeen(t *testing.T) {
	seen := map[string]int64{"leader change during an allocation": 3, "snapshot install": 0}
	expect(t, Required(seen, "leader change during an allocation"), Valid, "")
	expect(t, Required(seen, "leader change during an allocation", "snapshot install"), Invalid, "snapshot install was never seen")
	expect(t, Required(seen), Unknown, "nothing")
}
