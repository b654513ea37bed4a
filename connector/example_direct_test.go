package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/raftstream/raftstream/connector"
)

// archive is a direct source: a list of entries that keeps growing and can be read as often as one likes. A real one
// would be a file or a topic, and the value would hold no more than how to find it.
type archive struct{ entries []string }

// span is what a part of an archive is.
type span struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Plan takes what came since the last plan that was committed. It changes nothing: should this plan never be committed,
// the next one starts at the same position.
func (a *archive) Plan(_ context.Context, r connector.PlanRequest) (connector.Plan, error) {
	const partition, most = "archive", 2 // parts are small here, so that there are some
	var p connector.Plan
	next, end := r.Position(partition)+1, uint64(len(a.entries))
	for next <= end && len(p.Parts) < r.MaxParts {
		s := span{First: next, Last: min(next+most-1, end)}
		data, err := json.Marshal(s)
		if err != nil {
			return p, fmt.Errorf("encode entries %d to %d: %w", s.First, s.Last, err)
		}
		p.Parts = append(p.Parts, connector.Part{
			Data: data, Records: int64(s.Last - s.First + 1),
			Ranges: []connector.Range{{Partition: partition, First: s.First, Last: s.Last}},
		})
		p.Mark = fmt.Sprintf("entry %d", s.Last)
		next = s.Last + 1
	}
	return p, nil
}

// Read gives the entries of a part, the same ones each time.
func (a *archive) Read(ctx context.Context, p connector.Part, yield func(string) bool) error {
	var s span
	if err := json.Unmarshal(p.Data, &s); err != nil {
		return fmt.Errorf("decode a part: %w", err)
	}
	for n := s.First; n <= s.Last; n++ {
		if n > uint64(len(a.entries)) {
			return fmt.Errorf("%w: entry %d", connector.ErrMissing, n) // the batch waits for it
		}
		if !yield(a.entries[n-1]) {
			return nil
		}
	}
	return ctx.Err()
}

// A direct source is given to dstream.DirectStream in a build function. Here a loop stands for the cluster: it plans,
// commits the positions, then reads.
func ExampleDirectSource() {
	a := &archive{entries: []string{"one", "two", "three"}}
	positions := map[string]uint64{}
	for batch := range 2 {
		plan, err := a.Plan(context.Background(), connector.PlanRequest{
			Time: time.UnixMilli(int64(batch+1) * 1000), Interval: time.Second, MaxParts: connector.MaxPlanParts, MaxBytes: 1 << 20,
			Position: func(p string) uint64 { return positions[p] }, Positions: maps.All(positions),
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		for i, part := range plan.Parts {
			for _, r := range part.Ranges {
				positions[r.Partition] = r.Last
			}
			fmt.Printf("batch %d, part %d, %d records:", batch+1, i, part.Records)
			if err := a.Read(context.Background(), part, func(s string) bool { fmt.Print(" ", s); return true }); err != nil {
				fmt.Println(err)
			}
			fmt.Println()
		}
		fmt.Println("may be removed when batch", batch+1, "is cleaned: up to", plan.Mark)
		a.entries = append(a.entries, "four")
	}
	// Output:
	// batch 1, part 0, 2 records: one two
	// batch 1, part 1, 1 records: three
	// may be removed when batch 1 is cleaned: up to entry 3
	// batch 2, part 0, 1 records: four
	// may be removed when batch 2 is cleaned: up to entry 4
}
