package rpc

import (
	"fmt"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// orderToPB converts an order or notice of the driver.
func orderToPB(o job.ToExecutor) (*clusterpb.Order, error) {
	switch o := o.(type) {
	case *job.Peers:
		return &clusterpb.Order{Body: &clusterpb.Order_Peers{Peers: &clusterpb.Peers{
			Index: o.Index, Peers: each(o.Peers, peerToPB),
		}}}, nil
	case *job.StartReceiver:
		return &clusterpb.Order{Body: &clusterpb.Order_StartReceiver{StartReceiver: &clusterpb.StartReceiver{
			Epoch: uint64(o.Epoch), App: appToPB(o.App), Stream: int32(o.Stream), Instance: uint64(o.Instance),
			Rate: o.Rate,
		}}}, nil
	case *job.SetRate:
		return &clusterpb.Order{Body: &clusterpb.Order_SetRate{SetRate: &clusterpb.SetRate{
			Epoch: uint64(o.Epoch), App: uint64(o.App), Stream: int32(o.Stream), Instance: uint64(o.Instance), Rate: o.Rate,
		}}}, nil
	case *job.PlanSources:
		return &clusterpb.Order{Body: &clusterpb.Order_PlanSources{PlanSources: &clusterpb.PlanSources{
			Epoch: uint64(o.Epoch), Office: uint64(o.Office), App: appToPB(o.App), Time: int64(o.Time), Planned: o.Planned,
			Limits: each(o.Limits, limitToPB),
		}}}, nil
	case *job.CopyBlocks:
		return &clusterpb.Order{Body: &clusterpb.Order_CopyBlocks{CopyBlocks: &clusterpb.CopyBlocks{
			Epoch: uint64(o.Epoch), Blocks: each(o.Blocks, blockToPB),
		}}}, nil
	case *job.StopReceiver:
		return &clusterpb.Order{Body: &clusterpb.Order_StopReceiver{StopReceiver: &clusterpb.StopReceiver{
			Epoch: uint64(o.Epoch), App: uint64(o.App), Stream: int32(o.Stream), Instance: uint64(o.Instance), Discard: o.Discard,
		}}}, nil
	case *job.Batch:
		return &clusterpb.Order{Body: &clusterpb.Order_Batch{Batch: batchToPB(o)}}, nil
	case *job.Progress:
		return &clusterpb.Order{Body: &clusterpb.Order_Progress{Progress: progressToPB(o)}}, nil
	}
	return nil, fmt.Errorf("order %T: %w", o, errUnknownMessage)
}

func orderOf(o *clusterpb.Order) (job.ToExecutor, error) {
	switch b := o.GetBody().(type) {
	case *clusterpb.Order_Peers:
		return &job.Peers{Index: b.Peers.GetIndex(), Peers: each(b.Peers.GetPeers(), peerOf)}, nil
	case *clusterpb.Order_StartReceiver:
		m := b.StartReceiver
		return &job.StartReceiver{
			Epoch: id.Epoch(m.GetEpoch()), App: appOf(m.GetApp()), Stream: id.Stream(m.GetStream()),
			Instance: id.Instance(m.GetInstance()), Rate: m.GetRate(),
		}, nil
	case *clusterpb.Order_SetRate:
		m := b.SetRate
		return &job.SetRate{
			Epoch: id.Epoch(m.GetEpoch()), App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()),
			Instance: id.Instance(m.GetInstance()), Rate: m.GetRate(),
		}, nil
	case *clusterpb.Order_PlanSources:
		m := b.PlanSources
		return &job.PlanSources{
			Epoch: id.Epoch(m.GetEpoch()), Office: id.Office(m.GetOffice()), App: appOf(m.GetApp()), Time: id.Time(m.GetTime()),
			Planned: m.GetPlanned(), Limits: each(m.GetLimits(), limitOf),
		}, nil
	case *clusterpb.Order_CopyBlocks:
		m := b.CopyBlocks
		return &job.CopyBlocks{Epoch: id.Epoch(m.GetEpoch()), Blocks: each(m.GetBlocks(), blockOf)}, nil
	case *clusterpb.Order_StopReceiver:
		m := b.StopReceiver
		return &job.StopReceiver{
			Epoch: id.Epoch(m.GetEpoch()), App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()),
			Instance: id.Instance(m.GetInstance()), Discard: m.GetDiscard(),
		}, nil
	case *clusterpb.Order_Batch:
		return batchOf(b.Batch), nil
	case *clusterpb.Order_Progress:
		return progressOf(b.Progress), nil
	}
	return nil, fmt.Errorf("order: %w", errUnknownMessage)
}

