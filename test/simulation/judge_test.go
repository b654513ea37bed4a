package simulation_test

import (
	"maps"
	"sort"
	"strconv"
	"strings"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/fsm"
)

// judge checks an application that has stopped: every line is in the outputs once, in the batches that it was allocated
// to, and the batches are without gaps (invariants 2 to 4, 7 and 10).
func (s *sim) judge(p *program, ends map[int]int, total int64) {
	a := s.app(p)
	if a.Received != total || a.Processed != total || a.Discarded != 0 || a.Pending != 0 || a.Completed != a.Allocated {
		s.Errorf("%s: %d lines were given: %+v", p.name, total, *a)
	}
	v := s.view()
	next := a.Interval(a.ZeroTime, 1)
	sum, batches := int64(0), 0
	got := map[string]int{} // next number expected, by source and partition
	for b := range v.Batches(a.ID, a.ZeroTime) {
		if b.Time != next || b.State != fsm.Completed {
			s.Errorf("%s: batch %d is %v, expected batch %d completed", p.name, b.Time, b.State, next)
		}
		next = a.Interval(b.Time, 1)
		batches++
		sum += b.Records
		if f, ok := s.ledger.fact(a.ID, b.Time); ok && (f.index != b.Index || f.records != b.Records || f.attempt != 0 && f.attempt != b.Attempt) {
			s.Errorf("%s: batch %d is %+v, it was %+v", p.name, b.Time, *b, f)
		}
		if p.words {
			s.judgeWords(p, b, sum)
		} else {
			s.judgeRecords(p, b, got)
		}
	}
	if batches == 0 || next != a.Interval(a.Completed, 1) {
		s.Errorf("%s: %d batches end before %d, completed up to %d", p.name, batches, next, a.Completed)
	}
	if p.words {
		return
	}
	for i, src := range p.sources {
		for q := range src.partitions {
			if n := got[src.name+"/"+strconv.Itoa(q)]; n != ends[i] {
				s.Errorf("%s: %d lines of partition %d came out, %d were given", src.name, n, q, ends[i])
			}
		}
	}
}

// judgeWords checks the totals of a batch: those of some first lines of every partition, sum together, which is what was
// allocated up to it.
func (s *sim) judgeWords(p *program, b *fsm.Batch, sum int64) {
	text, ok := p.outputs.get(outputOf{0, b.Time})
	if !ok {
		if b.Records > 0 {
			s.Errorf("%s: batch %d of %d records has no output", p.name, b.Time, b.Records)
		}
		return
	}
	words := map[string]int{}
	for _, f := range strings.Fields(text) {
		w, n, _ := strings.Cut(f, "=")
		words[w], _ = strconv.Atoi(n)
	}
	var lines strings.Builder
	first := int64(0)
	src := p.sources[0]
	for q := range src.partitions {
		k := words["p"+strconv.Itoa(q)]
		first += int64(k)
		for n := range k {
			lines.WriteString(src.text(true, q, n+1))
		}
	}
	if want := executortest.Count(lines.String()); first != sum || !maps.Equal(words, want) {
		s.Errorf("%s: totals of batch %d are %v, %d lines were allocated up to it; expected %v", p.name, b.Time, text, sum, want)
	}
}

// judgeRecords checks that the records of a batch are as many as were allocated, and the next ones of their partitions.
func (s *sim) judgeRecords(p *program, b *fsm.Batch, got map[string]int) {
	records := int64(0)
	for o := range p.streams {
		text, ok := p.outputs.get(outputOf{o, b.Time})
		if !ok && b.Records > 0 {
			s.Errorf("%s: batch %d of %d records has no output %d", p.name, b.Time, b.Records, o)
		}
		numbers := map[string][]int{}
		for _, line := range strings.Fields(text) {
			of, number, _ := strings.Cut(line, ":")
			n, _ := strconv.Atoi(number)
			numbers[of] = append(numbers[of], n)
			records++
		}
		for of, all := range numbers {
			sort.Ints(all)
			for _, n := range all {
				if n != got[of]+1 {
					s.Errorf("%s: batch %d has line %d of %s after line %d", p.name, b.Time, n, of, got[of])
				}
				got[of] = n
			}
		}
	}
	if records != b.Records {
		s.Errorf("%s: batch %d has %d records in its outputs, %d were allocated", p.name, b.Time, records, b.Records)
	}
}
