package driver

import (
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/tracker"
)

// AppOf gives what executors must know of an application.
func AppOf(a *fsm.App) job.App {
	return job.App{
		ID:   a.ID,
		Name: a.Name,
		Spec: dataset.Spec{
			Name: a.Program, Params: a.Params, BatchMS: a.BatchMS, ZeroTime: a.ZeroTime, Partitions: a.Partitions,
		},
		Fingerprint: a.Fingerprint,
		BlockMS:     a.BlockMS,
		Factor:      a.Factor,
	}
}

// PeerOf gives what executors must know of each other.
func PeerOf(s *tracker.Session) job.Peer {
	return job.Peer{Session: s.ID, Store: s.Store, Name: s.Name, Addr: s.Addr, Slots: s.Slots, Build: s.Build}
}

// Able tells which executors work for an application: those that run the binary that it was submitted with, and when no
// session of such a one is open, all. So during an upgrade the work stays where it is until the last node of the old
// binary goes. Whether another binary holds the same graph is for the plan's fingerprint to decide, where it is built;
// that one batch runs on executors of one build id, for the coordinator (architecture, section 8).
func Able(v fsm.View, a *fsm.App) func(*tracker.Session) bool {
	same := func(s *tracker.Session) bool { return s.Build == a.Build }
	for s := range v.Sessions() {
		if same(s) {
			return same
		}
	}
	return func(*tracker.Session) bool { return true }
}
