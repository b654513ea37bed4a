package blocktracker

import (
	"github.com/raftstream/raftstream/internal/id"
)

// OpenInstance makes the record of an instance that was granted to a session. Closed ones that have nothing left are
// forgotten beyond MaxInstances.
func (s *State) OpenInstance(app id.App, stream id.Stream, n id.Instance, session id.Session) {
	s.PutInstance(&Instance{App: app, Stream: stream, ID: n, Session: session})
	var old []*Instance
	for i := range s.Instances(app) {
		if i.Stream == stream && i.Closed && i.Cleaned == i.Last {
			old = append(old, i)
		}
	}
	for len(old) > MaxInstances {
		s.instances.Delete(old[0])
		old = old[1:]
	}
}

// PutInstance puts a new or restored instance.
func (s *State) PutInstance(i *Instance) { s.instances.Set(i) }

// Register notes at which index the instance said that it runs.
func (s *State) Register(i *Instance, index uint64) {
	n := *i
	n.Registered = index
	s.instances.Set(&n)
}

// CloseInstance closes an instance: no block of it is taken any more.
func (s *State) CloseInstance(i *Instance) {
	if i.Closed {
		return
	}
	n := *i
	n.Closed = true
	s.instances.Set(&n)
}

// CloseSession closes the instances that run in a session, and forgets its unfinished inventory.
func (s *State) CloseSession(session id.Session) {
	s.closeThose(s.AllInstances(), func(i *Instance) bool { return i.Session == session })
	s.forgetNamed(session)
}

// CloseApp closes the instances of an application.
func (s *State) CloseApp(app id.App) {
	s.closeThose(s.Instances(app), func(*Instance) bool { return true })
}

func (s *State) closeThose(all func(func(*Instance) bool), which func(*Instance) bool) {
	var found []*Instance
	for i := range all {
		if !i.Closed && which(i) {
			found = append(found, i)
		}
	}
	for _, i := range found {
		s.CloseInstance(i)
	}
}

// OpenInstanceOf gives an instance of the application that is not closed.
func (s *State) OpenInstanceOf(app id.App) (*Instance, bool) {
	for i := range s.Instances(app) {
		if !i.Closed {
			return i, true
		}
	}
	return nil, false
}
