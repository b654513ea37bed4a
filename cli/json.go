package cli

import (
	"encoding/json"
	"strings"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

// What -o json prints. Names are part of the contract (docs/cli.md): fields may be added, never renamed.

type membersJSON struct {
	Term    uint64       `json:"term"`
	Leader  string       `json:"leader"`
	Members []memberJSON `json:"members"`
}

type memberJSON struct {
	Name     string   `json:"name"`
	ID       string   `json:"id"`
	Roles    []string `json:"roles"`
	Status   string   `json:"status"`
	Raft     string   `json:"raft"`
	RPCAddr  string   `json:"rpc_addr"`
	HTTPAddr string   `json:"http_addr"`
	Version  string   `json:"version"`
	Learner  bool     `json:"learner"`
}

type appsJSON struct {
	Apps []appJSON `json:"apps"`
}

type appJSON struct {
	Name             string          `json:"name"`
	App              string          `json:"app"`
	State            string          `json:"state"`
	BatchMS          int64           `json:"batch_ms"`
	ZeroTimeMS       int64           `json:"zero_time_ms"`
	LastAllocatedMS  int64           `json:"last_allocated_ms"`
	LastCompletedMS  int64           `json:"last_completed_ms"`
	PendingBatches   int64           `json:"pending_batches"`
	RecordsReceived  int64           `json:"records_received"`
	RecordsProcessed int64           `json:"records_processed"`
	RecordsDiscarded int64           `json:"records_discarded"`
	RecordsQueued    int64           `json:"records_queued"`
	Coordinator      string          `json:"coordinator"`
	ID               uint64          `json:"id"`
	Error            string          `json:"error"`
	Params           json.RawMessage `json:"params"`
	BlockMS          int64           `json:"block_ms"`
	Partitions       int32           `json:"partitions"`
	Replication      int32           `json:"replication"`
	Fingerprint      string          `json:"fingerprint"`
	SubmittedMS      int64           `json:"submitted_ms"`
	StoppedMS        int64           `json:"stopped_ms"`
	CheckpointTimeMS int64           `json:"checkpoint_time_ms"`
	CheckpointBytes  int64           `json:"checkpoint_bytes"`
	CheckpointURL    string          `json:"checkpoint_url"`
}

// oneAppJSON is what app shows beyond apps.
type oneAppJSON struct {
	appJSON
	UnderReplicated int64 `json:"under_replicated"`
}

type batchesJSON struct {
	Batches []batchJSON `json:"batches"`
}

type batchJSON struct {
	TimeMS            int64  `json:"time_ms"`
	State             string `json:"state"`
	Records           int64  `json:"records"`
	SchedulingDelayMS int64  `json:"scheduling_delay_ms"`
	ProcessingMS      int64  `json:"processing_ms"`
	TotalDelayMS      int64  `json:"total_delay_ms"`
	Attempts          int64  `json:"attempts"`
	Error             string `json:"error"`
}

type receiversJSON struct {
	Receivers []receiverJSON `json:"receivers"`
}

type receiverJSON struct {
	App       string `json:"app"`
	AppID     uint64 `json:"app_id"`
	Stream    int32  `json:"stream"`
	Source    string `json:"source"`
	State     string `json:"state"`
	Instance  uint64 `json:"instance"`
	Node      string `json:"node"`
	Addr      string `json:"addr"`
	SinceMS   int64  `json:"since_ms"`
	LastError string `json:"last_error"`
	ErrorMS   int64  `json:"error_ms"`
	Errors    int64  `json:"errors"`
	Kind      string `json:"kind"`
	Mark      string `json:"mark"`
	Positions int64  `json:"positions"`
	Rate      int64  `json:"rate"`
	Warning   string `json:"warning"`
}

// word gives the last word of an enumeration value's name in lower case: APP_STATE_RUNNING with its prefix is running.
func word(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

func memberOf(m *raftstreamv1.Member) memberJSON {
	return memberJSON{
		Name: m.GetName(), ID: m.GetId(), Roles: append([]string{}, m.GetRoles()...),
		Status: word(m.GetStatus().String(), "MEMBER_STATUS_"), Raft: word(m.GetRaft().String(), "RAFT_ROLE_"),
		RPCAddr: m.GetRpcAddr(), HTTPAddr: m.GetHttpAddr(), Version: m.GetVersion(), Learner: m.GetLearner(),
	}
}

func membersOf(r *raftstreamv1.ListMembersReply) membersJSON {
	return membersJSON{Term: r.GetTerm(), Leader: r.GetLeader(), Members: each(r.GetMembers(), memberOf)}
}

func appOf(a *raftstreamv1.App) appJSON {
	params := json.RawMessage(a.GetParamsJson())
	if !json.Valid(params) {
		params = json.RawMessage("null")
	}
	return appJSON{
		Name: a.GetName(), App: a.GetProgram(), State: word(a.GetState().String(), "APP_STATE_"),
		BatchMS: a.GetBatchMs(), ZeroTimeMS: a.GetZeroTimeMs(),
		LastAllocatedMS: a.GetLastAllocatedMs(), LastCompletedMS: a.GetLastCompletedMs(), PendingBatches: a.GetPendingBatches(),
		RecordsReceived: a.GetRecordsReceived(), RecordsProcessed: a.GetRecordsProcessed(),
		RecordsDiscarded: a.GetRecordsDiscarded(), RecordsQueued: a.GetRecordsQueued(),
		Coordinator: a.GetCoordinator(), ID: a.GetId(), Error: a.GetError(), Params: params,
		BlockMS: a.GetBlockMs(), Partitions: a.GetPartitions(), Replication: a.GetReplication(),
		Fingerprint: a.GetFingerprint(), SubmittedMS: a.GetSubmittedMs(), StoppedMS: a.GetStoppedMs(),
		CheckpointTimeMS: a.GetCheckpointTimeMs(), CheckpointBytes: a.GetCheckpointBytes(), CheckpointURL: a.GetCheckpointUrl(),
	}
}

func batchOf(b *raftstreamv1.Batch) batchJSON {
	return batchJSON{
		TimeMS: b.GetTimeMs(), State: word(b.GetState().String(), "BATCH_STATE_"), Records: b.GetRecords(),
		SchedulingDelayMS: b.GetSchedulingDelayMs(), ProcessingMS: b.GetProcessingMs(), TotalDelayMS: b.GetTotalDelayMs(),
		Attempts: b.GetAttempts(), Error: b.GetError(),
	}
}

func receiverOf(r *raftstreamv1.Receiver) receiverJSON {
	return receiverJSON{
		App: r.GetApp(), AppID: r.GetAppId(), Stream: r.GetStream(), Source: r.GetSource(),
		State: word(r.GetState().String(), "RECEIVER_STATE_"), Instance: r.GetInstance(), Node: r.GetNode(), Addr: r.GetAddr(),
		SinceMS: r.GetSinceMs(), LastError: r.GetLastError(), ErrorMS: r.GetErrorMs(), Errors: r.GetErrors(),
		Kind: word(r.GetKind().String(), "RECEIVER_KIND_"), Mark: r.GetMark(), Positions: r.GetPositions(), Rate: r.GetRate(),
		Warning: r.GetWarning(),
	}
}

// each converts a list; an empty one is [] in JSON, not null.
func each[T, U any](in []T, f func(T) U) []U {
	out := make([]U, 0, len(in))
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}
