// Package history owns the record of a run: what clients began, how it ended, and what the nemesis did, one event a line,
// in the order in which the runner saw them. Its words are Jepsen's. It must not know what operations mean.
package history

import "encoding/json"

// Type is how an event stands to its operation.
type Type string

// Types of events. An operation is invoked and then ends as ok (it took effect), fail (it certainly did not) or info (it is
// not known, and may take effect later). A process whose operation ended as info begins no other one.
const (
	Invoke Type = "invoke"
	OK     Type = "ok"
	Fail   Type = "fail"
	Info   Type = "info"
)

// Nemesis is the process of the nemesis' events.
const Nemesis = -1

// Event is one line of a history.
type Event struct {
	Index    int64           `json:"index"`
	Time     int64           `json:"time"` // nanoseconds since the start of the run, on the runner's monotonic clock
	Process  int             `json:"process"`
	Type     Type            `json:"type"`
	Workload string          `json:"workload,omitempty"`
	F        string          `json:"f"` // the operation
	Value    json.RawMessage `json:"value,omitempty"`
	Node     string          `json:"node,omitempty"`
	// RaftIndex is the position of the log at which the operation took effect, or at which it was read; 0: not known.
	RaftIndex uint64 `json:"raft_index,omitempty"`
	Term      uint64 `json:"term,omitempty"`
	Error     string `json:"error,omitempty"`
}
