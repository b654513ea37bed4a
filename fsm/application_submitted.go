package fsm

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
	"github.com/raftstream/raftstream/tracker"
)

// ApplicationSubmitted submits an application. Natural key: RequestID if not empty. Result.Index is its id.
type ApplicationSubmitted struct {
	RequestID   string
	Name        string
	Program     string // name under which it is registered in the binary
	Params      []byte // JSON object
	BatchMS     int64
	BlockMS     int64
	Partitions  int
	Factor      int
	Fingerprint string
	Build       string
	RememberMS  int64 // raised to one batch interval if it is shorter
	Inputs      []InputStream
	States      []StateStream
	// CheckpointURL names the bucket that checkpoints of keyed state are kept in; empty: on Factor executors.
	CheckpointURL string
	NowMS         int64 // the application's zero time is the last multiple of the batch interval up to here
}

// InputStream is an input stream as submitted.
type InputStream struct {
	Stream    id.Stream
	Source    string
	Receiver  bool
	Pushed    bool
	Preferred string
	Rate      int64 // records per second that its receiver takes in at most, 0 for no limit
}

// StateStream is a stream with keyed state as submitted: its partitions carry rows from each of its times to the next.
type StateStream struct {
	Stream     id.Stream
	SlideMS    int64
	Partitions int
}

// Kind gives the command's number.
func (*ApplicationSubmitted) Kind() Kind { return KindApplicationSubmitted }

func applicationSubmittedRow() row {
	return newRow("ApplicationSubmitted", submittedToPB, submittedFromPB, applyApplicationSubmitted)
}

func submittedToPB(c *ApplicationSubmitted) *ledgerpb.ApplicationSubmitted {
	return &ledgerpb.ApplicationSubmitted{
		RequestId: c.RequestID, Name: c.Name, Program: c.Program, Params: c.Params,
		BatchMs: c.BatchMS, BlockMs: c.BlockMS, Partitions: int64(c.Partitions), Factor: int64(c.Factor),
		Fingerprint: c.Fingerprint, Build: c.Build, RememberMs: c.RememberMS,
		Inputs: inputsToPB(c.Inputs), NowMs: c.NowMS, States: statesToPB(c.States),
		CheckpointUrl: c.CheckpointURL,
	}
}

func submittedFromPB(m *ledgerpb.ApplicationSubmitted) *ApplicationSubmitted {
	return &ApplicationSubmitted{
		RequestID: m.GetRequestId(), Name: m.GetName(), Program: m.GetProgram(), Params: m.GetParams(),
		BatchMS: m.GetBatchMs(), BlockMS: m.GetBlockMs(), Partitions: int(m.GetPartitions()), Factor: int(m.GetFactor()),
		Fingerprint: m.GetFingerprint(), Build: m.GetBuild(), RememberMS: m.GetRememberMs(),
		Inputs: inputsFromPB(m.GetInputs()), NowMS: m.GetNowMs(), States: statesFromPB(m.GetStates()),
		CheckpointURL: m.GetCheckpointUrl(),
	}
}

func applyApplicationSubmitted(t *tx, c *ApplicationSubmitted) Result {
	if r, ok := t.requests.Get(c.RequestID); ok && c.RequestID != "" {
		if r.name != c.Name {
			return refuse("request id %q was used to submit %q, now for %q", c.RequestID, r.name, c.Name)
		}
		return t.doneAt(uint64(r.app))
	}
	if bad := checkSubmission(c); bad != "" {
		return refuse("%s", bad)
	}
	if n, ok := t.names.Get(c.Name); ok {
		if a, ok := t.app(n); ok && a.Live() {
			return refuse("name %q is in use by application %d, which is %v", c.Name, a.ID, a.State)
		}
	}
	if _, taken := t.app(id.App(t.index)); taken {
		return limited("application %d was submitted by the same entry, propose it again", t.index)
	}
	if t.apps.Len() >= MaxApps && !t.forgetApp() {
		return limited("%d applications are live, expected less than %d", t.apps.Len(), MaxApps)
	}
	t.open(c)
	if c.RequestID != "" {
		t.remember(&request{id: c.RequestID, app: id.App(t.index), name: c.Name})
	}
	return t.done()
}

