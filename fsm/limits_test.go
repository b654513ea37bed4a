package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/internal/id"
)

// Rule 10: what is at a submission's limit is taken, what is one beyond it is refused and names the limit.
func TestSubmissionsAtTheirLimits(t *testing.T) {
	inputs := func(n int) []InputStream {
		all := make([]InputStream, n)
		for i := range all {
			all[i] = InputStream{Stream: id.Stream(i), Source: "s", Receiver: true}
		}
		return all
	}
	text := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		what  string
		most  int
		least int // 0: there is none
		set   func(s *ApplicationSubmitted, n int)
	}{
		{what: "application name", most: MaxName, set: func(s *ApplicationSubmitted, n int) { s.Name = text(n) }},
		{what: "program name", most: MaxName, set: func(s *ApplicationSubmitted, n int) { s.Program = text(n) }},
		{what: "length of the request id", most: MaxName, set: func(s *ApplicationSubmitted, n int) { s.RequestID = text(n) }},
		{what: "length of the fingerprint", most: MaxName, set: func(s *ApplicationSubmitted, n int) { s.Fingerprint = text(n) }},
		{what: "length of the build id", most: MaxName, set: func(s *ApplicationSubmitted, n int) { s.Build = text(n) }},
		{what: "length of a source's name", most: MaxName, set: func(s *ApplicationSubmitted, n int) { s.Inputs[0].Source = text(n) }},
		{what: "length of a preferred node's name", most: MaxName, set: func(s *ApplicationSubmitted, n int) { s.Inputs[0].Preferred = text(n) }},
		{what: "length of the parameters", most: MaxParams, set: func(s *ApplicationSubmitted, n int) { s.Params = bytes.Repeat([]byte("x"), n) }},
		{what: "batch interval in milliseconds", most: MaxBatchMS, least: MinIntervalMS, set: func(s *ApplicationSubmitted, n int) {
			s.BatchMS, s.RememberMS = int64(n), 0
		}},
		{what: "block interval in milliseconds", most: MaxBatchMS, least: MinIntervalMS, set: func(s *ApplicationSubmitted, n int) { s.BlockMS = int64(n) }},
		{what: "number of partitions", most: MaxPartitions, least: 1, set: func(s *ApplicationSubmitted, n int) { s.Partitions = n }},
		{what: "length of the checkpoint URL", most: MaxURL, set: func(s *ApplicationSubmitted, n int) { s.CheckpointURL = text(n) }},
		{what: "replication factor", most: MaxFactor, least: 1, set: func(s *ApplicationSubmitted, n int) { s.Factor = n }},
		{what: "number of input streams", most: MaxInputs, set: func(s *ApplicationSubmitted, n int) { s.Inputs = inputs(n) }},
		{what: "records per second", most: MaxRate, set: func(s *ApplicationSubmitted, n int) { s.Inputs[0].Rate = int64(n) }},
		{what: "number of streams with keyed state", most: MaxStates, set: func(s *ApplicationSubmitted, n int) {
			for i := range n {
				s.States = append(s.States, StateStream{Stream: id.Stream(i + 1), SlideMS: 1000, Partitions: 1})
			}
		}},
		{what: "number of partitions of keyed state", most: MaxStatePartitions, least: 1, set: func(s *ApplicationSubmitted, n int) {
			s.States = []StateStream{{Stream: 1, SlideMS: 1000, Partitions: n}}
		}},
		{what: "remember duration in milliseconds", most: MaxRemembered * 1000, set: func(s *ApplicationSubmitted, n int) { s.RememberMS = int64(n) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			l := startLedger(t)
			try := func(n int) Result {
				s := submission("wc")
				c.set(s, n)
				r := l.apply(s)
				if r.Outcome == Done {
					l.done(&ApplicationStopped{App: id.App(r.Index), Now: true, NowMS: 20_000})
					l.done(&ApplicationEnded{App: id.App(r.Index), NowMS: 20_000})
				}
				return r
			}
			if r := try(c.most); r.Outcome != Done {
				t.Errorf("%d: %+v, expected it taken", c.most, r)
			}
			if r := try(c.most + 1); r.Outcome != Refused || !strings.Contains(r.Reason, c.what) || !strings.Contains(r.Reason, fmt.Sprint(c.most)) {
				t.Errorf("%d: %+v, expected a refusal that names %s and %d", c.most+1, r, c.what, c.most)
			}
			if c.least == 0 {
				return
			}
			if r := try(c.least); r.Outcome != Done {
				t.Errorf("%d: %+v, expected it taken", c.least, r)
			}
			if r := try(c.least - 1); r.Outcome != Refused || !strings.Contains(r.Reason, c.what) {
				t.Errorf("%d: %+v, expected a refusal that names %s", c.least-1, r, c.what)
			}
		})
	}
}

