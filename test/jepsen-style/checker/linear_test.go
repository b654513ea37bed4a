package checker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// story makes histories: each operation has a process, a beginning and an end of its own.
type story struct {
	events []history.Event
	next   int
}

// op adds an operation from begin to end. Values are those of the invocation and of the completion.
func (s *story) op(begin, end int64, f string, asked any, of history.Type, index uint64, answer any) {
	marshal := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return b
	}
	e := history.Event{Process: s.next, Workload: "w", F: f, Type: history.Invoke, Time: begin, Value: marshal(asked)}
	s.next++
	s.events = append(s.events, e)
	e.Type, e.Time, e.RaftIndex, e.Value = of, end, index, marshal(answer)
	s.events = append(s.events, e)
}

// run gives the events in order of time.
func (s *story) run() *Run {
	events := slices.Clone(s.events)
	slices.SortStableFunc(events, func(a, b history.Event) int { return int(a.Time - b.Time) })
	for i := range events {
		events[i].Index = int64(i)
	}
	return &Run{Events: events}
}

func (s *story) add(begin, end int64, of history.Type, index, number uint64) {
	v := history.Range{App: "a", ID: 5, Producer: "p", First: number, Last: number, Whole: true}
	s.op(begin, end, history.Add, v, of, index, v)
}

func (s *story) read(begin, end int64, index uint64, received int64) {
	s.op(begin, end, history.Read, history.Counts{App: "a", ID: 5}, history.OK, index, history.Counts{App: "a", ID: 5, Received: received})
}

func TestBlocksSeesWhatIsNotLinearizable(t *testing.T) {
	tests := []struct {
		name string
		want Verdict
		tell func(s *story)
	}{
		{"in order", Valid, func(s *story) {
			s.add(0, 10, history.OK, 100, 1)
			s.read(20, 30, 101, 1)
			s.add(40, 50, history.OK, 105, 2)
			s.read(60, 70, 105, 2)
		}},
		{"seen before it is acknowledged", Valid, func(s *story) {
			s.add(0, 100, history.OK, 100, 1)
			s.read(20, 30, 101, 1)
		}},
		{"acknowledged and not seen", Invalid, func(s *story) {
			s.add(0, 10, history.OK, 100, 1)
			s.read(20, 30, 101, 0)
		}},
		{"an old index after a new one", Invalid, func(s *story) {
			s.read(0, 10, 101, 0)
			s.read(20, 30, 99, 0)
		}},
		{"seen and then gone", Invalid, func(s *story) {
			s.add(0, 100, history.Info, 0, 1)
			s.read(20, 30, 101, 1)
			s.read(40, 50, 102, 0)
		}},
		{"taken although nobody heard it", Valid, func(s *story) {
			s.add(0, 10, history.Info, 0, 1)
			s.read(20, 30, 101, 0)
			s.read(40, 50, 140, 1)
		}},
		{"never taken and not known", Valid, func(s *story) {
			s.add(0, 10, history.Info, 0, 1)
			s.read(20, 30, 101, 0)
		}},
		{"failed and taken all the same", Invalid, func(s *story) {
			s.add(0, 10, history.Fail, 0, 1)
			s.read(20, 30, 101, 1)
		}},
		{"sent again and taken once", Valid, func(s *story) {
			s.add(0, 10, history.Info, 0, 1)
			s.add(20, 30, history.OK, 140, 1)
			s.read(40, 50, 150, 1)
		}},
		{"sent again and taken twice", Invalid, func(s *story) {
			s.add(0, 10, history.Info, 0, 1)
			s.add(20, 30, history.OK, 140, 1)
			s.read(40, 50, 150, 2)
		}},
		{"sent again, acknowledged and not seen", Invalid, func(s *story) {
			s.add(0, 10, history.Info, 0, 1)
			s.add(20, 30, history.OK, 140, 1)
			s.read(40, 50, 150, 0)
		}},
		{"two in one entry", Valid, func(s *story) {
			s.add(0, 50, history.OK, 100, 1)
			s.add(0, 50, history.OK, 100, 2)
			s.read(60, 70, 100, 2)
		}},
		{"a copy that is old need not know", Valid, func(s *story) {
			s.add(0, 10, history.OK, 100, 1)
			s.op(20, 30, history.Read, history.Counts{App: "a", ID: 5, Stale: true}, history.OK, 90, history.Counts{App: "a", ID: 5, Stale: true})
			s.read(40, 50, 100, 1)
		}},
		{"nothing", Unknown, func(*story) {}},
		{"several records that need not be taken as one", Unknown, func(s *story) {
			v := history.Range{App: "a", Producer: "p", First: 1, Last: 2}
			s.op(0, 10, history.Add, v, history.OK, 9, v)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, dir := &story{}, t.TempDir()
			tt.tell(s)
			r := Blocks(s.run(), "w", dir)
			if r.Verdict != tt.want {
				t.Errorf("%+v, expected %s", r, tt.want)
			}
			pages, err := filepath.Glob(filepath.Join(dir, "*.html"))
			if err != nil || (len(pages) > 0) != (tt.want == Invalid) {
				t.Errorf("pages %q of a history that is %s: %v", pages, tt.want, err)
			}
			for _, p := range pages {
				if b, err := os.ReadFile(p); err != nil || !strings.Contains(string(b), "read") {
					t.Errorf("page %s: %v", p, err)
				}
			}
		})
	}
	if r := Blocks(&Run{Events: []history.Event{{F: "add", Type: history.OK}}}, "w", ""); r.Verdict != Unknown {
		t.Errorf("a history that is not well formed is %+v", r)
	}
}

