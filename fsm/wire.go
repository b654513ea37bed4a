package fsm

import (
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// The parts that several messages share.

func blockIDToPB(b id.Block) *ledgerpb.BlockID {
	return &ledgerpb.BlockID{
		App: uint64(b.App), Stream: int32(b.Stream), Instance: uint64(b.Instance), Number: b.Number,
	}
}

func blockIDFromPB(m *ledgerpb.BlockID) id.Block {
	return id.Block{
		App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Instance: id.Instance(m.GetInstance()),
		Number: m.GetNumber(),
	}
}

func blockIDsToPB(blocks []id.Block) []*ledgerpb.BlockID {
	out := make([]*ledgerpb.BlockID, 0, len(blocks))
	for _, b := range blocks {
		out = append(out, blockIDToPB(b))
	}
	return out
}

func blockIDsFromPB(blocks []*ledgerpb.BlockID) []id.Block {
	if len(blocks) == 0 {
		return nil
	}
	out := make([]id.Block, 0, len(blocks))
	for _, b := range blocks {
		out = append(out, blockIDFromPB(b))
	}
	return out
}

func storesToPB(stores []id.Store) []string {
	out := make([]string, 0, len(stores))
	for _, s := range stores {
		out = append(out, string(s))
	}
	return out
}

func storesFromPB(stores []string) []id.Store {
	if len(stores) == 0 {
		return nil
	}
	out := make([]id.Store, 0, len(stores))
	for _, s := range stores {
		out = append(out, id.Store(s))
	}
	return out
}

// blockRunsToPB is blockIDsToPB for lists that may be too long for a command otherwise. Their order is kept.
func blockRunsToPB(blocks []id.Block) (out []*ledgerpb.BlockRun) {
	var run *ledgerpb.BlockRun
	var prev id.Block
	for _, b := range blocks {
		if run == nil || b.App != prev.App || b.Stream != prev.Stream || b.Instance != prev.Instance {
			run = &ledgerpb.BlockRun{App: uint64(b.App), Stream: int32(b.Stream), Instance: uint64(b.Instance)}
			out = append(out, run)
			prev = id.Block{App: b.App, Stream: b.Stream, Instance: b.Instance}
		}
		run.Steps = append(run.Steps, int64(b.Number-prev.Number))
		prev = b
	}
	return out
}

func blockRunsFromPB(runs []*ledgerpb.BlockRun) (out []id.Block) {
	for _, run := range runs {
		b := id.Block{App: id.App(run.GetApp()), Stream: id.Stream(run.GetStream()), Instance: id.Instance(run.GetInstance())}
		for _, step := range run.GetSteps() {
			b.Number += uint64(step)
			out = append(out, b)
		}
	}
	return out
}

func rangesToPB(ranges []connector.Range) []*ledgerpb.Range {
	out := make([]*ledgerpb.Range, 0, len(ranges))
	for _, r := range ranges {
		out = append(out, &ledgerpb.Range{Partition: []byte(r.Partition), First: r.First, Last: r.Last})
	}
	return out
}

func rangesFromPB(ranges []*ledgerpb.Range) []connector.Range {
	if len(ranges) == 0 {
		return nil
	}
	out := make([]connector.Range, 0, len(ranges))
	for _, r := range ranges {
		out = append(out, connector.Range{Partition: string(r.GetPartition()), First: r.GetFirst(), Last: r.GetLast()})
	}
	return out
}

func inputsToPB(inputs []InputStream) []*ledgerpb.InputStream {
	out := make([]*ledgerpb.InputStream, 0, len(inputs))
	for _, in := range inputs {
		out = append(out, &ledgerpb.InputStream{
			Stream: int32(in.Stream), Source: in.Source, Receiver: in.Receiver, Pushed: in.Pushed, Preferred: in.Preferred,
			Rate: in.Rate,
		})
	}
	return out
}

func inputsFromPB(inputs []*ledgerpb.InputStream) []InputStream {
	if len(inputs) == 0 {
		return nil
	}
	out := make([]InputStream, 0, len(inputs))
	for _, in := range inputs {
		out = append(out, InputStream{
			Stream: id.Stream(in.GetStream()), Source: in.GetSource(), Receiver: in.GetReceiver(), Pushed: in.GetPushed(),
			Preferred: in.GetPreferred(), Rate: in.GetRate(),
		})
	}
	return out
}

func statesToPB(states []StateStream) []*ledgerpb.StateStream {
	out := make([]*ledgerpb.StateStream, 0, len(states))
	for _, s := range states {
		out = append(out, &ledgerpb.StateStream{Stream: int32(s.Stream), SlideMs: s.SlideMS, Partitions: int64(s.Partitions)})
	}
	return out
}

func statesFromPB(states []*ledgerpb.StateStream) []StateStream {
	if len(states) == 0 {
		return nil
	}
	out := make([]StateStream, 0, len(states))
	for _, s := range states {
		out = append(out, StateStream{
			Stream: id.Stream(s.GetStream()), SlideMS: s.GetSlideMs(), Partitions: int(s.GetPartitions()),
		})
	}
	return out
}
