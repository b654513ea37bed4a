package checker

import (
	"encoding/json"
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// Record is one record that an output holds.
type Record struct {
	Producer string // "": the text is no record that a producer can have sent
	Number   uint64
	Where    string // batch and place, for people
}

// ExactlyOnce holds what an output has against what was sent: every acknowledged record is there once, one whose outcome
// stayed unknown once or not at all, and nothing else. It takes time in proportion to the records, and memory of about a
// bit for each.
func ExactlyOnce(workload string, acked, maybe *IDs, output iter.Seq[Record]) Result {
	j := Judging("exactly-once", workload)
	j.See("acknowledged", acked.Len())
	if acked.Len() == 0 {
		j.Doubt("nothing was acknowledged: nothing could be lost")
	}
	var found IDs
	var records, recovered int64
	for r := range output {
		records++
		sure := acked.Has(r.Producer, r.Number)
		switch {
		case r.Producer == "" || !sure && !maybe.Has(r.Producer, r.Number):
			j.Found.Phantom++
			j.Bad("never sent: %s, in %s", name(r), r.Where)
		case !found.of(r.Producer).add(r.Number):
			j.Found.Duplicated++
			j.Bad("more than once: %s, again in %s", name(r), r.Where)
		case !sure:
			recovered++
		}
	}
	j.See("records", records)
	j.Found.Lost = acked.less(&found, func(run string) { j.Bad("lost: %s", run) })
	j.Found.Counts["recovered"] = recovered // whose outcome the producer never learnt
	j.Found.Counts["unknown"] = maybe.less(acked, func(string) {})
	return j.Result()
}

func name(r Record) string {
	if r.Producer == "" {
		return "what no producer writes"
	}
	return runOf(r.Producer, r.Number, r.Number)
}

// Sent gathers what producers sent to an application, from operations history.Add: what was acknowledged, and what may
// have been taken although its producer did not learn it. Both may hold the same record, where it was sent again.
func Sent(ops []history.Op, app string) (acked, maybe *IDs, err error) {
	acked, maybe = &IDs{}, &IDs{}
	for i := range ops {
		o := &ops[i]
		if o.Invoke.F != history.Add {
			continue
		}
		v, err := decode[history.Range](o.Invoke.Index, o.Value())
		if err != nil {
			return nil, nil, err
		}
		if v.App != app || v.Last < v.First {
			continue
		}
		switch o.Type() {
		case history.OK:
			acked.Add(v.Producer, v.First, v.Last)
		case history.Info:
			maybe.Add(v.Producer, v.First, v.Last)
		}
	}
	return acked, maybe, nil
}

// decode reads the value of an event.
func decode[T any](index int64, value json.RawMessage) (v T, err error) {
	if len(value) == 0 {
		return v, fmt.Errorf("event %d has no value", index)
	}
	if err := json.Unmarshal(value, &v); err != nil {
		return v, fmt.Errorf("value of event %d: %w", index, err)
	}
	return v, nil
}
