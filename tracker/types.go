package tracker

import (
	"github.com/raftstream/raftstream/internal/id"
)

// Session is an executor that the ledger trusts at present. Immutable.
type Session struct {
	ID         id.Session
	Store      id.Store
	Generation uint64
	Name       string
	Addr       string
	Slots      int
	Build      string
	OpenedMS   int64
}

// Store is what the ledger remembers of an executor's data directory beyond its sessions, so that a process of an
// older start cannot come back. Immutable.
type Store struct {
	ID         id.Store
	Generation uint64     // highest seen
	Session    id.Session // that is open, 0 for none
	Used       uint64     // index of the last opening
}

// ReceiverState is where a receiver's life stands (Spark: ReceiverState).
type ReceiverState uint8

const (
	// Inactive has no instance. Next: Scheduled.
	Inactive ReceiverState = iota + 1
	// Scheduled has an instance on a session that has not reported yet. Next: Active, Inactive.
	Scheduled
	// Active runs. Next: Inactive.
	Active
)

// Receiver is one receiver of one application. Immutable.
type Receiver struct {
	App       id.App
	Stream    id.Stream
	Source    string
	Preferred string
	State     ReceiverState
	Instance  id.Instance // current or last
	Prev      id.Instance // the one before Instance, 0 for none
	Session   id.Session  // of the instance
	Since     int64       // wall clock of the last change, Unix milliseconds
	LastError string
	ErrorMS   int64
	Errors    int // since the submission; a report that was repeated may count twice
}
