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

// Able reports whether an executor can work for an application: it runs the binary that the application was submitted
// with (architecture, section 8: one batch runs on executors of one build id).
func Able(s *tracker.Session, a *fsm.App) bool { return a.Build == "" || s.Build == a.Build }