func (s *story) submit(begin, end int64, request string, of history.Type, id uint64) {
	asked := history.Submission{Name: "a", Request: request}
	answer := asked
	answer.ID = id
	if of == history.Fail {
		answer.Refused = history.Taken
	}
	s.op(begin, end, history.Submit, asked, of, id, answer)
}

func (s *story) stop(begin, end int64, of history.Type, id, index uint64) {
	v := history.StopValue{Name: "a", ID: id}
	s.op(begin, end, history.Stop, v, of, index, v)
}

func (s *story) get(begin, end int64, index, id uint64, state string) {
	v := history.Lookup{Name: "a"}
	if id == 0 {
		s.op(begin, end, history.Get, v, history.Fail, index, history.Lookup{Name: "a", Refused: history.NotFound})
		return
	}
	s.op(begin, end, history.Get, v, history.OK, index, history.Lookup{Name: "a", App: &history.App{Name: "a", ID: id, State: state}})
}

// life is that of two applications of one name.
func life(s *story) {
	s.submit(0, 10, "r1", history.OK, 5)
	s.get(20, 30, 6, 5, history.Running)
	s.stop(40, 50, history.OK, 5, 8)
	s.get(60, 70, 9, 5, history.Stopped)
	s.submit(80, 90, "r2", history.OK, 12)
	s.get(100, 110, 13, 12, history.Running)
}

