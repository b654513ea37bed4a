// Package plan owns the graph of DStreams as data: what every process that builds the same application must agree on.
// It promises a canonical encoding and a fingerprint over it; it must not know user types or anything above it.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/raftstream/raftstream/internal/id"
)

// Stream is one DStream of a graph.
type Stream struct {
	ID         id.Stream   `json:"id"`
	Operator   string      `json:"op"`
	Type       string      `json:"type"` // element type, by its codec's name or Go's
	Parents    []id.Stream `json:"parents,omitempty"`
	SlideMS    int64       `json:"slide_ms"`
	RememberMS int64       `json:"remember_ms,omitempty"`
	Persist    string      `json:"persist,omitempty"`    // where executors keep its datasets: "memory", "memory+disk"
	Partitions int         `json:"partitions,omitempty"` // set by option; 0: the application's default
	Name       string      `json:"-"`                    // shown, never fingerprinted
	At         string      `json:"-"`                    // the caller's file:line: shown, never fingerprinted
}

// Input is an input stream: what the ledger must know of a stream that records enter by.
type Input struct {
	Stream    id.Stream `json:"stream"`
	Source    string    `json:"source"`           // connector's name: "ingest", "socket", ...
	Receiver  bool      `json:"receiver"`         // fed by a receiver; else read directly
	Pushed    bool      `json:"pushed,omitempty"` // takes what clients push through the API
	Preferred string    `json:"-"`                // node name that the receiver would best run on, or ""
	MaxRate   int64     `json:"-"`                // records per second that the receiver takes in at most, 0 for no limit
}

// Output is an output operation.
type Output struct {
	Stream   id.Stream `json:"stream"`
	Operator string    `json:"op"`
	Name     string    `json:"name"` // unique in the graph
	At       string    `json:"-"`
}

// State is a stream with keyed state: its partitions carry rows from each of its times to the next.
type State struct {
	Stream     id.Stream `json:"stream"`
	SlideMS    int64     `json:"slide_ms"`   // between two of its times
	Partitions int       `json:"partitions"` // fixed for the application's life
}

// Plan is a whole graph. Streams, Inputs, States and Outputs are in the order of construction.
type Plan struct {
	BatchMS    int64 `json:"batch_ms"`
	RememberMS int64 `json:"remember_ms"` // how long a later batch may need a batch's input, at least one interval
	// CheckpointMS is how often keyed state is checkpointed, a multiple of BatchMS; 0 without States.
	CheckpointMS int64    `json:"checkpoint_ms,omitempty"`
	Streams      []Stream `json:"streams"`
	Inputs       []Input  `json:"inputs"`
	States       []State  `json:"states,omitempty"`
	Outputs      []Output `json:"outputs"`
}

// Fingerprint identifies the structure, types and operator names of the graph: 32 hexadecimal digits. Executors that
// come to another one hold another program.
func (p *Plan) Fingerprint() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic("plan: a plan of plain fields failed to marshal: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
