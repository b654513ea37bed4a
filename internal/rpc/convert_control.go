package rpc

import (
	"errors"
	"fmt"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// errUnknownMessage says that the other side sent what this program does not know: it is of another version.
var errUnknownMessage = errors.New("message of unknown type")

func helloToPB(h job.Hello) *clusterpb.Hello {
	return &clusterpb.Hello{
		Store: string(h.Store), Generation: h.Generation, Session: uint64(h.Session), Name: h.Name, Addr: h.Addr,
		Slots: int64(h.Slots), Build: h.Build, Cluster: h.Cluster,
	}
}

func helloOf(h *clusterpb.Hello) job.Hello {
	return job.Hello{
		Store: id.Store(h.GetStore()), Generation: h.GetGeneration(), Session: id.Session(h.GetSession()), Name: h.GetName(),
		Addr: h.GetAddr(), Slots: int(h.GetSlots()), Build: h.GetBuild(), Cluster: h.GetCluster(),
	}
}

func welcomeToPB(w job.Welcome) *clusterpb.Welcome {
	return &clusterpb.Welcome{Session: uint64(w.Session), Epoch: uint64(w.Epoch), Cluster: w.Cluster}
}

func welcomeOf(w *clusterpb.Welcome) job.Welcome {
	return job.Welcome{Session: id.Session(w.GetSession()), Epoch: id.Epoch(w.GetEpoch()), Cluster: w.GetCluster()}
}

// requestToPB converts a request without its lane and number.
func requestToPB(r job.ToDriver) (*clusterpb.Request, error) {
	switch r := r.(type) {
	case *job.BlocksReport:
		return &clusterpb.Request{Body: &clusterpb.Request_Blocks{Blocks: &clusterpb.BlocksReport{
			Blocks: each(r.Blocks, blockReportToPB),
		}}}, nil
	case *job.ReceiverStarted:
		return &clusterpb.Request{Body: &clusterpb.Request_ReceiverStarted{ReceiverStarted: &clusterpb.ReceiverStarted{
			App: uint64(r.App), Stream: int32(r.Stream), Instance: uint64(r.Instance),
		}}}, nil
	case *job.ReceiverStopped:
		return &clusterpb.Request{Body: &clusterpb.Request_ReceiverStopped{ReceiverStopped: &clusterpb.ReceiverStopped{
			App: uint64(r.App), Stream: int32(r.Stream), Instance: uint64(r.Instance), Message: text(r.Message), Error: text(r.Error),
		}}}, nil
	case *job.ReceiverFailed:
		return &clusterpb.Request{Body: &clusterpb.Request_ReceiverFailed{ReceiverFailed: &clusterpb.ReceiverFailed{
			App: uint64(r.App), Stream: int32(r.Stream), Instance: uint64(r.Instance), Error: text(r.Error),
		}}}, nil
	case *job.Inventory:
		return &clusterpb.Request{Body: &clusterpb.Request_Inventory{Inventory: &clusterpb.Inventory{
			Blocks: each(r.Blocks, blockIDToPB), First: r.First, Last: r.Last,
		}}}, nil
	case *job.BatchReport:
		return &clusterpb.Request{Body: &clusterpb.Request_Batch{Batch: batchReportToPB(r)}}, nil
	}
	return nil, fmt.Errorf("request %T: %w", r, errUnknownMessage)
}

func requestOf(r *clusterpb.Request) (job.ToDriver, error) {
	switch b := r.GetBody().(type) {
	case *clusterpb.Request_Blocks:
		return &job.BlocksReport{Blocks: each(b.Blocks.GetBlocks(), blockReportOf)}, nil
	case *clusterpb.Request_ReceiverStarted:
		m := b.ReceiverStarted
		return &job.ReceiverStarted{
			App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Instance: id.Instance(m.GetInstance()),
		}, nil
	case *clusterpb.Request_ReceiverStopped:
		m := b.ReceiverStopped
		return &job.ReceiverStopped{
			App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Instance: id.Instance(m.GetInstance()),
			Message: m.GetMessage(), Error: m.GetError(),
		}, nil
	case *clusterpb.Request_ReceiverFailed:
		m := b.ReceiverFailed
		return &job.ReceiverFailed{
			App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Instance: id.Instance(m.GetInstance()), Error: m.GetError(),
		}, nil
	case *clusterpb.Request_Inventory:
		m := b.Inventory
		return &job.Inventory{Blocks: each(m.GetBlocks(), blockIDOf), First: m.GetFirst(), Last: m.GetLast()}, nil
	case *clusterpb.Request_Batch:
		return batchReportOf(b.Batch), nil
	}
	return nil, fmt.Errorf("request: %w", errUnknownMessage)
}

func blockReportToPB(b job.BlockReport) *clusterpb.BlockReport {
	return &clusterpb.BlockReport{
		Id: blockIDToPB(b.ID), Records: b.Records, Bytes: b.Bytes, Crc: b.CRC, Stores: storesToPB(b.Stores),
		Ranges: each(b.Ranges, rangeToPB),
	}
}

func blockReportOf(b *clusterpb.BlockReport) job.BlockReport {
	return job.BlockReport{
		ID: blockIDOf(b.GetId()), Records: b.GetRecords(), Bytes: b.GetBytes(), CRC: b.GetCrc(), Stores: storesOf(b.GetStores()),
		Ranges: each(b.GetRanges(), rangeOf),
	}
}

func batchReportToPB(r *job.BatchReport) *clusterpb.BatchReport {
	return &clusterpb.BatchReport{
		App: uint64(r.App), Time: int64(r.Time), Authority: authorityToPB(r.Authority), StartedMs: r.StartedMS, EndedMs: r.EndedMS,
		Records: r.Records, Tries: int64(r.Tries), Error: text(r.Error), Lost: r.Lost,
	}
}

func batchReportOf(r *clusterpb.BatchReport) *job.BatchReport {
	return &job.BatchReport{
		App: id.App(r.GetApp()), Time: id.Time(r.GetTime()), Authority: authorityOf(r.GetAuthority()), StartedMS: r.GetStartedMs(),
		EndedMS: r.GetEndedMs(), Records: r.GetRecords(), Tries: int(r.GetTries()), Error: r.GetError(), Lost: r.GetLost(),
	}
}

func replyToPB(r job.Reply) *clusterpb.Reply {
	return &clusterpb.Reply{
		Outcome: uint32(r.Outcome), Index: r.Index, Reason: text(r.Reason),
		Blocks: each(r.Blocks, func(b job.BlockReply) *clusterpb.BlockReply {
			return &clusterpb.BlockReply{Outcome: uint32(b.Outcome), Index: b.Index, Reason: text(b.Reason)}
		}),
		Positions: each(r.Positions, rangeToPB), Delete: each(r.Delete, blockIDToPB),
	}
}

func replyOf(r *clusterpb.Reply) job.Reply {
	return job.Reply{
		Outcome: small[job.Outcome](r.GetOutcome()), Index: r.GetIndex(), Reason: r.GetReason(),
		Blocks: each(r.GetBlocks(), func(b *clusterpb.BlockReply) job.BlockReply {
			return job.BlockReply{Outcome: small[job.Outcome](b.GetOutcome()), Index: b.GetIndex(), Reason: b.GetReason()}
		}),
		Positions: each(r.GetPositions(), rangeOf), Delete: each(r.GetDelete(), blockIDOf),
	}
}

func orderToPB(o job.ToExecutor) (*clusterpb.Order, error) {
	switch o := o.(type) {
	case *job.Peers:
		return &clusterpb.Order{Body: &clusterpb.Order_Peers{Peers: &clusterpb.Peers{
			Index: o.Index, Peers: each(o.Peers, peerToPB),
		}}}, nil
	case *job.StartReceiver:
		return &clusterpb.Order{Body: &clusterpb.Order_StartReceiver{StartReceiver: &clusterpb.StartReceiver{
			Epoch: uint64(o.Epoch), App: appToPB(o.App), Stream: int32(o.Stream), Instance: uint64(o.Instance),
		}}}, nil
	case *job.StopReceiver:
		return &clusterpb.Order{Body: &clusterpb.Order_StopReceiver{StopReceiver: &clusterpb.StopReceiver{
			Epoch: uint64(o.Epoch), App: uint64(o.App), Stream: int32(o.Stream), Instance: uint64(o.Instance), Discard: o.Discard,
		}}}, nil
	case *job.Batch:
		return &clusterpb.Order{Body: &clusterpb.Order_Batch{Batch: &clusterpb.Batch{
			Authority: authorityToPB(o.Authority), App: appToPB(o.App), Time: int64(o.Time), Inputs: each(o.Inputs, inputToPB),
			AcceptLoss: o.AcceptLoss,
		}}}, nil
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
			Instance: id.Instance(m.GetInstance()),
		}, nil
	case *clusterpb.Order_StopReceiver:
		m := b.StopReceiver
		return &job.StopReceiver{
			Epoch: id.Epoch(m.GetEpoch()), App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()),
			Instance: id.Instance(m.GetInstance()), Discard: m.GetDiscard(),
		}, nil
	case *clusterpb.Order_Batch:
		m := b.Batch
		return &job.Batch{
			Authority: authorityOf(m.GetAuthority()), App: appOf(m.GetApp()), Time: id.Time(m.GetTime()),
			Inputs: each(m.GetInputs(), inputOf), AcceptLoss: m.GetAcceptLoss(),
		}, nil
	case *clusterpb.Order_Progress:
		return progressOf(b.Progress), nil
	}
	return nil, fmt.Errorf("order: %w", errUnknownMessage)
}

func progressToPB(p *job.Progress) *clusterpb.Progress {
	return &clusterpb.Progress{
		Epoch: uint64(p.Epoch), App: uint64(p.App), Completed: int64(p.Completed), Cleaned: int64(p.Cleaned), Ended: p.Ended,
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
		Ended: p.GetEnded(),
		Instances: each(p.GetInstances(), func(i *clusterpb.InstanceProgress) job.InstanceProgress {
			return job.InstanceProgress{
				Stream: id.Stream(i.GetStream()), Instance: id.Instance(i.GetInstance()), Cleaned: i.GetCleaned(), Last: i.GetLast(),
				Closed: i.GetClosed(),
			}
		}),
	}
}
