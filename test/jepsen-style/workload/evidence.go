package workload

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// unknown is the result of a check that could not be made.
func unknown(name, workload string, err error) checker.Result {
	j := checker.Judging(name, workload)
	j.Doubt("%v", err)
	return j.Result()
}

// evidence is what the folder of a run has of one workload.
type evidence struct {
	workload, dir string
	run           *checker.Run
	app           *application
	ops           []history.Op      // of the workload
	acked, maybe  *checker.IDs      // of the application's ingest stream
	highest       map[string]uint64 // number that each producer has tried to send
}

// gather reads the evidence.
func gather(workload, dir string, run *checker.Run) (*evidence, error) {
	app, err := applicationOf(dir)
	if err != nil {
		return nil, err
	}
	ops, err := history.Pair(run.Events)
	if err != nil {
		return nil, err
	}
	v := &evidence{workload: workload, dir: dir, run: run, app: app, ops: history.Of(ops, workload), highest: map[string]uint64{}}
	for i := range v.ops {
		if o := &v.ops[i]; o.Invoke.F == history.Add {
			r, err := value[history.Range](o)
			if err != nil {
				return nil, err
			}
			v.highest[r.Producer] = max(v.highest[r.Producer], r.Last)
		}
	}
	v.acked, v.maybe, err = checker.Sent(v.ops, app.Name)
	return v, err
}

// once holds the text files below the workload's folder against what was sent, where records say which they are.
func (v *evidence) once() []checker.Result {
	saved, outputs := checker.Outputs(v.workload, filepath.Join(v.dir, outputsPrefix), "")
	return []checker.Result{outputs, heldAgainst(v.workload, v.acked, v.maybe, saved), v.positions()}
}

// heldAgainst holds the records of text files against those that must and those that may be there.
func heldAgainst(workload string, acked, maybe *checker.IDs, saved *checker.Saved) checker.Result {
	return exactlyOnce(workload, acked, maybe, func(each func(where, record string) error) error {
		for i := range saved.Batches {
			b := &saved.Batches[i]
			if err := b.Lines(func(line []byte) error { return each(b.Dir, string(line)) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// exactlyOnce holds records that say which they are against those that must and those that may be there. walk calls its
// function with each of them, and ends with its error.
func exactlyOnce(workload string, acked, maybe *checker.IDs, walk func(each func(where, record string) error) error) checker.Result {
	var broken error
	result := checker.ExactlyOnce(workload, acked, maybe, func(yield func(checker.Record) bool) {
		broken = walk(func(where, record string) error {
			r := checker.Record{Where: where}
			if p, n, err := identified(record); err == nil {
				r.Producer, r.Number = p, n
			}
			if !yield(r) {
				return errStopped
			}
			return nil
		})
	})
	if broken != nil {
		return unknown(result.Checker, workload, broken)
	}
	return result
}

var errStopped = fmt.Errorf("no more is wanted")

// positions holds what producers heard when they came again against what they knew: an acknowledged record that the
// cluster does not know any more is lost, though its producer may send it again.
func (v *evidence) positions() checker.Result {
	j := checker.Judging("positions", v.workload)
	for i := range v.ops {
		o := &v.ops[i]
		if o.Invoke.F != history.Open || o.Type() != history.OK {
			continue
		}
		p, err := value[history.Opening](o)
		switch {
		case err != nil:
			j.Doubt("%v", err)
		case p.Position < p.Acked:
			j.Bad("event %d: producer %s comes again and hears that its records are known up to %d, and %d were acknowledged", o.End.Index, p.Producer, p.Position, p.Acked)
		case p.Position > p.Tried:
			j.Bad("event %d: producer %s comes again and hears that its records are known up to %d, and %d were sent", o.End.Index, p.Producer, p.Position, p.Tried)
		default:
			j.See("openings", 1)
		}
	}
	return j.Result()
}

// value reads the value of an operation.
func value[T any](o *history.Op) (v T, err error) {
	if err := json.Unmarshal(o.Value(), &v); err != nil {
		return v, fmt.Errorf("value of event %d: %w", o.Invoke.Index, err)
	}
	return v, nil
}
