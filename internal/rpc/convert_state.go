package rpc

import (
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

func versionToPB(v job.Version) *clusterpb.Version {
	return &clusterpb.Version{Time: int64(v.Time), Attempt: uint64(v.Attempt)}
}

func versionOf(v *clusterpb.Version) job.Version {
	return job.Version{Time: id.Time(v.GetTime()), Attempt: id.Attempt(v.GetAttempt())}
}

func pieceToPB(p job.Piece) *clusterpb.Piece {
	return &clusterpb.Piece{Stream: int32(p.Stream), Part: int64(p.Part), Block: blockToPB(p.Block)}
}

func pieceOf(p *clusterpb.Piece) job.Piece {
	return job.Piece{Stream: id.Stream(p.GetStream()), Part: int(p.GetPart()), Block: blockOf(p.GetBlock())}
}

func stateBaseToPB(s job.StateBase) *clusterpb.StateBase {
	return &clusterpb.StateBase{
		Stream: int32(s.Stream), Base: versionToPB(s.Base), Makes: versionToPB(s.Makes), Chain: each(s.Chain, pieceToPB),
	}
}

func stateBaseOf(s *clusterpb.StateBase) job.StateBase {
	return job.StateBase{
		Stream: id.Stream(s.GetStream()), Base: versionOf(s.GetBase()), Makes: versionOf(s.GetMakes()), Chain: each(s.GetChain(), pieceOf),
	}
}

func checkpointOrderToPB(c *job.CheckpointOrder) *clusterpb.CheckpointOrder {
	if c == nil {
		return nil
	}
	return &clusterpb.CheckpointOrder{Full: c.Full, Since: int64(c.Since), Numbers: c.Numbers}
}

func checkpointOrderOf(c *clusterpb.CheckpointOrder) *job.CheckpointOrder {
	if c == nil {
		return nil
	}
	return &job.CheckpointOrder{Full: c.GetFull(), Since: id.Time(c.GetSince()), Numbers: c.GetNumbers()}
}

func checkpointReportToPB(r *job.CheckpointReport) *clusterpb.CheckpointReport {
	return &clusterpb.CheckpointReport{
		App: uint64(r.App), Authority: authorityToPB(r.Authority), Version: versionToPB(r.Version), Full: r.Full, Since: int64(r.Since),
		Pieces: each(r.Pieces, pieceToPB),
	}
}

func checkpointReportOf(r *clusterpb.CheckpointReport) *job.CheckpointReport {
	return &job.CheckpointReport{
		App: id.App(r.GetApp()), Authority: authorityOf(r.GetAuthority()), Version: versionOf(r.GetVersion()), Full: r.GetFull(),
		Since: id.Time(r.GetSince()), Pieces: each(r.GetPieces(), pieceOf),
	}
}

func historyToPB(h *job.History) *clusterpb.History {
	if h == nil {
		return nil
	}
	c := &h.Checkpoint
	return &clusterpb.History{
		Checkpoint: &clusterpb.Checkpoint{Time: int64(c.Time), Attempt: uint64(c.Attempt), Pieces: each(c.Pieces, pieceToPB)},
		Batches:    each(h.Batches, versionToPB), Inputs: each(h.Inputs, inputToPB), Next: int64(h.Next),
	}
}

func historyOf(h *clusterpb.History) *job.History {
	if h == nil {
		return nil
	}
	c := h.GetCheckpoint()
	return &job.History{
		Checkpoint: job.Checkpoint{Time: id.Time(c.GetTime()), Attempt: id.Attempt(c.GetAttempt()), Pieces: each(c.GetPieces(), pieceOf)},
		Batches:    each(h.GetBatches(), versionOf), Inputs: each(h.GetInputs(), inputOf), Next: id.Time(h.GetNext()),
	}
}

func heldToPB(h job.Held) *clusterpb.Held {
	return &clusterpb.Held{Stream: int32(h.Stream), Part: int64(h.Part), Version: versionToPB(h.Version)}
}

func heldOf(h *clusterpb.Held) job.Held {
	return job.Held{Stream: id.Stream(h.GetStream()), Part: int(h.GetPart()), Version: versionOf(h.GetVersion())}
}