// Rule 10: an inventory comes in parts, and a part has a limit.
func TestPartOfAnInventoryAtItsLimit(t *testing.T) {
	r := startRunning(t)
	part := func(n int) *InventoryReported {
		c := &InventoryReported{Session: r.a, First: true, Last: true, Blocks: make([]id.Block, n)}
		for i := range c.Blocks {
			c.Blocks[i] = id.Block{App: r.app, Instance: r.instance, Number: uint64(i + 1)}
		}
		return c
	}
	r.done(part(MaxInventoryPart))
	r.refused(part(MaxInventoryPart+1), "number of blocks in a part is 100001, expected 0 to 100000")
}

// Rules 7 and 10: a checkpoint of as much keyed state as an application may have is one command, which is at most 1 MiB.
func TestCheckpointOfMostPartitionsIsOneCommand(t *testing.T) {
	c := &StateCheckpointed{App: 1 << 30, Office: 1 << 30, Time: 1 << 41, Attempt: 1 << 30, Full: true, NowMS: 1 << 41}
	var stores []id.Store
	for n := range MaxFactor {
		stores = append(stores, id.Store(fmt.Sprintf("%032x", n)))
	}
	for n := range MaxStatePartitions {
		c.Pieces = append(c.Pieces, CheckpointPiece{
			ID:     id.Block{App: c.App, Stream: 1000, Instance: id.Instance(c.Office), Number: uint64(n) << 16},
			Stream: 1000, Part: n, Rows: 1 << 20, Bytes: 4 << 20, CRC: 1, Stores: stores,
		})
	}
	data, err := Encode(1, c)
	if err != nil || len(data) > 1<<20 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
}

// Rules 8 and 10: a batch that gives up half of what the ledger may hold can say so. If it could not, it would never end.
func TestCompletionNamesHalfAMillionLostBlocks(t *testing.T) {
	c := &BatchCompleted{App: 4, Time: 11_000, Office: 7, Attempt: 8, Lost: 9}
	for n := range uint64(blocktracker.MaxBlocks / 2) {
		c.LostBlocks = append(c.LostBlocks, id.Block{App: 4, Stream: id.Stream(n / 100_000), Instance: 1 << 40, Number: 3 * (n + 1)})
	}
	data, err := Encode(1, c)
	if err != nil || len(data) > 1<<20 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	got, err := decodeEntry(data)
	if err != nil || !slices.Equal(got[0].command.(*BatchCompleted).LostBlocks, c.LostBlocks) {
		t.Fatalf("came back as others, %v", err)
	}
}

// A stream with keyed state has its times on the batch interval, and a name of its own.
func TestStreamsWithKeyedStateThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		want   string
		states []StateStream
	}{
		{"stream 1 with keyed state has a time every 1500 ms, expected 1 to 5000 times 1000", []StateStream{{Stream: 1, SlideMS: 1500, Partitions: 1}}},
		{"stream 1 with keyed state has a time every 0 ms, expected 1 to 5000 times 1000", []StateStream{{Stream: 1, Partitions: 1}}},
		{"stream 1 with keyed state has a time every 100001000 ms, expected 1 to 5000 times 1000", []StateStream{{Stream: 1, SlideMS: 100_001_000, Partitions: 1}}},
		{"streams with keyed state have a time in common every 5112 batches, expected 5000 at most", []StateStream{{Stream: 1, SlideMS: 71_000, Partitions: 1}, {Stream: 2, SlideMS: 72_000, Partitions: 1}}},
		{"number of partitions of all keyed state is 16385, expected 0 to 16384", []StateStream{{Stream: 1, SlideMS: 1000, Partitions: 16_384}, {Stream: 2, SlideMS: 1000, Partitions: 1}}},
		{"stream 0 has keyed state and is an input", []StateStream{{Stream: 0, SlideMS: 1000, Partitions: 1}}},
		{"stream 1 with keyed state is named twice", []StateStream{{Stream: 1, SlideMS: 1000, Partitions: 1}, {Stream: 1, SlideMS: 1000, Partitions: 1}}},
	} {
		s := submission("wc")
		s.States = tt.states
		startLedger(t).refused(s, tt.want)
	}
}
