package lineage_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// planned is an engine with one part of so many records.
func planned(records int64) *lineagetest.Engine {
	return &lineagetest.Engine{Parts: map[lineagetest.Input]connector.Part{{Time: 1000}: {Records: records, Data: []byte("d")}}}
}

// taken reads the direct partition that read gives, at most limit records of it.
func taken(e *lineagetest.Engine, limit int, read lineage.Reader[int]) (got []int, err error) {
	d := lineage.Direct(scope(), 1, read)
	err = e.Try(d, func(t dataset.Task) {
		d.Each(t, 0, func(v int) bool {
			got = append(got, v)
			return len(got) != limit
		})
	})
	return got, err
}

func upTo(n int) lineage.Reader[int] {
	return func(_ context.Context, _ connector.Part, yield func(int) bool) error {
		for i := range n {
			if !yield(i) {
				return errors.New("not asked for")
			}
		}
		return nil
	}
}

func TestDirectPartIsReadWholeOrTheTaskFails(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name  string
		read  lineage.Reader[int]
		limit int
		count int
		says  string
	}{
		{"whole", upTo(3), -1, 3, ""},
		{"the consumer has enough", upTo(3), 2, 2, ""},
		{"the consumer has enough at the last one", upTo(3), 3, 3, ""},
		{"the source stops early", upTo(2), -1, 2, "yielded 2 records, planned were 3"},
		{"the source goes on too long", upTo(4), -1, 3, "more than the 3 records that were planned"},
		{"the source has no end", func(_ context.Context, _ connector.Part, yield func(int) bool) error {
			for yield(0) {
			}
			return nil
		}, -1, 3, "more than the 3 records that were planned"},
		{"an error", func(context.Context, connector.Part, func(int) bool) error { return boom }, -1, 0, "stream 0 at 1000, part 0: boom"},
		{"the source ignores that there is enough", func(ctx context.Context, p connector.Part, yield func(int) bool) error {
			for i := range 3 {
				yield(i)
			}
			return nil
		}, 1, 1, ""},
		{"the source recovers the consumer's panic", func(ctx context.Context, p connector.Part, yield func(int) bool) error {
			func() {
				defer func() { _ = recover() }()
				yield(-1)
			}()
			for i := range 2 {
				yield(i)
			}
			return nil
		}, -1, 0, "a panic was recovered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := planned(3)
			d := lineage.Direct(scope(), 1, c.read)
			count := 0
			err := e.Try(d, func(task dataset.Task) {
				d.Each(task, 0, func(v int) bool {
					if v < 0 {
						panic("consumer")
					}
					count++
					return count != c.limit
				})
			})
			if count != c.count {
				t.Errorf("%d records, want %d", count, c.count)
			}
			if c.says == "" && err != nil {
				t.Error(err)
			} else if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

func TestErrorOfADirectSourceKeepsItsKind(t *testing.T) {
	_, err := taken(planned(1), -1, func(context.Context, connector.Part, func(int) bool) error { return connector.ErrMissing })
	if !errors.Is(err, connector.ErrMissing) {
		t.Errorf("%v, want ErrMissing", err)
	}
}

func TestDirectPartIsWhatWasPlannedForThePartition(t *testing.T) {
	e := &lineagetest.Engine{Parts: map[lineagetest.Input]connector.Part{}}
	for i := range 3 {
		e.Parts[lineagetest.Input{Time: 1000, Part: i}] = connector.Part{Records: 1, Data: []byte{byte(i)}}
	}
	d := lineage.Direct(scope(), 3, func(_ context.Context, p connector.Part, yield func(int) bool) error {
		yield(int(p.Data[0]))
		return nil
	})
	if got := slices.Concat(all(t, e, lineage.Map(scope(), d, func(i int) int { return i * 10 }))...); !slices.Equal(got, []int{0, 10, 20}) {
		t.Errorf("%v", got)
	}
}

// A task that is cancelled ends, however long its source goes on.
func TestCancelledTaskEndsWithinItsDirectPart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := planned(1 << 40)
	e.Ctx = ctx
	count := 0
	_, err := taken(e, -1, func(_ context.Context, _ connector.Part, yield func(int) bool) error {
		for yield(count) {
			if count++; count == 10 {
				cancel()
			}
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || count > 5000 {
		t.Errorf("%v after %d records, want the task's end soon", err, count)
	}
}
