package rpc

import (
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// inputToPB names every store once: an input may have hundreds of thousands of blocks on the same few stores.
func inputToPB(in job.Input) *clusterpb.Input {
	out := &clusterpb.Input{Stream: int32(in.Stream), Time: int64(in.Time), Parts: each(in.Parts, partToPB)}
	places := map[id.Store]uint32{}
	out.Blocks = each(in.Blocks, func(b job.Block) *clusterpb.InputBlock {
		m := &clusterpb.InputBlock{
			App: uint64(b.ID.App), Instance: uint64(b.ID.Instance), Number: b.ID.Number, Records: b.Records, Bytes: b.Bytes, Crc: b.CRC,
		}
		if b.ID.Stream != in.Stream {
			other := int32(b.ID.Stream)
			m.Stream = &other
		}
		m.Stores = each(b.Stores, func(s id.Store) uint32 {
			place, ok := places[s]
			if !ok {
				place = uint32(len(out.Stores))
				places[s] = place
				out.Stores = append(out.Stores, string(s))
			}
			return place
		})
		return m
	})
	return out
}

func inputOf(in *clusterpb.Input) job.Input {
	out := job.Input{Stream: id.Stream(in.GetStream()), Time: id.Time(in.GetTime()), Parts: each(in.GetParts(), partOf)}
	stores := storesOf(in.GetStores())
	out.Blocks = each(in.GetBlocks(), func(m *clusterpb.InputBlock) job.Block {
		b := job.Block{
			ID:      id.Block{App: id.App(m.GetApp()), Stream: out.Stream, Instance: id.Instance(m.GetInstance()), Number: m.GetNumber()},
			Records: m.GetRecords(), Bytes: m.GetBytes(), CRC: m.GetCrc(),
		}
		if m.Stream != nil {
			b.ID.Stream = id.Stream(m.GetStream())
		}
		for _, place := range m.GetStores() {
			if uint64(place) < uint64(len(stores)) { // a store that nobody named holds nothing
				b.Stores = append(b.Stores, stores[place])
			}
		}
		return b
	})
	return out
}

func partToPB(p connector.Part) *clusterpb.Part {
	return &clusterpb.Part{Data: p.Data, Records: p.Records, Bytes: p.Bytes, Ranges: each(p.Ranges, rangeToPB)}
}

func partOf(p *clusterpb.Part) connector.Part {
	return connector.Part{Data: p.GetData(), Records: p.GetRecords(), Bytes: p.GetBytes(), Ranges: each(p.GetRanges(), rangeOf)}
}

func sourcesPlannedToPB(r *job.SourcesPlanned) *clusterpb.SourcesPlanned {
	return &clusterpb.SourcesPlanned{
		App: uint64(r.App), Time: int64(r.Time), Office: uint64(r.Office), Planned: r.Planned,
		Plans: each(r.Plans, func(p job.StreamPlan) *clusterpb.StreamPlan {
			return &clusterpb.StreamPlan{
				Stream: int32(p.Stream), Parts: each(p.Plan.Parts, partToPB), Mark: []byte(p.Plan.Mark), Warning: text(p.Plan.Warning),
				Error:  text(p.Error),
				Forget: each(p.Plan.Forget, func(s string) []byte { return []byte(s) }),
			}
		}),
	}
}

func sourcesPlannedOf(r *clusterpb.SourcesPlanned) *job.SourcesPlanned {
	return &job.SourcesPlanned{
		App: id.App(r.GetApp()), Time: id.Time(r.GetTime()), Office: id.Office(r.GetOffice()), Planned: r.GetPlanned(),
		Plans: each(r.GetPlans(), func(p *clusterpb.StreamPlan) job.StreamPlan {
			return job.StreamPlan{Stream: id.Stream(p.GetStream()), Error: p.GetError(), Plan: connector.Plan{
				Parts: each(p.GetParts(), partOf), Mark: string(p.GetMark()), Warning: p.GetWarning(),
				Forget: each(p.GetForget(), func(b []byte) string { return string(b) }),
			}}
		}),
	}
}
