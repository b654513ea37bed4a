package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// bank is a store with transactions, outside the cluster: it outlives restarts. It fails now and then, before or after it
// has done what it was asked.
type bank struct {
	mu        sync.Mutex
	rng       *rand.Rand
	faults    int
	tries     map[any]int
	next      int
	staged    map[string]map[string]int
	committed map[connector.Batch]bool
	balance   map[string]int
}

var errBank = errors.New("connection to the bank lost")

// do runs a transaction. What is asked for the first or second time may fail, so that no batch does.
func (b *bank) do(what any, f func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries[what]++
	may := b.tries[what] < 3
	if may && b.rng.IntN(3) == 0 {
		b.faults++
		return errBank
	}
	f()
	if may && b.rng.IntN(3) == 0 {
		b.faults++
		return errBank
	}
	return nil
}

type deposits struct{ bank *bank }

func (s deposits) Write(_ context.Context, p connector.Partition, seq iter.Seq[string]) (receipt []byte, err error) {
	sums := map[string]int{}
	for name := range seq {
		sums[name]++
	}
	p.Attempt = 0
	err = s.bank.do(p, func() {
		s.bank.next++
		receipt = fmt.Append(nil, s.bank.next)
		s.bank.staged[string(receipt)] = sums
	})
	return receipt, err
}

func (s deposits) Commit(_ context.Context, b connector.Batch, receipts [][]byte) error {
	return s.bank.do(b, func() {
		if s.bank.committed[b] {
			return
		}
		for _, r := range receipts {
			for name, n := range s.bank.staged[string(r)] {
				s.bank.balance[name] += n
			}
		}
		s.bank.committed[b] = true
	})
}

// Every record counts once in a transactional sink, however often writing and committing fail, before and after the fact.
func TestATransactionalSinkCountsEveryRecordOnce(t *testing.T) {
	input := [][]string{{"a", "b", "a"}, {}, {"c", "a"}, {"b"}}
	var faults atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for seed := range uint64(10) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel() // retries wait
				b := &bank{
					rng: rand.New(rand.NewPCG(seed, 1)), tries: map[any]int{}, staged: map[string]map[string]int{},
					committed: map[connector.Batch]bool{}, balance: map[string]int{},
				}
				streamtest.Run(t, input, func(s stream[string]) stream[string] {
					dstream.To(s, deposits{b})
					return s
				}, streamtest.RestartAfter(2), streamtest.LoseExecutorAfter(1))
				want := map[string]int{"a": 3, "b": 2, "c": 1}
				if !reflect.DeepEqual(b.balance, want) || len(b.committed) != len(input) {
					t.Errorf("balance %v after %d batches, want %v after %d", b.balance, len(b.committed), want, len(input))
				}
				faults.Add(int64(b.faults))
			})
		}
	})
	if faults.Load() == 0 {
		t.Error("nothing failed")
	}
}
