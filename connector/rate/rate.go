// Package rate owns a source that makes its own lines, so many a second, for tests and demonstrations. It promises that
// line n is the same on every node and in every run, and that each number is in exactly one batch. It must not know the
// engine.
package rate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
)

const (
	// MaxPerSecond bounds the rate.
	MaxPerSecond = 10_000_000

	// partition is the only partition of the source; its positions are the numbers of the lines, from 1.
	partition = "rate"
	// partLines is how many lines make one more part worth it, and mostParts how many parts there are at most.
	partLines = 5_000
	mostParts = 64
	// dataVersion is the format of data; docs/formats/parts.md describes it.
	dataVersion = 1
	// checkEvery is how many lines are made between two looks at the context.
	checkEvery = 4096
)

// Option changes a default of the stream.
type Option = dstream.Option

// Lines is the stream of perSecond lines a second: those that follow the last ones taken. A batch has what one interval
// gives, or what rate control lets through if that is less, whatever time has passed since the batch before: batches that were due while no driver led stay empty, and are
// not made up for. Line tells the lines.
func Lines(c *dstream.Context, perSecond int, opts ...Option) *dstream.DStream[string] {
	s, err := New(perSecond)
	opts = append([]Option{dstream.Source("rate"), dstream.Check(err)}, opts...)
	return dstream.DirectStream(c, s, opts...)
}

// Source makes lines.
type Source struct{ perSecond int64 }

var _ connector.DirectSource[string] = (*Source)(nil)

// New makes a source of perSecond lines a second.
func New(perSecond int) (*Source, error) {
	s := &Source{perSecond: int64(perSecond)}
	if perSecond < 1 || perSecond > MaxPerSecond {
		return s, fmt.Errorf("%d lines a second, expected 1 to %d", perSecond, MaxPerSecond)
	}
	return s, nil
}

// data is a connector.Part's Data.
type data struct {
	Version int    `json:"v"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
}

// Plan takes the next lines, in parts of equal size.
func (s *Source) Plan(_ context.Context, r connector.PlanRequest) (connector.Plan, error) {
	n := s.due(r.Time, r.Interval)
	n = min(n, max(r.MaxBytes/maxLine, 1))
	if r.MaxRecords > 0 {
		n = min(n, r.MaxRecords)
	}
	if n == 0 {
		return connector.Plan{}, nil
	}
	parts := min((n+partLines-1)/partLines, mostParts, int64(max(r.MaxParts, 1)))
	before := r.Position(partition)
	var p connector.Plan
	for i := range parts {
		first, end := before+uint64(i*n/parts)+1, before+uint64((i+1)*n/parts)
		b, err := json.Marshal(data{Version: dataVersion, First: first, Last: end})
		if err != nil {
			return connector.Plan{}, fmt.Errorf("encode a part of a rate plan: %w", err)
		}
		records := int64(end - first + 1)
		p.Parts = append(p.Parts, connector.Part{Data: b, Records: records, Bytes: records * meanLine})
	}
	p.Parts[0].Ranges = []connector.Range{{Partition: partition, First: before + 1, Last: before + uint64(n)}}
	p.Mark = fmt.Sprintf("line %d", before+uint64(n))
	return p, nil
}

// due is how many lines come in the interval that ends at t: whole lines, so that over time there are perSecond.
func (s *Source) due(t time.Time, interval time.Duration) int64 {
	until := func(t time.Time) int64 { // seconds and the rest apart: the product of all would overflow
		return t.Unix()*s.perSecond + int64(t.Nanosecond())/int64(time.Microsecond)*s.perSecond/1_000_000
	}
	return until(t) - until(t.Add(-interval))
}

// Read makes the lines of a part.
func (s *Source) Read(ctx context.Context, p connector.Part, yield func(string) bool) error {
	var d data
	if err := json.Unmarshal(p.Data, &d); err != nil {
		return fmt.Errorf("decode a part of a rate plan: %w", err)
	}
	if d.Version != dataVersion || d.First == 0 || d.Last < d.First {
		return fmt.Errorf("a part of a rate plan has format %d and lines %d to %d, expected format %d", d.Version, d.First, d.Last, dataVersion)
	}
	for n := d.First; n <= d.Last; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !yield(Line(n)) {
			return nil
		}
	}
	return nil
}