// nameStories are histories of one name.
var nameStories = []struct {
	name string
	want Verdict
	tell func(s *story)
}{
	{"a life, and another one of the name", Valid, life},
	{"a request is repeated", Valid, func(s *story) {
		life(s)
		s.submit(120, 130, "r1", history.OK, 5)
		s.get(140, 150, 14, 12, history.Running)
	}},
	{"a request is repeated and does it again", Invalid, func(s *story) { life(s); s.submit(120, 130, "r1", history.OK, 14) }},
	{"two requests have one answer", Invalid, func(s *story) { life(s); s.submit(120, 130, "r3", history.OK, 12) }},
	{"a name is given twice", Invalid, func(s *story) { life(s); s.submit(120, 130, "r3", history.OK, 15) }},
	{"a name is refused while it is in use", Valid, func(s *story) { life(s); s.submit(120, 130, "r3", history.Fail, 0) }},
	{"a name is refused before it was used", Invalid, func(s *story) { s.submit(0, 10, "r3", history.Fail, 0); s.get(20, 30, 6, 0, "") }},
	{"a name is refused after its application has stopped", Invalid, func(s *story) {
		life(s)
		s.stop(120, 130, history.OK, 12, 14)
		s.get(140, 150, 15, 12, history.Stopped)
		s.submit(160, 170, "r3", history.Fail, 0)
		s.get(180, 190, 16, 12, history.Stopped)
	}},
	{"stopped is running again", Invalid, func(s *story) {
		life(s)
		s.stop(120, 130, history.OK, 12, 14)
		s.get(140, 150, 15, 12, history.Running)
	}},
	{"the one before is read", Invalid, func(s *story) { life(s); s.get(120, 130, 14, 5, history.Stopped) }},
	{"an old index is read", Invalid, func(s *story) { life(s); s.get(120, 130, 12, 12, history.Running) }},
	{"nothing is found", Invalid, func(s *story) { life(s); s.get(120, 130, 14, 0, "") }},
	{"an id from nowhere", Invalid, func(s *story) { life(s); s.get(120, 130, 40, 20, history.Running) }},
	{"stopped by nobody", Invalid, func(s *story) { life(s); s.get(120, 130, 14, 12, history.Stopped) }},
	{"stopped by somebody who does not know it", Valid, func(s *story) {
		life(s)
		s.stop(115, 118, history.Info, 12, 0)
		s.get(120, 130, 14, 12, history.Running)
		s.get(140, 150, 15, 12, history.Stopped)
	}},
	{"submitted by somebody who does not know it", Valid, func(s *story) {
		s.submit(0, 10, "r1", history.Info, 0)
		s.get(20, 30, 6, 0, "")
		s.get(40, 50, 9, 8, history.Running)
		s.stop(60, 70, history.OK, 8, 10)
		s.submit(80, 90, "r2", history.OK, 12)
		s.get(100, 110, 13, 12, history.Running)
	}},
	{"not known, and answered when it is repeated", Valid, func(s *story) {
		s.submit(0, 10, "r1", history.Info, 0)
		s.get(20, 30, 6, 5, history.Running)
		s.submit(40, 50, "r1", history.OK, 5)
	}},
	{"not known, and another one afterwards", Valid, func(s *story) {
		s.submit(0, 10, "r1", history.Info, 0)
		s.submit(20, 30, "r2", history.OK, 6)
		s.get(40, 50, 7, 6, history.Running)
	}},
	{"submitted twice by one that is not known", Invalid, func(s *story) {
		s.submit(0, 10, "r1", history.Info, 0)
		s.get(20, 30, 6, 5, history.Running)
		s.stop(40, 50, history.OK, 5, 7)
		s.get(60, 70, 8, 5, history.Stopped)
		s.get(80, 90, 20, 19, history.Running)
	}},
	{"a listing shows the newest", Valid, func(s *story) {
		life(s)
		s.op(120, 130, history.List, history.Listing{}, history.OK, 14, history.Listing{Apps: []history.App{{Name: "a", ID: 5, State: history.Stopped}, {Name: "a", ID: 12, State: history.Running}}})
	}},
	{"a listing leaves it out", Invalid, func(s *story) {
		life(s)
		s.op(120, 130, history.List, history.Listing{}, history.OK, 14, history.Listing{Apps: []history.App{{Name: "a", ID: 5, State: history.Stopped}}})
	}},
	{"a listing of other names", Valid, func(s *story) {
		life(s)
		s.op(120, 130, history.List, history.Listing{Prefix: "b"}, history.OK, 14, history.Listing{Prefix: "b"})
	}},
	{"an older one by its id", Valid, func(s *story) {
		life(s)
		s.op(120, 130, history.Get, history.Lookup{Name: "a", ID: 5}, history.OK, 14, history.Lookup{Name: "a", ID: 5, App: &history.App{Name: "a", ID: 5, State: history.Stopped}})
	}},
	{"an older one runs", Invalid, func(s *story) {
		life(s)
		s.op(120, 130, history.Get, history.Lookup{Name: "a", ID: 5}, history.OK, 14, history.Lookup{Name: "a", ID: 5, App: &history.App{Name: "a", ID: 5, State: history.Running}})
	}},
	{"one that is known is not found by its id", Invalid, func(s *story) {
		life(s)
		s.op(120, 130, history.Get, history.Lookup{Name: "a", ID: 5}, history.Fail, 14, history.Lookup{Name: "a", ID: 5, Refused: history.NotFound})
	}},
	{"nothing", Unknown, func(*story) {}},
}

