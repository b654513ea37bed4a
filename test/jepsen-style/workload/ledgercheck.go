package workload

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

func (w *ledger) Check(dir string, run *checker.Run) []checker.Result {
	v, err := gather(w.Name(), dir, run)
	if err != nil {
		return []checker.Result{unknown("ledger reads", w.Name(), err)}
	}
	r := readsOf(v)
	return append(v.once(), r.check(), checkBatches(v), checkReceivers(v), checker.Blocks(run, w.Name(), dir))
}

// view is what one read saw of the ledger.
type view[T any] struct {
	value      T
	index      uint64
	node       string // whose copy it was, "" for a linearizable read
	start, end int64
	event      int64
}

// viewsOf gives the answers to reads of one kind, in order of index.
func viewsOf[T any](v *evidence, f string, j *checker.Judge) []view[T] {
	var views []view[T]
	for i := range v.ops {
		o := &v.ops[i]
		if o.Invoke.F != f || o.Type() != history.OK {
			continue
		}
		x, err := value[T](o)
		if err != nil {
			j.Doubt("%v", err)
			continue
		}
		views = append(views, view[T]{value: x, index: o.End.RaftIndex, node: o.Invoke.Node, start: o.Start(), end: o.Return(), event: o.End.Index})
	}
	slices.SortStableFunc(views, func(a, b view[T]) int { return cmp.Compare(a.index, b.index) })
	return views
}

// reads are the reads of counts, and what was sent meanwhile.
type reads struct {
	*evidence
	*checker.Judge
	views   []view[history.Counts] // in order of index
	records []*sent
}

// sent is one record.
type sent struct {
	begun, acked int64  // first invocation, first acknowledgement: never is math.MaxInt64
	index        uint64 // of the acknowledgement, 0 for not known
}

func readsOf(v *evidence) *reads {
	r := &reads{evidence: v, Judge: checker.Judging("ledger reads", v.workload)}
	r.views = viewsOf[history.Counts](v, history.Read, r.Judge)
	known := map[string]*sent{}
	for i := range v.ops {
		o := &v.ops[i]
		if o.Invoke.F != history.Add {
			continue
		}
		x, err := value[history.Range](o)
		if err != nil {
			r.Doubt("%v", err)
			continue
		}
		for n := x.First; n <= x.Last; n++ {
			s := known[identity(x.Producer, n)]
			if s == nil {
				s = &sent{begun: o.Start(), acked: math.MaxInt64}
				known[identity(x.Producer, n)] = s
				r.records = append(r.records, s)
			}
			if o.Type() == history.OK && o.End.Time < s.acked {
				s.acked = o.End.Time
				if x.Whole {
					s.index = o.End.RaftIndex
				}
			}
		}
	}
	return r
}

func (r *reads) check() checker.Result {
	for i := range r.views {
		x := &r.views[i]
		r.See("reads", 1)
		if c := x.value; c.Received < c.Processed+c.Queued+c.Discarded {
			r.Bad("event %d: %d received, %d processed, %d queued, %d discarded", x.event, c.Received, c.Processed, c.Queued, c.Discarded)
		}
		if i > 0 {
			r.follows(&r.views[i-1], x)
		}
	}
	r.inTime()
	r.atIndex()
	backwards(r.evidence, r.Judge, r.views)
	return r.Result()
}

// follows holds two reads against each other that are neighbours in the order of the log.
func (r *reads) follows(a, b *view[history.Counts]) {
	x, y := a.value, b.value
	x.Stale, y.Stale = false, false
	if a.index == b.index {
		if x != y {
			r.Bad("events %d and %d: two reads at index %d: %+v and %+v", a.event, b.event, a.index, x, y)
		}
		return
	}
	if y.Received < x.Received || y.Processed < x.Processed || y.Discarded < x.Discarded || y.Allocated < x.Allocated || y.Completed < x.Completed || y.Zero != x.Zero {
		r.Bad("events %d and %d: at index %d %+v, at index %d %+v: something went back", a.event, b.event, a.index, x, b.index, y)
	}
}

// inTime: a read that nobody's copy may answer sees all that was acknowledged before it began, and nothing that began
// after it ended.
func (r *reads) inTime() {
	var acked, begun []int64
	for _, s := range r.records {
		acked, begun = append(acked, s.acked), append(begun, s.begun)
	}
	slices.Sort(acked)
	slices.Sort(begun)
	before := func(times []int64, t int64) int64 { n, _ := slices.BinarySearch(times, t); return int64(n) }
	linear := slices.DeleteFunc(slices.Clone(r.views), func(x view[history.Counts]) bool { return x.node != "" })
	for _, x := range linear {
		r.See("linearizable reads", 1)
		if n := before(acked, x.start); x.value.Received < n {
			r.Bad("event %d: %d records received at index %d, %d were acknowledged before the read began", x.event, x.value.Received, x.index, n)
		}
	}
	for _, x := range r.views {
		if n := before(begun, x.end); x.value.Received > n {
			r.Bad("event %d: %d records received at index %d, %d were sent before the read ended", x.event, x.value.Received, x.index, n)
		}
	}
	slices.SortFunc(linear, func(a, b view[history.Counts]) int { return cmp.Compare(a.end, b.end) })
	highest := make([]uint64, len(linear)+1) // of the first n that ended
	for i, x := range linear {
		highest[i+1] = max(highest[i], x.index)
	}
	for _, x := range linear {
		n, _ := slices.BinarySearchFunc(linear, x.start, func(a view[history.Counts], t int64) int { return cmp.Compare(a.end, t) })
		if x.index < highest[n] {
			r.Bad("event %d: read at index %d, one that had ended before saw index %d", x.event, x.index, highest[n])
		}
	}
}

