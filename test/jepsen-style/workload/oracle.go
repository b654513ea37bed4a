package workload

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
)

// oracle knows what every batch had to process, by the ledger's allocations and the texts of records.
type oracle struct {
	batches []checker.AllocatedBatch // from the first batch time on, without gaps
	words   []map[string]int64       // of each batch
}

// oracleOf reads the ledgers. Allocations that are not what was sent are an error: nothing can be told from them.
func oracleOf(v *evidence, line text) (*oracle, error) {
	batches, err := checker.Allocated(v.run, v.app.ID)
	if err != nil {
		return nil, err
	}
	o := &oracle{batches: batches}
	all := int64(0)
	for _, b := range batches {
		words, records := map[string]int64{}, int64(0)
		for _, r := range b.Ranges {
			for n := r.First; n <= r.Last; n++ {
				records++
				for w := range strings.FieldsSeq(line(r.Producer, n)) {
					words[w]++
				}
			}
		}
		if records != b.Records {
			return nil, fmt.Errorf("batch %d has %d records, its ranges %d", b.Time, b.Records, records)
		}
		o.words = append(o.words, words)
		all += records
	}
	if all == 0 {
		return nil, errors.New("no batch was given any record: there is nothing to hold outputs against")
	}
	return o, nil
}

// counts are the words of the batches from to to, both included.
func (o *oracle) counts(from, to int) map[string]int64 {
	sum := map[string]int64{}
	for _, words := range o.words[from : to+1] {
		for w, n := range words {
			sum[w] += n
		}
	}
	return sum
}

// counted is a saved batch of keys and counts.
type counted struct {
	time   int64
	dir    string
	counts map[string]int64
}

// countsOf reads saved batches of lines of a key, a tab and a count. A line without a tab counts its words.
func countsOf(saved *checker.Saved) ([]counted, error) {
	var all []counted
	for i := range saved.Batches {
		b := &saved.Batches[i]
		c := counted{time: b.Time, dir: b.Dir, counts: map[string]int64{}}
		err := b.Lines(func(line []byte) error {
			key, count, ok := strings.Cut(string(line), "\t")
			if !ok {
				for w := range strings.FieldsSeq(key) {
					c.counts[w]++
				}
				return nil
			}
			n, err := strconv.ParseInt(count, 10, 64)
			if err != nil {
				return fmt.Errorf("%s: line %q, expected a key, a tab and a count", b.Dir, line)
			}
			if _, twice := c.counts[key]; twice {
				return fmt.Errorf("%s: key %q comes twice", b.Dir, key)
			}
			c.counts[key] = n
			return nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func byTime(batches []counted) map[int64]*counted {
	m := map[int64]*counted{}
	for i := range batches {
		m[batches[i].time] = &batches[i]
	}
	return m
}

// compare holds one batch against what it must have. A batch that has nothing may have no directory.
func compare(j *checker.Judge, what string, time int64, got map[int64]*counted, want map[string]int64) {
	b := got[time]
	if b == nil {
		if len(want) > 0 {
			j.Bad("%s: batch %d is not there, expected %d keys", what, time, len(want))
		}
		return
	}
	j.See("batches", 1)
	if maps.Equal(b.counts, want) {
		return
	}
	keys := map[string]bool{}
	for k := range b.counts {
		keys[k] = true
	}
	for k := range want {
		keys[k] = true
	}
	var wrong []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if b.counts[k] != want[k] {
			wrong = append(wrong, fmt.Sprintf("%q has %d, expected %d", k, b.counts[k], want[k]))
		}
	}
	j.Bad("%s: %d of %d keys are wrong: %s", b.dir, len(wrong), len(keys), strings.Join(wrong[:min(3, len(wrong))], ", "))
}

// strangers finds batches that the ledger does not know, and comes to the verdict.
func strangers(j *checker.Judge, o *oracle, batches []counted) checker.Result {
	known := map[int64]bool{}
	for _, b := range o.batches {
		known[b.Time] = true
	}
	for _, b := range batches {
		if !known[b.time] {
			j.Bad("%s: the ledger knows no such batch", b.dir)
		}
	}
	return j.Result()
}

// words makes texts of 1 to 4 words out of keys different ones. A record's text is a function of seed, producer and
// position, so that an oracle knows it without having seen it.
func words(seed uint64, keys int) func(producer string, position uint64) string {
	return func(producer string, position uint64) string {
		h := fnv.New64a()
		_, _ = h.Write([]byte(producer)) // never fails
		x := mix(h.Sum64() ^ mix(seed) ^ position*0x9e3779b97f4a7c15)
		var text []byte
		for n := x%4 + 1; n > 0; n-- {
			x = mix(x)
			if len(text) > 0 {
				text = append(text, ' ')
			}
			a, b := x%uint64(keys), x>>32%uint64(keys)
			text = strconv.AppendUint(append(text, 'k'), min(a, b), 10) // low keys are frequent, high ones rare
		}
		return string(text)
	}
}

// mix spreads x over all 64 bits, one to one.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
