package connector_test

import (
	"context"
	"fmt"

	"github.com/raftstream/raftstream/connector"
)

// journal is a receiver of a source that can send again: a list of entries, each with a number. A real one would read
// from a connection that it opens in Run.
type journal struct {
	entries []string
	acked   func(number uint64)
}

// Run reads on from what the stream has, and acknowledges an entry when its block is committed.
func (j *journal) Run(ctx context.Context, in connector.Inlet[string]) error {
	const partition = "journal"
	for next := in.Position(partition) + 1; next <= uint64(len(j.entries)); next++ {
		r := connector.Range{Partition: partition, First: next, Last: next}
		receipt, err := in.StoreAt(ctx, r, j.entries[next-1])
		if err != nil {
			return fmt.Errorf("store entry %d: %w", next, err)
		}
		select {
		case <-receipt.Done():
		case <-ctx.Done():
			return nil
		}
		if _, err := receipt.Result(); err != nil {
			return fmt.Errorf("entry %d: %w", next, err) // Run is called again and reads on from Position
		}
		j.acked(next)
	}
	return nil // the source is exhausted
}

// A receiver is given to dstream.ReceiverStream in a build function. Here it runs against an inlet that commits at once.
func ExampleReceiver() {
	j := &journal{entries: []string{"one", "two", "three"}, acked: func(n uint64) { fmt.Println("acknowledged", n) }}
	if err := j.Run(context.Background(), &memory{position: 1}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// stored two
	// acknowledged 2
	// stored three
	// acknowledged 3
}

// memory is an inlet that has entry 1 from an earlier instance.
type memory struct{ position uint64 }

func (m *memory) Store(_ context.Context, records ...string) error { return nil }

func (m *memory) StoreAt(_ context.Context, r connector.Range, records ...string) (connector.Receipt, error) {
	if r.First != m.position+1 {
		return nil, &connector.PositionError{Partition: r.Partition, Got: r.First, Want: m.position + 1}
	}
	m.position = r.Last
	fmt.Println("stored", records[0])
	return committed{}, nil
}

func (m *memory) Position(string) uint64        { return m.position }
func (m *memory) Pushes() <-chan connector.Push { return nil }

// committed is a receipt of what is committed already.
type committed struct{}

func (committed) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

func (committed) Result() (uint64, error) { return 42, nil }
