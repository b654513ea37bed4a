package workload

import (
	"fmt"
	"maps"
	"path/filepath"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
)

// contents holds the records of every batch against those that the ledger gave it, where each input record is one line of
// the output: every batch that is completed is there, and has its own records and no others.
func (v *evidence) contents() checker.Result {
	saved, _ := checker.Outputs(v.workload, filepath.Join(v.dir, outputsPrefix), "") // once tells what is wrong with the files
	j := checker.Judging("batch contents", v.workload)
	batches, err := checker.Allocated(v.run, v.app.ID)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	there := map[int64]*checker.SavedBatch{}
	for i := range saved.Batches {
		there[saved.Batches[i].Time] = &saved.Batches[i]
	}
	for i := range batches {
		b := &batches[i]
		dir := there[b.Time]
		delete(there, b.Time)
		switch {
		case b.Dropped: // what runs when it is stopped at once may come to its end or not
		case !b.Completed:
			j.Bad("batch %d was allocated and never completed", b.Time)
		case dir == nil:
			j.Bad("batch %d is completed, and its directory is not there", b.Time)
		default:
			j.See("batches", 1)
			sameRecords(j, b, dir)
		}
	}
	for _, dir := range there {
		j.Bad("%s: the ledger knows no such batch", dir.Dir)
	}
	return j.Result()
}

// sameRecords holds one batch against its directory.
func sameRecords(j *checker.Judge, b *checker.AllocatedBatch, dir *checker.SavedBatch) {
	want, records := map[string]int{}, int64(0)
	for _, r := range b.Ranges {
		for n := r.First; n <= r.Last; n++ {
			want[identity(r.Producer, n)]++
			records++
		}
	}
	if records != b.Records {
		j.Bad("batch %d was given blocks of %d records, with %d positions", b.Time, b.Records, records)
	}
	got := map[string]int{}
	if err := dir.Lines(func(line []byte) error { got[string(line)]++; return nil }); err != nil {
		j.Doubt("%v", err)
		return
	}
	j.Found.Counts["records"] += records
	if maps.Equal(want, got) {
		return
	}
	var wrong []string
	for _, m := range []map[string]int{want, got} {
		for line := range m {
			if want[line] != got[line] {
				wrong = append(wrong, fmt.Sprintf("%q comes %d times, expected %d", line, got[line], want[line]))
			}
		}
	}
	j.Bad("%s does not hold what the ledger gave its batch: %s", dir.Dir, wrong[0])
}

// inLedger holds what the ledger gave all batches against what was sent. It is for outputs that do not show single records:
// they are held against the ledger.
func (v *evidence) inLedger() checker.Result {
	const name = "exactly-once in the ledger"
	batches, err := checker.Allocated(v.run, v.app.ID)
	if err != nil {
		return unknown(name, v.workload, err)
	}
	r := checker.ExactlyOnce(v.workload, v.acked, v.maybe, func(yield func(checker.Record) bool) {
		for i := range batches {
			where := fmt.Sprintf("batch %d", batches[i].Time)
			for _, k := range batches[i].Ranges {
				for n := k.First; n <= k.Last; n++ {
					if !yield(checker.Record{Producer: k.Producer, Number: n, Where: where}) {
						return
					}
				}
			}
		}
	})
	r.Checker = name
	return r
}