func TestAppsSeesWhatIsNotLinearizable(t *testing.T) {
	for _, tt := range nameStories {
		t.Run(tt.name, func(t *testing.T) {
			s := &story{}
			tt.tell(s)
			if r := Apps(s.run(), "w", ""); r.Verdict != tt.want {
				t.Errorf("%+v, expected %s", r, tt.want)
			}
		})
	}
}

// ledgerStory draws a run of a correct ledger: clients whose operations overlap, some of which never hear what became of
// theirs.
func ledgerStory(t *rapid.T, steps int) *story {
	s := &story{}
	now, index, received, number := int64(0), uint64(0), int64(0), uint64(0)
	wide := func(name string) int64 { return rapid.Int64Range(0, 60).Draw(t, name) }
	for range steps {
		now += 10
		begin, end := now-wide("before"), now+1+wide("after")
		switch rapid.IntRange(0, 5).Draw(t, "operation") {
		case 0, 1, 2:
			number++
			index += rapid.Uint64Range(1, 3).Draw(t, "entries")
			received++
			s.add(begin, end, history.OK, index, number)
		case 3:
			number++
			if rapid.Bool().Draw(t, "taken") {
				index++
				received++
			}
			s.add(begin, end, history.Info, 0, number)
		default:
			index += rapid.Uint64Range(0, 1).Draw(t, "entries")
			s.read(begin, end, index, received)
		}
	}
	s.read(now+100, now+110, index+1, received)
	return s
}

func TestBlocksOfRandomRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := ledgerStory(t, rapid.IntRange(1, 25).Draw(t, "steps"))
		if r := Blocks(s.run(), "w", ""); r.Verdict != Valid {
			t.Fatalf("a correct run is %+v", r)
		}
		last := &s.events[len(s.events)-1]
		var c history.Counts
		if err := json.Unmarshal(last.Value, &c); err != nil {
			t.Fatal(err)
		}
		sure, all := int64(0), int64(0)
		for _, e := range s.events {
			if e.F == history.Add && e.Type != history.Invoke {
				all++
				if e.Type == history.OK {
					sure++
				}
			}
		}
		for _, received := range []int64{sure - 1, all + 1} {
			if received < 0 {
				continue
			}
			c.Received = received
			b, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			last.Value = b
			if r := Blocks(s.run(), "w", ""); r.Verdict != Invalid {
				t.Fatalf("a last read of %d records, of %d to %d: %+v", received, sure, all, r)
			}
		}
	})
}

func TestBlocksOfALongRunAreQuick(t *testing.T) {
	s := &story{}
	const n = 20_000
	for i := range int64(n) {
		at := i * 10
		if i%5 == 4 {
			s.read(at-40, at+40, uint64(i), i-i/5)
		} else {
			s.add(at-40, at+40, history.OK, uint64(i), uint64(i))
		}
	}
	began := time.Now()
	r := Blocks(s.run(), "w", "")
	t.Logf("%d operations in %v: %s %v", n, time.Since(began), r.Verdict, r.Counts)
	if r.Verdict != Valid {
		t.Error(fmt.Sprintf("%+v", r)[:min(500, len(fmt.Sprintf("%+v", r)))])
	}
}
