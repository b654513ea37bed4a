package rpc

import (
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

func launchToPB(l *job.Launch) *clusterpb.LaunchRequest {
	return &clusterpb.LaunchRequest{
		Authority: authorityToPB(l.Authority), App: appToPB(l.App), Time: int64(l.Time), Kind: uint32(l.Kind),
		Dataset: datasetToPB(l.Dataset), Shuffle: shuffleToPB(l.Shuffle), Output: int64(l.Output), Parts: int64s(l.Parts),
		Try: int64(l.Try), Inputs: each(l.Inputs, inputToPB), Lineage: l.Lineage,
		Root: datasetToPB(l.Root), States: each(l.States, stateBaseToPB), Checkpoint: checkpointOrderToPB(l.Checkpoint),
		Collect: collectOrderToPB(l.Collect),
		MapOutputs: each(l.MapOutputs, func(m job.MapOutput) *clusterpb.MapOutput {
			return &clusterpb.MapOutput{
				Shuffle: shuffleToPB(m.Shuffle), Holders: each(m.Holders, func(s id.Session) uint64 { return uint64(s) }),
			}
		}),
	}
}

func launchOf(l *clusterpb.LaunchRequest) *job.Launch {
	return &job.Launch{
		Authority: authorityOf(l.GetAuthority()), App: appOf(l.GetApp()), Time: id.Time(l.GetTime()), Kind: small[job.Kind](l.GetKind()),
		Dataset: datasetOf(l.GetDataset()), Shuffle: shuffleOf(l.GetShuffle()), Output: int(l.GetOutput()), Parts: intsOf(l.GetParts()),
		Try: int(l.GetTry()), Inputs: each(l.GetInputs(), inputOf), Lineage: l.GetLineage(),
		Root: datasetOf(l.GetRoot()), States: each(l.GetStates(), stateBaseOf), Checkpoint: checkpointOrderOf(l.GetCheckpoint()),
		Collect: collectOrderOf(l.GetCollect()),
		MapOutputs: each(l.GetMapOutputs(), func(m *clusterpb.MapOutput) job.MapOutput {
			return job.MapOutput{
				Shuffle: shuffleOf(m.GetShuffle()), Holders: each(m.GetHolders(), func(s uint64) id.Session { return id.Session(s) }),
			}
		}),
	}
}

func collectOrderToPB(c *job.CollectOrder) *clusterpb.CollectOrder {
	if c == nil {
		return nil
	}
	return &clusterpb.CollectOrder{Count: c.Count, Limit: int64(c.Limit), Bytes: c.Bytes}
}

func collectOrderOf(c *clusterpb.CollectOrder) *job.CollectOrder {
	if c == nil {
		return nil
	}
	return &job.CollectOrder{Count: c.GetCount(), Limit: int(c.GetLimit()), Bytes: c.GetBytes()}
}

func resultToPB(r *job.LaunchResult) *clusterpb.LaunchReply {
	return &clusterpb.LaunchReply{Tasks: each(r.Tasks, func(t job.TaskResult) *clusterpb.TaskResult {
		return &clusterpb.TaskResult{
			Part: int64(t.Part), Receipt: t.Receipt, Pieces: each(t.Pieces, pieceToPB), Error: taskErrorToPB(t.Err),
			Records: t.Records, Rows: t.Rows,
		}
	})}
}

func resultOf(r *clusterpb.LaunchReply) *job.LaunchResult {
	return &job.LaunchResult{Tasks: each(r.GetTasks(), func(t *clusterpb.TaskResult) job.TaskResult {
		return job.TaskResult{
			Part: int(t.GetPart()), Receipt: t.GetReceipt(), Pieces: each(t.GetPieces(), pieceOf), Err: taskErrorOf(t.GetError()),
			Records: t.GetRecords(), Rows: t.GetRows(),
		}
	})}
}

func taskErrorToPB(e *job.TaskError) *clusterpb.TaskError {
	if e == nil {
		return nil
	}
	return &clusterpb.TaskError{
		Fault: uint32(e.Fault), Text: text(e.Text), Operator: text(e.Operator), At: text(e.At), Shuffle: shuffleToPB(e.Shuffle),
		MapParts: int64s(e.MapParts), Holder: uint64(e.Holder), Block: blockIDToPB(e.Block),
		Stream: int32(e.Stream), Part: int64(e.Part),
	}
}

func taskErrorOf(e *clusterpb.TaskError) *job.TaskError {
	if e == nil {
		return nil
	}
	return &job.TaskError{
		Fault: small[job.Fault](e.GetFault()), Text: e.GetText(), Operator: e.GetOperator(), At: e.GetAt(), Shuffle: shuffleOf(e.GetShuffle()),
		MapParts: intsOf(e.GetMapParts()), Holder: id.Session(e.GetHolder()), Block: blockIDOf(e.GetBlock()),
		Stream: id.Stream(e.GetStream()), Part: int(e.GetPart()),
	}
}

func fetchToPB(f *job.Fetch) *clusterpb.FetchRequest {
	return &clusterpb.FetchRequest{
		Authority: authorityToPB(f.Authority), App: uint64(f.App), Time: int64(f.Time), Shuffle: shuffleToPB(f.Shuffle), Reducer: int64(f.Reducer),
		MapParts: int64s(f.MapParts),
	}
}

func fetchOf(f *clusterpb.FetchRequest) *job.Fetch {
	return &job.Fetch{
		Authority: authorityOf(f.GetAuthority()), App: id.App(f.GetApp()), Time: id.Time(f.GetTime()), Shuffle: shuffleOf(f.GetShuffle()), Reducer: int(f.GetReducer()),
		MapParts: intsOf(f.GetMapParts()),
	}
}

func blockDataToPB(b job.BlockData) *clusterpb.BlockFrame {
	return &clusterpb.BlockFrame{
		Head: &clusterpb.BlockHead{Id: blockIDToPB(b.ID), Records: b.Records, Crc: b.CRC}, Data: b.Data,
	}
}

func blockDataOf(b *clusterpb.BlockFrame) job.BlockData {
	h := b.GetHead()
	return job.BlockData{ID: blockIDOf(h.GetId()), Records: h.GetRecords(), CRC: h.GetCrc(), Data: b.GetData()}
}
