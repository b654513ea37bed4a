package history

// Operations whose outcomes several checkers read, as Event.F, and the types of their Event.Value. An invocation holds
// what was asked, a completion all that is known.
const (
	// Add sends records of a producer and waits until they are acknowledged (Range). Event.RaftIndex of ok is that of the
	// newest acknowledgement, 0 where the records were taken before this operation.
	Add = "add"
	// Open is how a producer comes, and comes again (Opening).
	Open = "open"
	// Read asks for the counts of an application (Counts). Event.RaftIndex of ok is the index at which they were read,
	// Event.Node the node that was asked for its own copy where Counts.Stale is set.
	Read = "read"

	// Submit, Stop, Get and List are of the life of applications (Submission, StopValue, Lookup, Listing).
	Submit = "submit"
	Stop   = "stop"
	Get    = "get"
	List   = "list"
	// Resume lets a failed application go on (Resumption). Event.RaftIndex of ok is that at which it took effect, also of one
	// that is repeated.
	Resume = "resume"
)

// Range is a run of positions of one producer, both ends included. A producer that comes again under its name may send
// the same range in several operations: it is acknowledged when one of them is ok.
type Range struct {
	App      string `json:"app"`
	ID       uint64 `json:"id,omitempty"` // of the application
	Producer string `json:"producer"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	// Whole says that the records were taken as one, at one index: there is only one, or the sender knows it otherwise.
	Whole bool `json:"whole,omitempty"`
}

// Opening is what a producer hears when it comes: up to where the cluster has its records, and what it knew itself.
type Opening struct {
	Producer string `json:"producer"`
	Acked    uint64 `json:"acked"` // that it knew
	Tried    uint64 `json:"tried"`
	Position uint64 `json:"position"` // that the cluster answers
}

// Counts are what the ledger says of an application. Counts of records are since its submission.
type Counts struct {
	App       string `json:"app"`
	ID        uint64 `json:"id,omitempty"`
	Stale     bool   `json:"stale,omitempty"`
	Received  int64  `json:"received"`
	Processed int64  `json:"processed"`
	Discarded int64  `json:"discarded,omitempty"`
	Queued    int64  `json:"queued"`
	Zero      int64  `json:"zero_ms,omitempty"`      // batch times are this plus whole intervals
	Allocated int64  `json:"allocated_ms,omitempty"` // last batch time that is allocated, Zero before the first
	Completed int64  `json:"completed_ms,omitempty"` // every batch up to here is completed
	Pending   int64  `json:"pending,omitempty"`      // batches
	State     string `json:"state,omitempty"`        // as App.State
	Resumed   uint64 `json:"resumed,omitempty"`      // index of the last resumption, 0 for none
}

// States of applications in values.
const (
	Running  = "running"
	Stopping = "stopping" // what was received is being processed
	Failed   = "failed"
	Stopped  = "stopped"
)

// Reasons of refusals in values. A refusal is a fail that tells something of the state: it was read as a reply is.
const (
	Taken    = "taken"     // the name is in use: it has an application that is not stopped
	NotFound = "not found" // there was never such an application
	Refused  = "refused"   // the application's state does not allow it, or whatever else Event.Error says
)

// App is an application as a reply shows it.
type App struct {
	Name  string `json:"name"`
	ID    uint64 `json:"id"` // the index of the entry that submitted it
	State string `json:"state"`
}

// Submission is the value of Submit: repeated with the same request it takes effect once, and has the same answer again.
type Submission struct {
	Name    string `json:"name"`
	Request string `json:"request"`
	ID      uint64 `json:"id,omitempty"`      // of ok
	Refused string `json:"refused,omitempty"` // of fail
}

// StopValue is the value of Stop, of the one application with that id.
type StopValue struct {
	Name    string `json:"name"` // of the application that has the id
	ID      uint64 `json:"id"`
	Now     bool   `json:"now,omitempty"`
	Refused string `json:"refused,omitempty"` // of fail
}

// Resumption is the value of Resume: repeated with the same After it takes effect once, and has the same answer again.
type Resumption struct {
	App     string `json:"app"`
	ID      uint64 `json:"id"`
	After   uint64 `json:"after,omitempty"`   // index of the resumption before it, 0 for none
	Refused string `json:"refused,omitempty"` // of fail
}

// Lookup is the value of Get: of the newest application of a name, or of the one with an id.
type Lookup struct {
	Name    string `json:"name"`
	ID      uint64 `json:"id,omitempty"` // of the invocation: 0 asks by the name alone
	App     *App   `json:"app,omitempty"`
	Refused string `json:"refused,omitempty"` // of fail
}

// Listing is the value of List: all applications whose names begin with Prefix.
type Listing struct {
	Prefix string `json:"prefix,omitempty"`
	Apps   []App  `json:"apps"`
}

// ClientLost is the Error of an info operation whose client was ended on purpose in the middle of it: it needs no fault
// of the nemesis to explain it.
const ClientLost = "the client was lost on purpose"
