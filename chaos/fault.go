package chaos

import (
	"context"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// Injector brings about faults of the kinds that it is registered for.
type Injector interface {
	// Inject begins the fault of an event on the given targets, which are names of nodes, and returns when it is in
	// effect. An error says that it is not, and that nothing of it is left behind.
	Inject(ctx context.Context, e schedule.Event, targets []string) (Fault, error)
}

// Fault is one that is in effect.
type Fault interface {
	// Heal ends the fault, once, and proves that it took effect. An error says that something of it may be left.
	Heal(ctx context.Context) (Proof, error)
}

// Proof is what a fault did, as counted where it did it: processes ended, frames dropped, syncs failed. A fault with no
// bite took no effect, and the schedule that holds it was not injected.
type Proof struct {
	Bites int64  `json:"bites"`
	What  string `json:"what"` // unit of the bites, for people: "frames dropped"
	// Violation says what a node did under the fault that it must never do; empty: nothing.
	Violation string `json:"violation,omitempty"`
	// Replaced is the number of nodes whose damaged disk was replaced, because they refused it as they must.
	Replaced int64 `json:"replaced,omitempty"`
}
