package tracker

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/id"
)

// Granted reports whether the grant of a new instance after prev to this session was applied before, and which
// instance it made (natural key: application, stream, prev).
func Granted(r *Receiver, session id.Session, prev id.Instance) (id.Instance, bool) {
	again := r.Instance != 0 && r.Instance != prev && r.Prev == prev && r.Session == session
	return r.Instance, again
}

// Schedule grants a new instance to a session. Prev is the instance that the proposer saw (rule 1): it must be the
// last one granted.
func (s *State) Schedule(r *Receiver, session id.Session, prev, grant id.Instance, nowMS int64) error {
	if r.Instance != prev || grant <= prev {
		return fmt.Errorf("receiver of stream %d of application %d: instance %d is to be replaced, the last one is %d",
			r.Stream, r.App, prev, r.Instance)
	}
	n := *r
	n.State, n.Instance, n.Prev, n.Session, n.Since = Scheduled, grant, prev, session, nowMS
	s.PutReceiver(&n)
	return nil
}

// Activate notes that the current instance runs.
func (s *State) Activate(r *Receiver, nowMS int64) {
	n := *r
	n.State, n.Since = Active, nowMS
	s.PutReceiver(&n)
}

// Deactivate notes that the receiver has no instance any more; errText is not empty if its instance failed.
func (s *State) Deactivate(r *Receiver, errText string, nowMS int64) {
	n := r.inactive(nowMS)
	if errText != "" {
		n = n.failed(errText, nowMS)
	}
	s.PutReceiver(n)
}

// Fail notes an error of the running instance.
func (s *State) Fail(r *Receiver, errText string, nowMS int64) {
	s.PutReceiver(r.failed(errText, nowMS))
}

func (r *Receiver) inactive(nowMS int64) *Receiver {
	n := *r
	n.State, n.Since = Inactive, nowMS
	return &n
}

func (r *Receiver) failed(text string, nowMS int64) *Receiver {
	n := *r
	n.LastError, n.ErrorMS = text, nowMS
	n.Errors++
	return &n
}
