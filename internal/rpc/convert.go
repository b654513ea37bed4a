package rpc

import (
	"strings"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// Conversions come in pairs, xToPB and xOf. What comes from the wire may lack anything: a missing message is the zero
// value, and whoever takes the struct checks it as it would check a neighbour's.

func each[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

// textMax bounds a text for people in a message; what is longer is cut.
const textMax = 16 << 10

// text makes s fit for a message: errors of user code may hold anything, and a message that cannot be sent would be
// repeated for ever.
func text(s string) string {
	if len(s) > textMax {
		s = s[:textMax]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// small gives 0, which no enumeration of ours uses, for numbers that this program cannot know.
func small[T ~uint8](n uint32) T {
	if n > 255 {
		return 0
	}
	return T(n)
}

func int64s(in []int) []int64 { return each(in, func(n int) int64 { return int64(n) }) }
func intsOf(in []int64) []int { return each(in, func(n int64) int { return int(n) }) }
func storesToPB(in []id.Store) []string {
	return each(in, func(s id.Store) string { return string(s) })
}

func storesOf(in []string) []id.Store {
	return each(in, func(s string) id.Store { return id.Store(s) })
}

func blockIDToPB(b id.Block) *clusterpb.BlockID {
	return &clusterpb.BlockID{App: uint64(b.App), Stream: int32(b.Stream), Instance: uint64(b.Instance), Number: b.Number}
}

func blockIDOf(b *clusterpb.BlockID) id.Block {
	return id.Block{
		App: id.App(b.GetApp()), Stream: id.Stream(b.GetStream()), Instance: id.Instance(b.GetInstance()), Number: b.GetNumber(),
	}
}

func rangeToPB(r connector.Range) *clusterpb.Range {
	return &clusterpb.Range{Partition: []byte(r.Partition), First: r.First, Last: r.Last}
}

func rangeOf(r *clusterpb.Range) connector.Range {
	return connector.Range{Partition: string(r.GetPartition()), First: r.GetFirst(), Last: r.GetLast()}
}

func authorityToPB(a id.Authority) *clusterpb.Authority {
	return &clusterpb.Authority{Epoch: uint64(a.Epoch), Office: uint64(a.Office), Attempt: uint64(a.Attempt)}
}

func authorityOf(a *clusterpb.Authority) id.Authority {
	return id.Authority{Epoch: id.Epoch(a.GetEpoch()), Office: id.Office(a.GetOffice()), Attempt: id.Attempt(a.GetAttempt())}
}

func datasetToPB(d dataset.ID) *clusterpb.DatasetID {
	return &clusterpb.DatasetID{Stream: int32(d.Stream), Time: int64(d.Time), Sub: d.Sub}
}

func datasetOf(d *clusterpb.DatasetID) dataset.ID {
	return dataset.ID{Stream: id.Stream(d.GetStream()), Time: id.Time(d.GetTime()), Sub: d.GetSub()}
}

func shuffleToPB(s dataset.ShuffleID) *clusterpb.ShuffleID {
	return &clusterpb.ShuffleID{Of: datasetToPB(s.Of), Dep: int64(s.Dep)}
}

func shuffleOf(s *clusterpb.ShuffleID) dataset.ShuffleID {
	return dataset.ShuffleID{Of: datasetOf(s.GetOf()), Dep: int(s.GetDep())}
}

func peerToPB(p job.Peer) *clusterpb.Peer {
	return &clusterpb.Peer{
		Session: uint64(p.Session), Store: string(p.Store), Name: p.Name, Addr: p.Addr, Slots: int64(p.Slots), Build: p.Build,
	}
}

func peerOf(p *clusterpb.Peer) job.Peer {
	return job.Peer{
		Session: id.Session(p.GetSession()), Store: id.Store(p.GetStore()), Name: p.GetName(), Addr: p.GetAddr(),
		Slots: int(p.GetSlots()), Build: p.GetBuild(),
	}
}

func appToPB(a job.App) *clusterpb.App {
	return &clusterpb.App{
		Id: uint64(a.ID), Name: a.Name, Fingerprint: a.Fingerprint, BlockMs: a.BlockMS, Factor: int64(a.Factor), CheckpointUrl: a.CheckpointURL,
		Spec: &clusterpb.Spec{
			Name: a.Spec.Name, Params: a.Spec.Params, BatchMs: a.Spec.BatchMS, ZeroTime: int64(a.Spec.ZeroTime),
			Partitions: int64(a.Spec.Partitions),
		},
	}
}

func appOf(a *clusterpb.App) job.App {
	s := a.GetSpec()
	return job.App{
		ID: id.App(a.GetId()), Name: a.GetName(), Fingerprint: a.GetFingerprint(), BlockMS: a.GetBlockMs(), Factor: int(a.GetFactor()),
		CheckpointURL: a.GetCheckpointUrl(),
		Spec: dataset.Spec{
			Name: s.GetName(), Params: s.GetParams(), BatchMS: s.GetBatchMs(), ZeroTime: id.Time(s.GetZeroTime()),
			Partitions: int(s.GetPartitions()),
		},
	}
}

func blockToPB(b job.Block) *clusterpb.Block {
	return &clusterpb.Block{
		Id: blockIDToPB(b.ID), Records: b.Records, Bytes: b.Bytes, Crc: b.CRC, Stores: storesToPB(b.Stores),
	}
}

func blockOf(b *clusterpb.Block) job.Block {
	return job.Block{
		ID: blockIDOf(b.GetId()), Records: b.GetRecords(), Bytes: b.GetBytes(), CRC: b.GetCrc(), Stores: storesOf(b.GetStores()),
	}
}
