package conformance_test

import (
	"embed"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

//go:embed testdata/*.json
var tables embed.FS

// table is one case. What is not a table (given, when, then) has no pipeline.
type table struct {
	Suite    string            `json:"suite"`
	Test     string            `json:"test"`
	Pipeline []step            `json:"pipeline"`
	BatchMS  int64             `json:"batchInterval_ms"`
	Input    []json.RawMessage `json:"input"`
	Input2   []json.RawMessage `json:"input2"`
	Batches  int               `json:"numBatches"`
	// Expected is what the batches with a dataset held; null: the case checks something else.
	Expected  []json.RawMessage `json:"expected"`
	Snapshots []json.RawMessage `json:"expectedStateSnapshots"`
	Ordered   bool              `json:"ordered"`
	// OutPartitions is how many partitions each dataset must have.
	OutPartitions int `json:"expectedNumPartitions"`
	Fails         *struct {
		Batch int `json:"atBatch"`
	} `json:"expect_error"`
	Queries []struct {
		FromMS   int64             `json:"from_ms"`
		ToMS     int64             `json:"to_ms"`
		Expected []json.RawMessage `json:"expectedSet"`
	} `json:"queries"`
	// Steps are what a case that is no table does, one after the other.
	Steps []json.RawMessage `json:"steps"`
	// Cases are its variants.
	Cases []json.RawMessage `json:"cases"`
}

// step is one operator with what it is given.
type step struct {
	Op         string `json:"op"`
	Fn         string `json:"fn"`
	InvFn      string `json:"invFn"`
	FilterFn   string `json:"filterFn"`
	Partitions int    `json:"numPartitions"`
	WindowMS   int64  `json:"window_ms"`
	SlideMS    int64  `json:"slide_ms"`
	IntervalMS int64  `json:"interval_ms"`
	// CheckpointMS is the interval of a mapWithState's internal stream.
	CheckpointMS int64             `json:"checkpointInterval_ms"`
	TimeoutMS    int64             `json:"timeout_ms"`
	Initial      []json.RawMessage `json:"initialState"`
	Other        *branch           `json:"other"`
	Streams      []branch          `json:"streams"`
}

// branch is a second stream.
type branch struct {
	From  string `json:"from"`
	Steps []step `json:"steps"`
}

func (s step) window() time.Duration { return time.Duration(s.WindowMS) * time.Millisecond }
func (s step) slide() time.Duration  { return time.Duration(s.SlideMS) * time.Millisecond }

func (c *table) name() string { return c.Suite + " - " + c.Test }

func (c *table) interval() time.Duration {
	if c.BatchMS == 0 {
		return time.Second
	}
	return time.Duration(c.BatchMS) * time.Millisecond
}

func (c *table) batches() int {
	if c.Batches > 0 {
		return c.Batches
	}
	return max(len(c.Input), len(c.Input2))
}

// all reads every case.
func all(t *testing.T) (cases []*table) {
	t.Helper()
	files, err := tables.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := tables.ReadFile("testdata/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		var of []*table
		if err := json.Unmarshal(b, &of); err != nil {
			t.Fatal(fmt.Errorf("%s: %w", f.Name(), err))
		}
		cases = append(cases, of...)
	}
	return cases
}

// elements are the batches of an input, each element as canonical JSON; a missing dataset stays nil.
func elements(t *testing.T, batches []json.RawMessage) [][]string {
	t.Helper()
	out := make([][]string, len(batches))
	for i, b := range batches {
		var raw []any
		if err := json.Unmarshal(b, &raw); err != nil {
			t.Fatal(err)
		}
		if raw == nil {
			continue
		}
		out[i] = []string{}
		for _, v := range raw {
			out[i] = append(out[i], text(v))
		}
	}
	return out
}
