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
	case *job.BlocksCopied:
		return &clusterpb.Request{Body: &clusterpb.Request_BlocksCopied{BlocksCopied: &clusterpb.BlocksCopied{
			Blocks: each(r.Blocks, blockIDToPB),
		}}}, nil
	case *job.CheckpointReport:
		return &clusterpb.Request{Body: &clusterpb.Request_Checkpoint{Checkpoint: checkpointReportToPB(r)}}, nil
	case *job.HistoryRequest:
		return &clusterpb.Request{Body: &clusterpb.Request_History{History: &clusterpb.HistoryRequest{
			App: uint64(r.App), Before: int64(r.Before), From: int64(r.From),
		}}}, nil
	case *job.PositionsRequest:
		return &clusterpb.Request{Body: &clusterpb.Request_Positions{Positions: &clusterpb.PositionsRequest{
			App: uint64(r.App), Stream: int32(r.Stream),
		}}}, nil
	case *job.SourcesPlanned:
		return &clusterpb.Request{Body: &clusterpb.Request_SourcesPlanned{SourcesPlanned: sourcesPlannedToPB(r)}}, nil
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
	case *clusterpb.Request_BlocksCopied:
		return &job.BlocksCopied{Blocks: each(b.BlocksCopied.GetBlocks(), blockIDOf)}, nil
	case *clusterpb.Request_Checkpoint:
		return checkpointReportOf(b.Checkpoint), nil
	case *clusterpb.Request_History:
		m := b.History
		return &job.HistoryRequest{App: id.App(m.GetApp()), Before: id.Time(m.GetBefore()), From: id.Time(m.GetFrom())}, nil
	case *clusterpb.Request_Positions:
		return &job.PositionsRequest{App: id.App(b.Positions.GetApp()), Stream: id.Stream(b.Positions.GetStream())}, nil
	case *clusterpb.Request_SourcesPlanned:
		return sourcesPlannedOf(b.SourcesPlanned), nil
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
		LostBlocks: each(r.LostBlocks, blockIDToPB),
	}
}

func batchReportOf(r *clusterpb.BatchReport) *job.BatchReport {
	return &job.BatchReport{
		App: id.App(r.GetApp()), Time: id.Time(r.GetTime()), Authority: authorityOf(r.GetAuthority()), StartedMS: r.GetStartedMs(),
		EndedMS: r.GetEndedMs(), Records: r.GetRecords(), Tries: int(r.GetTries()), Error: r.GetError(), Lost: r.GetLost(),
		LostBlocks: each(r.GetLostBlocks(), blockIDOf),
	}
}

func replyToPB(r job.Reply) *clusterpb.Reply {
	return &clusterpb.Reply{
		Outcome: uint32(r.Outcome), Index: r.Index, Reason: text(r.Reason),
		Blocks: each(r.Blocks, func(b job.BlockReply) *clusterpb.BlockReply {
			return &clusterpb.BlockReply{Outcome: uint32(b.Outcome), Index: b.Index, Reason: text(b.Reason)}
		}),
		Positions: each(r.Positions, rangeToPB), Delete: each(r.Delete, blockIDToPB), History: historyToPB(r.History),
	}
}

func replyOf(r *clusterpb.Reply) job.Reply {
	return job.Reply{
		Outcome: small[job.Outcome](r.GetOutcome()), Index: r.GetIndex(), Reason: r.GetReason(),
		Blocks: each(r.GetBlocks(), func(b *clusterpb.BlockReply) job.BlockReply {
			return job.BlockReply{Outcome: small[job.Outcome](b.GetOutcome()), Index: b.GetIndex(), Reason: b.GetReason()}
		}),
		Positions: each(r.GetPositions(), rangeOf), Delete: each(r.GetDelete(), blockIDOf), History: historyOf(r.GetHistory()),
	}
}
