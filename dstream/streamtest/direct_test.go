package streamtest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// numbered is a direct source of two partitions, "even" and "odd": batch n reads the next n numbers of each.
type numbered struct{ failAt int64 }

func (s numbered) Plan(_ context.Context, r connector.PlanRequest) (connector.Plan, error) {
	n := uint64(r.Time.UnixMilli() / r.Interval.Milliseconds())
	if int64(n) == s.failAt {
		return connector.Plan{}, errors.New("the source is gone")
	}
	var p connector.Plan
	for i, name := range []string{"even", "odd"} {
		at := r.Position(name)
		data := binary.BigEndian.AppendUint64([]byte{byte(i)}, at)
		p.Parts = append(p.Parts, connector.Part{
			Data: data, Records: int64(n), Bytes: int64(n),
			Ranges: []connector.Range{{Partition: name, First: at + 1, Last: at + n}},
		})
	}
	return p, nil
}

func (s numbered) Read(_ context.Context, p connector.Part, yield func(int) bool) error {
	from := int(binary.BigEndian.Uint64(p.Data[1:]))
	for i := range int(p.Records) {
		if !yield(2*(from+i) + int(p.Data[0])) {
			return nil
		}
	}
	return nil
}

// Rule 12: every record is in exactly one batch, whatever is lost in between.
func TestDirectSourcesAreReadOnce(t *testing.T) {
	want := [][]int{{0, 1}, {2, 4, 3, 5}, {6, 8, 10, 7, 9, 11}, {12, 14, 16, 18, 13, 15, 17, 19}}
	for restart := range 4 {
		got := streamtest.RunSource(t, func(c *dstream.Context) stream[int] {
			return dstream.DirectStream(c, numbered{})
		}, streamtest.Batches(4), streamtest.RestartAfter(restart), streamtest.RestartAfter(restart+1))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("restarts after %d: got %v, want %v", restart, got, want)
		}
	}
}

// Rules 7 and 12: what state is computed again from is the plan that was committed.
func TestStateOverADirectSourceSurvivesRestarts(t *testing.T) {
	total := func(c *dstream.Context) stream[kv[string, int]] {
		all := dstream.Map(dstream.DirectStream(c, numbered{}), func(v int) kv[string, int] { return pair("all", v) })
		return dstream.UpdateStateByKey(all, runningSum)
	}
	var opts []streamtest.Option
	for n := range 6 {
		opts = append(opts, streamtest.RestartAfter(n+1))
	}
	got := streamtest.RunSource(t, total, append(opts, streamtest.Batches(7))...)
	for i, b := range got {
		n := (i + 1) * (i + 2) // numbers so far
		if len(b) != 1 || b[0].Value != n*(n-1)/2 {
			t.Errorf("batch %d: %v", i+1, b)
		}
	}
	if len(got) != 7 {
		t.Errorf("%d batches", len(got))
	}
}

func TestASourceThatCannotBePlannedFailsItsBatch(t *testing.T) {
	tb := &bare{}
	got := streamtest.RunSource(tb, func(c *dstream.Context) stream[int] {
		return dstream.DirectStream(c, numbered{failAt: 2})
	}, streamtest.Batches(3))
	if len(got) != 1 || len(tb.errors) != 1 || !strings.Contains(tb.errors[0], "batch 2 at 2000 ms") || !strings.Contains(tb.errors[0], "the source is gone") {
		t.Errorf("got %v, errors %q", got, tb.errors)
	}
}

func TestReceiversDoNotRunHere(t *testing.T) {
	tb := &bare{}
	streamtest.RunSource(tb, func(c *dstream.Context) stream[int] { return dstream.ReceiverStream(c, silent{}) }, streamtest.Batches(1))
	if want := "the graph has 1 streams with receivers, and there is input for 0"; !strings.Contains(tb.fatal, want) {
		t.Errorf("%q does not say %q", tb.fatal, want)
	}
}

type silent struct{}

func (silent) Run(ctx context.Context, _ connector.Inlet[int]) error {
	<-ctx.Done()
	return fmt.Errorf("over: %w", ctx.Err())
}
