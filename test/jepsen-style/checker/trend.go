package checker

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// Count is what a counter says at a time: a running total of a key by batch, or of anything else that never goes back.
type Count struct {
	Key   string
	At    int64 // batch time, Raft index, or whatever orders the counts of a key
	Value int64
	Where string // for people
}

// Monotonic checks that no counter goes back from one time to a later one, and that one has the same value wherever it is
// told for one time.
func Monotonic(workload string, counts []Count) Result {
	j := Judging("monotonic", workload)
	sorted := slices.Clone(counts)
	slices.SortStableFunc(sorted, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.At, b.At))
	})
	for i, c := range sorted {
		j.See("counts", 1)
		if i == 0 || sorted[i-1].Key != c.Key {
			j.Found.Counts["keys"]++
			continue
		}
		switch b := sorted[i-1]; {
		case b.At == c.At && b.Value != c.Value:
			j.Bad("%q is %d at %d in %s, and %d in %s", c.Key, b.Value, c.At, b.Where, c.Value, c.Where)
		case b.Value > c.Value:
			j.Bad("%q is %d at %d in %s, and was %d at %d in %s", c.Key, c.Value, c.At, c.Where, b.Value, b.At, b.Where)
		}
	}
	return j.Result()
}

// Convergence checks that soon after the last fault is healed all applications have done what was due: a history.Read at
// whoever leads shows each of them with no more than a batch pending. Applications that are stopped have.
func Convergence(run *Run, within time.Duration) Result {
	j := Judging("convergence", "")
	var healed int64
	for _, f := range history.Faults(run.Events) {
		if f.Ended() == history.Forever {
			j.Bad("event %d: %s was never healed", f.Begin.Index, f.Begin.F)
			continue
		}
		healed = max(healed, f.Ended())
	}
	type last struct {
		seen    history.Counts
		at      int64 // of the first read after the last fault that shows nothing pending, else of the last read
		settled bool
	}
	apps := map[string]*last{}
	for i := range run.Events {
		e := &run.Events[i]
		if e.F != history.Read || e.Type != history.OK {
			continue
		}
		c, err := decode[history.Counts](e.Index, e.Value)
		if err != nil {
			j.Doubt("%v", err)
			continue
		}
		key := appKey(c.App, c.ID)
		a := apps[key]
		if a == nil {
			a = &last{}
			apps[key] = a
		}
		if c.Stale || a.settled || e.Time < healed {
			continue
		}
		a.seen, a.at, a.settled = c, e.Time, c.Pending <= 1 || c.State == history.Stopped
	}
	var slowest int64
	for _, name := range slices.Sorted(maps.Keys(apps)) {
		a := apps[name]
		took := time.Duration(a.at - healed)
		switch {
		case a.at == 0:
			j.Doubt("nobody has read %s after the last fault", name)
		case !a.settled && took < within:
			j.Doubt("%s was last read %v after the last fault, with %d batches pending", name, took, a.seen.Pending)
		case took > within:
			j.Bad("%s has %d batches pending %v after the last fault, expected it to have caught up within %v", name, a.seen.Pending, took, within)
		default:
			slowest = max(slowest, took.Milliseconds())
			j.See("applications", 1)
		}
	}
	j.Found.Counts["milliseconds"] = slowest
	return j.Result()
}

// MinimumRate checks that before the first fault clients got something done: least records a second were acknowledged, or
// operations where nobody sends records: answers to reads say nothing about sends. A cluster that does nothing breaks no
// promise either.
func MinimumRate(run *Run, workload string, least float64) Result {
	j := Judging("minimum-rate", workload)
	ops, err := history.Pair(run.Events)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	until := history.Forever
	if faults := history.Faults(run.Events); len(faults) > 0 {
		until = faults[0].Start()
	}
	sends := slices.ContainsFunc(ops, func(o history.Op) bool {
		return o.Invoke.F == history.Add && (workload == "" || o.Invoke.Workload == workload)
	})
	first, last, done := history.Forever, int64(0), int64(0)
	for i := range ops {
		o := &ops[i]
		if workload != "" && o.Invoke.Workload != workload || o.Start() >= until || sends && o.Invoke.F != history.Add {
			continue
		}
		first = min(first, o.Start())
		if o.Type() != history.OK || o.End.Time >= until {
			continue
		}
		n, err := weight(o)
		if err != nil {
			j.Doubt("%v", err)
			continue
		}
		done += n
		last = max(last, o.End.Time)
	}
	if done == 0 {
		j.Doubt("nothing was acknowledged before the first fault")
		return j.Result()
	}
	if until != history.Forever {
		last = until
	}
	seconds := time.Duration(last - first).Seconds()
	rate := float64(done) / max(seconds, 1e-9)
	j.See("acknowledged before faults", done)
	j.Found.Counts["milliseconds"] = time.Duration(last - first).Milliseconds()
	j.Found.Counts["per second"] = int64(rate)
	if rate < least {
		j.Bad("%.1f a second were acknowledged before the first fault, in %.1f s, expected %.1f at least", rate, seconds, least)
	}
	return j.Result()
}

// weight is what an operation gets done: its records, or itself.
func weight(o *history.Op) (int64, error) {
	if o.Invoke.F != history.Add {
		return 1, nil
	}
	v, err := decode[history.Range](o.Invoke.Index, o.Value())
	if err != nil || v.Last < v.First {
		return 0, err
	}
	return int64(v.Last - v.First + 1), nil
}

// Unexplained counts the operations whose outcome stayed unknown although no fault explains it: none was in effect at any
// time from the operation's beginning to its end, nor within the grace before. except names operations that their own
// client broke off on purpose, by their error.
func Unexplained(run *Run, grace time.Duration, except ...*regexp.Regexp) Result {
	j := Judging("unexplained", "")
	ops, err := history.Pair(run.Events)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	faults := history.Faults(run.Events)
	j.See("operations", int64(len(ops)))
	for i := range ops {
		o := &ops[i]
		if o.Type() != history.Info {
			continue
		}
		j.Found.Counts["unknown"]++
		if slices.ContainsFunc(except, func(p *regexp.Regexp) bool { return p.MatchString(o.End.Error) }) {
			j.Found.Counts["excepted"]++
			continue
		}
		if slices.ContainsFunc(faults, func(f history.Fault) bool { return overlaps(o, &f, grace) }) {
			j.Found.Counts["explained"]++
			continue
		}
		j.Found.Unexplained++
		j.Bad("event %d: %s of %q ended as unknown (%s), and no fault was in effect", o.Invoke.Index, o.Invoke.F, o.Invoke.Workload, cmp.Or(o.End.Error, "no end"))
	}
	return j.Result()
}

// overlaps reports whether a fault, and the time after it that clients may still feel it, touches an operation.
func overlaps(o *history.Op, f *history.Fault, grace time.Duration) bool {
	over := f.Ended()
	if over != history.Forever {
		over += grace.Nanoseconds()
	}
	return f.Start() <= o.Ended() && o.Start() <= over
}

// Required checks that rare states were seen often enough over many runs: what no run has come to was not tested. seen
// counts states by name; each that is required was seen once at least.
func Required(seen map[string]int64, required ...string) Result {
	j := Judging("required", "")
	for _, name := range required {
		j.See("states", 1)
		j.Found.Counts[name] = seen[name]
		if seen[name] == 0 {
			j.Bad("%s was never seen", name)
		}
	}
	return j.Result()
}
