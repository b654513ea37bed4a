package dstream_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// source stores two batches of records, the second with positions.
type source struct{}

func (source) Run(ctx context.Context, in connector.Inlet[string]) error {
	if err := in.Store(ctx, "a\nb", ""); err != nil {
		return err
	}
	if err := in.Store(ctx); err != nil {
		return err
	}
	r := connector.Range{Partition: "p", First: in.Position("p") + 1, Last: in.Position("p") + 2}
	if _, err := in.StoreAt(ctx, r, "c", "d"); err != nil {
		return err
	}
	for _, wrong := range []connector.Range{{Partition: "p", First: 1, Last: 3}, {First: 1, Last: 2}, {Partition: "p", First: 2, Last: 1}} {
		if _, err := in.StoreAt(ctx, wrong, "x", "y"); err == nil {
			return fmt.Errorf("range %+v of two records was taken", wrong)
		}
	}
	return nil
}

// block is an inlet that keeps what is added.
type block struct {
	bytes  []byte
	count  int
	ranges []connector.Range
}

func (b *block) Add(_ context.Context, r dataset.Records) (connector.Receipt, error) {
	b.bytes = append(b.bytes, r.Bytes...)
	b.count += r.Count
	b.ranges = append(b.ranges, r.Range)
	clear(r.Bytes) // Add copies; the caller may use them again
	return nil, nil
}
func (b *block) Position(string) uint64        { return 7 }
func (b *block) Pushes() <-chan connector.Push { return nil }

func TestReceivedRecordsAreReadFromTheirBlock(t *testing.T) {
	var got []string
	app := built(t, func(c *dstream.Context) {
		s := dstream.ReceiverStream(c, source{}, dstream.Pushed(), dstream.PreferredNode("n1"), dstream.MaxRate(500))
		s.Filter(func(line string) bool { got = append(got, line); return true }).Print()
	})
	if in := app.Plan().Inputs[0]; in.Source != "dstream_test.source" || !in.Pushed || in.Preferred != "n1" || in.MaxRate != 500 {
		t.Errorf("input %+v", in)
	}
	r, ok := app.Receiver(0)
	if !ok {
		t.Fatal("no receiver")
	}
	if _, ok := app.Receiver(1); ok {
		t.Error("a stream that is no input has a receiver")
	}
	var b block
	if err := r.Run(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if b.count != 4 || !slices.Equal(b.ranges, []connector.Range{{}, {Partition: "p", First: 8, Last: 9}}) {
		t.Errorf("%d records, ranges %+v", b.count, b.ranges)
	}
	if _, err := runTasks(t, app, dataset.Batch{App: 1, Time: 1000}, map[lineagetest.Input][]byte{{Time: 1000}: b.bytes}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"a\nb", "", "c", "d"}) {
		t.Errorf("read %q", got)
	}
}
