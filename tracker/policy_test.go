package tracker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
)

// executors makes sessions 1, 2, ... on the named nodes.
func executors(nodes ...string) []*Session {
	var out []*Session
	for i, n := range nodes {
		out = append(out, &Session{ID: id.Session(i + 1), Name: n})
	}
	return out
}

// receivers makes receivers of streams 0, 1, ... with the preferred nodes.
func receivers(preferred ...string) []*Receiver {
	var out []*Receiver
	for i, p := range preferred {
		out = append(out, &Receiver{Stream: id.Stream(i), Preferred: p, State: Inactive})
	}
	return out
}

func at(session id.Session, name string) Candidate { return Candidate{Session: session, Name: name} }

// The facts are those of Spark's ReceiverSchedulingPolicySuite and of cases derived from its source; ties go to the
// earlier executor.
// Names and facts are those of Spark's ReceiverSchedulingPolicySuite, and of cases derived from it.
func TestScheduleReceivers(t *testing.T) {
	for _, c := range []struct {
		name      string
		receivers []*Receiver
		executors []*Session
		want      [][]Candidate
	}{
		{"scheduleReceivers: schedule receivers evenly when there are more receivers than executors", receivers("", "", "", "", "", ""), executors("a", "b", "c"), [][]Candidate{
			{at(1, "a")}, {at(2, "b")}, {at(3, "c")}, {at(1, "a")}, {at(2, "b")}, {at(3, "c")},
		}},
		{"scheduleReceivers: schedule receivers evenly when there are more executors than receivers", receivers("", "", ""), executors("a", "b", "c", "d", "e", "f"), [][]Candidate{
			{at(1, "a"), at(4, "d")}, {at(2, "b"), at(5, "e")}, {at(3, "c"), at(6, "f")},
		}},
		{"scheduleReceivers: return empty if no receiver", nil, executors("a"), [][]Candidate{}},
		{"none if no executor", receivers("", "a"), nil, [][]Candidate{nil, nil}},
		{"preferred host unknown", receivers("x", ""), executors("h1", "h2"), [][]Candidate{
			{at(0, "x"), at(2, "h2")}, {at(1, "h1")},
		}},
		{"uneven preferred locations", receivers("h1", "h1", "h1", ""), executors("h1", "h1", "h2", "h2"), [][]Candidate{
			{at(1, "h1"), at(4, "h2")}, {at(2, "h1")}, {at(1, "h1")}, {at(3, "h2")},
		}},
		{"1 receiver 4 executors", receivers(""), executors("h0", "h1", "h2", "h3"), [][]Candidate{
			{at(1, "h0"), at(2, "h1"), at(3, "h2"), at(4, "h3")},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ScheduleReceivers(c.receivers, c.executors)
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Fatalf("%v, expected %v", got, c.want)
			}
		})
	}
}

func TestRescheduleReceiver(t *testing.T) {
	running := func(state ReceiverState, sessions ...id.Session) []*Receiver {
		var out []*Receiver
		for _, s := range sessions {
			out = append(out, &Receiver{State: state, Session: s})
		}
		return out
	}
	for _, c := range []struct {
		name      string
		preferred string
		all       []*Receiver
		executors []*Session
		want      []Candidate
	}{
		{"rescheduleReceiver: empty executors", "", nil, nil, nil},
		{
			"rescheduleReceiver: return all idle executors if there are any idle executors", "", running(Active, 1), executors("h1", "h2", "h3", "h4", "h5"),
			[]Candidate{at(2, "h2"), at(3, "h3"), at(4, "h4"), at(5, "h5")},
		},
		{"a scheduled receiver weighs as an active one", "", running(Scheduled, 1), executors("h1", "h2"), []Candidate{at(2, "h2")}},
		{"an inactive one weighs nothing", "", running(Inactive, 1), executors("h1", "h2"), []Candidate{at(1, "h1"), at(2, "h2")}},
		{
			"the least loaded if none is idle", "", running(Active, 1, 1, 2, 3), executors("h1", "h2", "h3"),
			[]Candidate{at(2, "h2"), at(3, "h3")},
		},
		{"the preferred node first", "h1", running(Active, 1), executors("h1", "h2"), []Candidate{at(1, "h1"), at(2, "h2")}},
		{"a preferred node that is not there", "hx", running(Active, 1), executors("h1", "h2"), []Candidate{at(0, "hx"), at(2, "h2")}},
		{"a preferred node that is idle is named once", "h2", running(Active, 1), executors("h1", "h2"), []Candidate{at(2, "h2")}},
		{"receivers of sessions that are gone weigh nothing", "", running(Active, 9), executors("h1"), []Candidate{at(1, "h1")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := RescheduleReceiver(&Receiver{Preferred: c.preferred, State: Inactive}, c.all, c.executors)
			if !slices.Equal(got, c.want) {
				t.Fatalf("%v, expected %v", got, c.want)
			}
		})
	}
}
