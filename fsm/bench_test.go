package fsm

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// benchLedger is a machine with an application whose receiver runs.
func benchLedger(b *testing.B) (*Machine, *uint64, func(...Command) []Result) {
	b.Helper()
	m, index := New(), new(uint64)
	apply := func(commands ...Command) []Result {
		data, err := Encode(1, commands...)
		if err != nil {
			b.Fatal(err)
		}
		*index++
		r, err := m.Apply(*index, data)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	apply(&Epoch{Term: 1})
	apply(&SessionOpened{Store: "A", Generation: 1}) // 2
	apply(&SessionOpened{Store: "B", Generation: 1}) // 3
	apply(submission("wc"))                          // 4
	apply(&ReceiverScheduled{App: 4, Session: 2})    // 5
	apply(&ReceiverRegistered{App: 4, Session: 2, Instance: 5})
	apply(&CoordinatorAssigned{App: 4, Session: 2}) // 7
	return m, index, apply
}

func benchBlock(n uint64) AddedBlock {
	return AddedBlock{
		ID: id.Block{App: 4, Instance: 5, Number: n}, Records: 1000, Bytes: 100_000, CRC: 7, Stores: []id.Store{"A", "B"},
		Ranges: []connector.Range{{Partition: "producer", First: n, Last: n}},
	}
}

// BenchmarkApplyBlocksAdded applies entries of several commands of one block each, as group commit makes them, with
// live blocks in the ledger and a view taken after each entry. It reports the time per block.
func BenchmarkApplyBlocksAdded(b *testing.B) {
	for _, perEntry := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("commands=%d", perEntry), func(b *testing.B) {
			m, index, apply := benchLedger(b)
			number, at := uint64(0), id.Time(10_000)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				commands := make([]Command, perEntry)
				for i := range commands {
					number++
					commands[i] = &BlocksAdded{Session: 2, Blocks: []AddedBlock{benchBlock(number)}, NowMS: 1}
				}
				data, err := Encode(1, commands...)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				*index++
				r, err := m.Apply(*index, data)
				if err != nil || r[perEntry-1].Outcome != Done {
					b.Fatal(err, r[perEntry-1].Reason)
				}
				m.View()
				if number%10_000 < uint64(perEntry) {
					b.StopTimer()
					at += 1000
					apply(&BlocksAllocated{App: 4, From: at, To: at})
					apply(&BatchCompleted{App: 4, Time: at, Office: 7, Attempt: m.View().Attempt(4, at)})
					apply(&BatchesCleaned{App: 4, UpTo: at - 1000})
					b.StartTimer()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(number), "ns/block")
		})
	}
}

// BenchmarkSnapshot writes, and restores, a ledger of 100,000 live blocks; taking the view is what Apply waits for.
func BenchmarkSnapshot(b *testing.B) {
	m, _, apply := benchLedger(b)
	var blocks []AddedBlock
	for n := range uint64(100_000) {
		blocks = append(blocks, benchBlock(n+1))
		blocks[n].Bytes = 10
	}
	if r := apply(&BlocksAdded{Session: 2, Blocks: blocks}); r[0].Outcome != Done {
		b.Fatal(r[0].Reason)
	}
	b.Run("view", func(b *testing.B) {
		for b.Loop() {
			m.view = View{}
			m.View()
		}
	})
	b.Run("write", func(b *testing.B) {
		v := m.View()
		for b.Loop() {
			if err := v.WriteSnapshot(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		data := snapshot(b, m.View())
		for b.Loop() {
			if err := New().Restore(bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