func progressToPB(p *job.Progress) *clusterpb.Progress {
	return &clusterpb.Progress{
		Epoch: uint64(p.Epoch), App: uint64(p.App), Completed: int64(p.Completed), Cleaned: int64(p.Cleaned), Ended: p.Ended,
		Checkpointed: int64(p.Checkpointed), CheckpointUrl: p.CheckpointURL, Sweeper: uint64(p.Sweeper),
		Instances: each(p.Instances, func(i job.InstanceProgress) *clusterpb.InstanceProgress {
			return &clusterpb.InstanceProgress{
				Stream: int32(i.Stream), Instance: uint64(i.Instance), Cleaned: i.Cleaned, Last: i.Last, Closed: i.Closed,
			}
		}),
	}
}

func progressOf(p *clusterpb.Progress) *job.Progress {
	return &job.Progress{
		Epoch: id.Epoch(p.GetEpoch()), App: id.App(p.GetApp()), Completed: id.Time(p.GetCompleted()), Cleaned: id.Time(p.GetCleaned()),
		Ended: p.GetEnded(), Checkpointed: id.Time(p.GetCheckpointed()),
		CheckpointURL: p.GetCheckpointUrl(), Sweeper: id.Session(p.GetSweeper()),
		Instances: each(p.GetInstances(), func(i *clusterpb.InstanceProgress) job.InstanceProgress {
			return job.InstanceProgress{
				Stream: id.Stream(i.GetStream()), Instance: id.Instance(i.GetInstance()), Cleaned: i.GetCleaned(), Last: i.GetLast(),
				Closed: i.GetClosed(),
			}
		}),
	}
}

func batchToPB(b *job.Batch) *clusterpb.Batch {
	return &clusterpb.Batch{
		Authority: authorityToPB(b.Authority), App: appToPB(b.App), Time: int64(b.Time), Inputs: each(b.Inputs, inputToPB),
		AcceptLoss: b.AcceptLoss, Checkpointed: int64(b.Checkpointed), FullBytes: b.FullBytes, ChangeBytes: b.ChangeBytes,
		States: each(b.States, func(s job.StateAt) *clusterpb.StateAt {
			return &clusterpb.StateAt{Stream: int32(s.Stream), Version: versionToPB(s.Version)}
		}),
	}
}

func batchOf(b *clusterpb.Batch) *job.Batch {
	return &job.Batch{
		Authority: authorityOf(b.GetAuthority()), App: appOf(b.GetApp()), Time: id.Time(b.GetTime()), Inputs: each(b.GetInputs(), inputOf),
		AcceptLoss: b.GetAcceptLoss(), Checkpointed: id.Time(b.GetCheckpointed()), FullBytes: b.GetFullBytes(), ChangeBytes: b.GetChangeBytes(),
		States: each(b.GetStates(), func(s *clusterpb.StateAt) job.StateAt {
			return job.StateAt{Stream: id.Stream(s.GetStream()), Version: versionOf(s.GetVersion())}
		}),
	}
}

func limitToPB(l job.SourceLimit) *clusterpb.SourceLimit {
	return &clusterpb.SourceLimit{Stream: int32(l.Stream), Records: l.Records}
}

func limitOf(m *clusterpb.SourceLimit) job.SourceLimit {
	return job.SourceLimit{Stream: id.Stream(m.GetStream()), Records: m.GetRecords()}
}
