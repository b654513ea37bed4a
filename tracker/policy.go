package tracker

import (
	"slices"

	"github.com/raftstream/raftstream/internal/id"
)

// Candidate is a place where a receiver may run: an open session, or (Session 0) a node name that is preferred and has
// no open session at present.
type Candidate struct {
	Session id.Session
	Name    string
}

// ScheduleReceivers spreads receivers that all have to start over executors, in the order of both: it gives the
// candidates of each receiver, best first (Spark: ReceiverSchedulingPolicy.scheduleReceivers). Ties go to the earlier
// executor, so pass the executors in order of session.
//
// First every receiver with a preferred node gets its least loaded executor there, then every other one the least
// loaded of all, then each executor that is still idle becomes a further candidate of the receiver that has fewest.
func ScheduleReceivers(receivers []*Receiver, executors []*Session) [][]Candidate {
	out := make([][]Candidate, len(receivers))
	if len(executors) == 0 {
		return out
	}
	load := make([]int, len(executors))
	take := func(i int) Candidate {
		load[i]++
		return candidate(executors[i])
	}
	for n, r := range receivers {
		if r.Preferred == "" {
			continue
		}
		if i := leastLoaded(executors, load, r.Preferred); i >= 0 {
			out[n] = []Candidate{take(i)}
		} else {
			out[n] = []Candidate{{Name: r.Preferred}}
		}
	}
	for n := range receivers {
		if len(out[n]) == 0 {
			out[n] = []Candidate{take(leastLoaded(executors, load, ""))}
		}
	}
	for i, l := range load {
		if l > 0 || len(receivers) == 0 {
			continue
		}
		fewest := 0
		for n := range out {
			if len(out[n]) < len(out[fewest]) {
				fewest = n
			}
		}
		out[fewest] = append(out[fewest], candidate(executors[i]))
	}
	return out
}

// RescheduleReceiver gives the candidates of one receiver that has to start again, while the others (all) stay where
// they are: its preferred node, then every idle executor, or if none is idle every one of the least loaded
// (Spark: ReceiverSchedulingPolicy.rescheduleReceiver). A scheduled receiver weighs as much as an active one, because
// the ledger grants it to one session. No executors: no candidates, which means that it has to wait.
func RescheduleReceiver(r *Receiver, all []*Receiver, executors []*Session) []Candidate {
	if len(executors) == 0 {
		return nil
	}
	var out []Candidate
	load := make([]int, len(executors))
	for i, e := range executors {
		for _, o := range all {
			if o.State != Inactive && o.Session == e.ID {
				load[i]++
			}
		}
	}
	if r.Preferred != "" {
		if i := leastLoaded(executors, load, r.Preferred); i >= 0 {
			out = append(out, candidate(executors[i]))
		} else {
			out = append(out, Candidate{Name: r.Preferred})
		}
	}
	least := slices.Min(load)
	for i, e := range executors {
		if load[i] == least && !slices.Contains(out, candidate(e)) {
			out = append(out, candidate(e))
		}
	}
	return out
}

func candidate(s *Session) Candidate { return Candidate{Session: s.ID, Name: s.Name} }

// leastLoaded gives the first executor with the lowest load, among those of the node if one is named; -1 for none.
func leastLoaded(executors []*Session, load []int, node string) int {
	best := -1
	for i, e := range executors {
		if (node == "" || e.Name == node) && (best < 0 || load[i] < load[best]) {
			best = i
		}
	}
	return best
}
