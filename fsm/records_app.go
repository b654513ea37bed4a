package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

func appToPB(a *App) *ledgerpb.AppRecord {
	return &ledgerpb.AppRecord{
		Id: uint64(a.ID), Name: a.Name, Program: a.Program, Params: a.Params, BatchMs: a.BatchMS, BlockMs: a.BlockMS,
		Partitions: int64(a.Partitions), Factor: int64(a.Factor), Fingerprint: a.Fingerprint, Build: a.Build,
		RememberMs: a.RememberMS, Inputs: inputsToPB(a.Inputs), State: uint32(a.State), Draining: a.Draining,
		LastGiven: a.LastGiven, SubmittedMs: a.SubmittedMS, StoppedMs: a.StoppedMS, ZeroTime: int64(a.ZeroTime),
		Allocated: int64(a.Allocated), Completed: int64(a.Completed), Cleaned: int64(a.Cleaned),
		Pending: int64(a.Pending), PendingRecords: a.PendingRecs, Received: a.Received, Processed: a.Processed,
		Discarded: a.Discarded, Queued: a.Queued, QueuedBytes: a.QueuedBytes, Office: uint64(a.Office),
		PrevOffice: uint64(a.PrevOffice), Coordinator: uint64(a.Coordinator), Resumed: a.Resumed,
		AcceptLoss: a.AcceptLoss, Error: a.Error, StopIndex: a.StopIndex, EndIndex: a.EndIndex, Broken: a.Broken,
		PrevResumed: a.PrevResumed, ResumedLoss: a.ResumedLoss, AtOnce: a.AtOnce,
		States: statesToPB(a.States), Planned: a.Planned, CheckpointUrl: a.CheckpointURL,
	}
}

func appFromPB(m *ledgerpb.AppRecord) *App {
	return &App{
		ID: id.App(m.GetId()), Name: m.GetName(), Program: m.GetProgram(), Params: m.GetParams(), BatchMS: m.GetBatchMs(),
		BlockMS: m.GetBlockMs(), Partitions: int(m.GetPartitions()), Factor: int(m.GetFactor()),
		Fingerprint: m.GetFingerprint(), Build: m.GetBuild(), RememberMS: m.GetRememberMs(),
		Inputs: inputsFromPB(m.GetInputs()), State: AppState(m.GetState()), Draining: m.GetDraining(),
		LastGiven: m.GetLastGiven(), SubmittedMS: m.GetSubmittedMs(), StoppedMS: m.GetStoppedMs(),
		ZeroTime: id.Time(m.GetZeroTime()), Allocated: id.Time(m.GetAllocated()), Completed: id.Time(m.GetCompleted()),
		Cleaned: id.Time(m.GetCleaned()), Pending: int(m.GetPending()), PendingRecs: m.GetPendingRecords(),
		Received: m.GetReceived(), Processed: m.GetProcessed(), Discarded: m.GetDiscarded(), Queued: m.GetQueued(),
		QueuedBytes: m.GetQueuedBytes(), Office: id.Office(m.GetOffice()), PrevOffice: id.Office(m.GetPrevOffice()),
		Coordinator: id.Session(m.GetCoordinator()), Resumed: m.GetResumed(), AcceptLoss: m.GetAcceptLoss(),
		Error: m.GetError(), StopIndex: m.GetStopIndex(), EndIndex: m.GetEndIndex(), Broken: m.GetBroken(),
		PrevResumed: m.GetPrevResumed(), ResumedLoss: m.GetResumedLoss(), AtOnce: m.GetAtOnce(),
		States: statesFromPB(m.GetStates()), Planned: m.GetPlanned(), CheckpointURL: m.GetCheckpointUrl(),
	}
}

func batchToPB(b *Batch) *ledgerpb.BatchRecord {
	return &ledgerpb.BatchRecord{
		App: uint64(b.App), Time: int64(b.Time), State: uint32(b.State), Index: b.Index, Records: b.Records, Bytes: b.Bytes,
		AllocatedMs: b.AllocatedMS, StartedMs: b.StartedMS, EndedMs: b.EndedMS, CompletedMs: b.CompletedMS,
		Attempts: int64(b.Attempts), Tries: int64(b.Tries), Error: b.Error, Office: uint64(b.Office),
		Attempt: uint64(b.Attempt), Done: b.Done,
	}
}

func batchFromPB(m *ledgerpb.BatchRecord) *Batch {
	return &Batch{
		App: id.App(m.GetApp()), Time: id.Time(m.GetTime()), State: BatchState(m.GetState()), Index: m.GetIndex(),
		Records: m.GetRecords(), Bytes: m.GetBytes(), AllocatedMS: m.GetAllocatedMs(), StartedMS: m.GetStartedMs(),
		EndedMS: m.GetEndedMs(), CompletedMS: m.GetCompletedMs(), Attempts: int(m.GetAttempts()),
		Tries: int(m.GetTries()), Error: m.GetError(), Office: id.Office(m.GetOffice()), Attempt: id.Attempt(m.GetAttempt()),
		Done: m.GetDone(),
	}
}