func checkSubmission(c *ApplicationSubmitted) string {
	bad := firstOf(
		checkName("application name", c.Name),
		checkName("program name", c.Program),
		checkRange("length of the request id", int64(len(c.RequestID)), 0, MaxName),
		checkRange("length of the parameters", int64(len(c.Params)), 0, MaxParams),
		checkRange("batch interval in milliseconds", c.BatchMS, MinIntervalMS, MaxBatchMS),
		checkRange("block interval in milliseconds", c.BlockMS, MinIntervalMS, MaxBatchMS),
		checkRange("number of partitions", int64(c.Partitions), 1, MaxPartitions),
		checkRange("replication factor", int64(c.Factor), 1, MaxFactor),
		checkRange("number of input streams", int64(len(c.Inputs)), 0, MaxInputs),
		checkRange("submission time", c.NowMS, 0, maxWallMS),
		checkRange("length of the fingerprint", int64(len(c.Fingerprint)), 0, MaxName),
		checkRange("length of the build id", int64(len(c.Build)), 0, MaxName),
		checkRange("length of the checkpoint URL", int64(len(c.CheckpointURL)), 0, MaxURL),
	)
	if bad == "" {
		bad = checkRange("remember duration in milliseconds", c.RememberMS, 0, c.BatchMS*MaxRemembered)
	}
	seen := map[id.Stream]bool{}
	for _, in := range c.Inputs {
		if bad == "" && seen[in.Stream] {
			bad = fmt.Sprintf("input stream %d is named twice", in.Stream)
		}
		seen[in.Stream] = true
		bad = firstOf(bad,
			checkRange("length of a source's name", int64(len(in.Source)), 0, MaxName),
			checkRange("length of a preferred node's name", int64(len(in.Preferred)), 0, MaxName),
			checkRange("records per second", in.Rate, 0, MaxRate))
	}
	return firstOf(bad, checkStates(c, seen))
}

// checkStates verifies the streams with keyed state. None of them is an input: pieces of checkpoints and blocks have
// names of one kind, told apart by the stream. A checkpoint of them must be possible, and often enough.
func checkStates(c *ApplicationSubmitted, inputs map[id.Stream]bool) string {
	bad := checkRange("number of streams with keyed state", int64(len(c.States)), 0, MaxStates)
	seen := map[id.Stream]bool{}
	round, partitions := int64(1), int64(0)
	for _, s := range c.States {
		switch {
		case bad != "":
			return bad
		case seen[s.Stream]:
			return fmt.Sprintf("stream %d with keyed state is named twice", s.Stream)
		case inputs[s.Stream]:
			return fmt.Sprintf("stream %d has keyed state and is an input", s.Stream)
		case s.SlideMS < c.BatchMS || s.SlideMS%c.BatchMS != 0 || s.SlideMS/c.BatchMS > MaxStateRound:
			return fmt.Sprintf("stream %d with keyed state has a time every %d ms, expected 1 to %d times %d", s.Stream,
				s.SlideMS, MaxStateRound, c.BatchMS)
		}
		seen[s.Stream] = true
		bad = checkRange("number of partitions of keyed state", int64(s.Partitions), 1, MaxStatePartitions)
		partitions += int64(s.Partitions)
		if round = common(round, s.SlideMS/c.BatchMS); bad == "" && round > MaxStateRound {
			bad = fmt.Sprintf("streams with keyed state have a time in common every %d batches, expected %d at most",
				round, MaxStateRound)
		}
	}
	return firstOf(bad, checkRange("number of partitions of all keyed state", partitions, 0, MaxStatePartitions))
}

// common gives the least common multiple of two positive numbers.
func common(a, b int64) int64 {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}

// maxWallMS bounds a submission's clock so that no batch time can overflow: the year 5138.
const maxWallMS = 100_000_000_000_000

// open makes the application, its queue and its receivers.
func (t *tx) open(c *ApplicationSubmitted) {
	n := id.App(t.index)
	zero := id.Time(c.NowMS - c.NowMS%c.BatchMS)
	t.blocks.OpenQueue(n)
	for _, in := range c.Inputs {
		if in.Receiver {
			t.tracker.PutReceiver(&tracker.Receiver{
				App: n, Stream: in.Stream, Source: in.Source, Preferred: in.Preferred,
				State: tracker.Inactive, Since: c.NowMS,
			})
		}
	}
	a := &App{
		ID: n, Name: c.Name, Program: c.Program, Params: c.Params, BatchMS: c.BatchMS, BlockMS: c.BlockMS,
		Partitions: c.Partitions, Factor: c.Factor, Fingerprint: c.Fingerprint, Build: c.Build,
		RememberMS: max(c.RememberMS, c.BatchMS), Inputs: c.Inputs, State: Running, SubmittedMS: c.NowMS,
		ZeroTime: zero, Allocated: zero, Completed: zero, Cleaned: zero, States: c.States,
		CheckpointURL: c.CheckpointURL,
	}
	t.set(a)
	t.event(c.NowMS, a, EventApplicationSubmitted, "program %s, a batch every %d ms", c.Program, c.BatchMS)
}

// forgetApp drops the oldest application that has ended.
func (t *tx) forgetApp() bool {
	var oldest *App
	for a := range (View{s: t.state}).Apps() {
		if !a.Live() {
			oldest = a
			break
		}
	}
	if oldest == nil {
		return false
	}
	t.dropApp(oldest)
	return true
}

// remember keeps a request id; beyond MaxRequests the oldest one is forgotten.
func (t *tx) remember(r *request) {
	t.putRequest(r)
	for t.asked.Len() > MaxRequests {
		_, old, _ := t.asked.PopMin()
		t.requests.Delete(old.id)
	}
}
