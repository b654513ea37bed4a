package simulation_test

import (
	"maps"
	"sort"
	"strconv"
	"strings"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/fsm"
)

// judge checks an application that has stopped: every line that was acknowledged is in the outputs once, in the batches
// that it was allocated to, unless its owner gave it up, and the batches are without gaps (invariants 2 to 4, 7 and 10).
func (s *sim) judge(p *program, a *fsm.App) {
	s.judgeCounts(p, a)
	next := a.Interval(a.ZeroTime, 1)
	sum, out := int64(0), int64(0)
	got := map[string]int{} // last line that came out, by source and partition
	for b := range s.ledger.ended(a.ID).Batches(a.ID, a.ZeroTime) {
		if b.Time != next || b.State != fsm.Completed {
			s.Errorf("%s: batch %d is %v, expected batch %d completed", p.name, b.Time, b.State, next)
		}
		next = a.Interval(b.Time, 1)
		sum += b.Records
		if f, ok := s.ledger.fact(a.ID, b.Time); ok && (f.index != b.Index || f.records != b.Records || f.attempt != 0 && f.attempt != b.Attempt) {
			s.Errorf("%s: batch %d is %+v, it was %+v", p.name, b.Time, *b, f)
		}
		if p.words {
			s.judgeWords(p, b, sum, got)
			out += b.Records
		} else {
			out += s.judgeRecords(p, b, got)
		}
	}
	if next != a.Interval(a.Completed, 1) || out != a.Processed {
		s.Errorf("%s: batches end before %d, with %d lines: %+v", p.name, next, out, *a)
	}
	for _, src := range p.sources {
		for q := range src.partitions {
			least, most := src.span(q)
			if a.Discarded > 0 {
				least = 0
			}
			if n := got[src.name+"/"+strconv.Itoa(q)]; n < least || n > most {
				s.Errorf("%s: %d lines of partition %d came out, expected %d to %d", src.name, n, q, least, most)
			}
		}
	}
}

// judgeCounts checks what the ledger counted: nothing is given up where no owner allowed it.
func (s *sim) judgeCounts(p *program, a *fsm.App) {
	least, most := int64(0), int64(0)
	for _, src := range p.sources {
		for q := range src.partitions {
			from, to := src.span(q)
			least += int64(from)
			most += int64(to)
		}
	}
	if a.Received < least || a.Received > most || a.Received != a.Processed+a.Discarded || a.Pending != 0 || a.Completed != a.Allocated {
		s.Errorf("%s: %d to %d lines were given: %+v", p.name, least, most, *a)
	}
	if a.Discarded == 0 {
		return
	}
	switch {
	case a.AtOnce:
		s.seen(discardedAtOnce)
	case p.lossy:
		s.seen(inputLost)
	default:
		s.Errorf("%s: %d lines were given up, which nobody allowed", p.name, a.Discarded)
	}
}

// judgeWords checks the totals of a batch: those of some first lines of every partition, sum together, which is what was
// allocated up to it.
func (s *sim) judgeWords(p *program, b *fsm.Batch, sum int64, got map[string]int) {
	text, ok := p.outputs.get(p.output(0, b.Time, b.Attempt))
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
		got[src.name+"/"+strconv.Itoa(q)] = k
		for n := range k {
			lines.WriteString(src.text(true, q, n+1))
		}
	}
	if want := executortest.Count(lines.String()); first != sum || !maps.Equal(words, want) {
		s.Errorf("%s: totals of batch %d are %v, %d lines were allocated up to it; expected %v", p.name, b.Time, text, sum, want)
	}
}

// judgeRecords checks that the records of a batch are as many as were allocated, and the next ones of their partitions;
// less, with gaps, where loss may be accepted. It gives how many they are.
func (s *sim) judgeRecords(p *program, b *fsm.Batch, got map[string]int) (records int64) {
	for o := range p.streams {
		text, ok := p.outputs.get(p.output(o, b.Time, b.Attempt))
		if !ok && b.Records > 0 && !p.lossy {
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
				if n <= got[of] || n > got[of]+1 && !p.lossy {
					s.Errorf("%s: batch %d has line %d of %s after line %d", p.name, b.Time, n, of, got[of])
				}
				got[of] = n
			}
		}
	}
	if records > b.Records || records < b.Records && !p.lossy {
		s.Errorf("%s: batch %d has %d records in its outputs, %d were allocated", p.name, b.Time, records, b.Records)
	}
	return records
}