// atIndex: what the ledger has received at an index is all that was acknowledged up to there. It may be more: a report that
// is repeated after its block was cleaned is acknowledged with the index of the repetition, because the ledger remembers no
// other. How much more, inTime bounds.
func (r *reads) atIndex() {
	var committed []uint64
	for _, s := range r.records {
		if s.index > 0 {
			committed = append(committed, s.index)
		}
	}
	slices.Sort(committed)
	r.See("records with an index", int64(len(committed)))
	for _, x := range r.views {
		n, _ := slices.BinarySearch(committed, x.index+1)
		if x.value.Received < int64(n) {
			r.Bad("event %d: %d records received at index %d, %d were acknowledged as committed up to there", x.event, x.value.Received, x.index, n)
		}
	}
}

// backwards finds reads of one node's copy at an index lower than that of a read before: a copy goes back only where
// its process is started again.
func backwards[T any](v *evidence, j *checker.Judge, views []view[T]) {
	byNode := map[string][]view[T]{}
	for _, x := range views {
		if x.node != "" {
			byNode[x.node] = append(byNode[x.node], x)
		}
	}
	faults := history.Faults(v.run.Events)
	for node, all := range byNode {
		slices.SortFunc(all, func(a, b view[T]) int { return cmp.Compare(a.event, b.event) })
		for i := 1; i < len(all); i++ {
			a, b := all[i-1], all[i]
			j.See("reads of single nodes", 1)
			if b.index < a.index && !restarted(faults, node, a.start, b.end) {
				j.Bad("event %d: node %s shows index %d, event %d before it index %d", b.event, node, b.index, a.event, a.index)
			}
		}
	}
}

// afterFault is how long after a fault a node may still come to itself.
const afterFault = int64(10e9)

// restarted reports whether a fault about the node was near the time between two events.
func restarted(faults []history.Fault, node string, from, to int64) bool {
	name := fmt.Appendf(nil, "%q", node)
	return slices.ContainsFunc(faults, func(f history.Fault) bool {
		about := f.Begin.Node == node || bytes.Contains(f.Begin.Value, name) || bytes.Contains(f.End.Value, name)
		ended := f.Ended()
		if ended < math.MaxInt64-afterFault {
			ended += afterFault
		}
		return about && f.Start() <= to && from <= ended
	})
}

// checkBatches: batch times have no gaps, the records of a batch never change, and what is completed stays so.
func checkBatches(v *evidence) checker.Result {
	j := checker.Judging("batches", v.workload)
	views := viewsOf[batchList](v, batchesOp, j)
	records, done := map[int64]int64{}, map[int64]bool{}
	for _, x := range views {
		for i, b := range x.value.Batches {
			j.See("batches", 1)
			if i > 0 && b.Time != x.value.Batches[i-1].Time+v.app.BatchMS {
				j.Bad("event %d: batch %d follows batch %d, the interval is %d ms", x.event, b.Time, x.value.Batches[i-1].Time, v.app.BatchMS)
			}
			if n, ok := records[b.Time]; ok && n != b.Records {
				j.Bad("event %d: batch %d has %d records, it had %d", x.event, b.Time, b.Records, n)
			}
			if done[b.Time] && !b.Complete {
				j.Bad("event %d: batch %d is not completed at index %d, it was before", x.event, b.Time, x.index)
			}
			if i > 0 && b.Complete && !x.value.Batches[i-1].Complete {
				j.Bad("event %d: batch %d is completed before batch %d", x.event, b.Time, x.value.Batches[i-1].Time)
			}
			records[b.Time], done[b.Time] = b.Records, done[b.Time] || b.Complete
		}
	}
	backwards(v, j, views)
	return j.Result()
}

// checkReceivers: the instance of a stream never goes back, and is the same for all who look at the same index.
func checkReceivers(v *evidence) checker.Result {
	j := checker.Judging("receivers", v.workload)
	views := viewsOf[receiverList](v, receiversOp, j)
	type seen struct {
		receiverRow
		index uint64
	}
	last := map[int32]seen{}
	for _, x := range views {
		for _, r := range x.value.Receivers {
			j.See("receivers", 1)
			was, ok := last[r.Stream]
			switch {
			case ok && r.Instance < was.Instance:
				j.Bad("event %d: stream %d has instance %d at index %d, it had %d", x.event, r.Stream, r.Instance, x.index, was.Instance)
			case ok && was.index == x.index && r != was.receiverRow:
				j.Bad("event %d: stream %d is %+v at index %d, another read there saw %+v", x.event, r.Stream, r, x.index, was.receiverRow)
			}
			last[r.Stream] = seen{r, x.index}
		}
	}
	backwards(v, j, views)
	return j.Result()
}
