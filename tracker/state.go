package tracker

import (
	"errors"
	"fmt"
	"iter"

	"github.com/tidwall/btree"

	"github.com/raftstream/raftstream/internal/id"
)

// MaxStores bounds the stores that are remembered after their session has ended.
const MaxStores = 1000

// ErrLimit is in the chain of a refusal by a limit or because something else must come first: the same call may
// succeed later.
var ErrLimit = errors.New("not now")

// State is the tracker's part of the ledger. One goroutine changes it; Copy gives a picture that any number may read
// while the original changes. Values in it are immutable: a change puts a new one.
type State struct {
	sessions  *btree.Map[id.Session, *Session]
	stores    *btree.Map[id.Store, *Store]
	receivers *btree.BTreeG[*Receiver]
	latest    id.Session // granted last; derived from the stores when restored
}

// NewState makes an empty one.
func NewState() *State {
	return &State{
		sessions: btree.NewMap[id.Session, *Session](0),
		stores:   btree.NewMap[id.Store, *Store](0),
		receivers: btree.NewBTreeGOptions(func(a, b *Receiver) bool {
			return a.App < b.App || a.App == b.App && a.Stream < b.Stream
		}, btree.Options{NoLocks: true}),
	}
}

// Copy gives a picture of s in constant time. It must be called by the goroutine that changes s.
func (s *State) Copy() *State {
	return &State{
		sessions: s.sessions.Copy(), stores: s.stores.Copy(), receivers: s.receivers.Copy(), latest: s.latest,
	}
}

// Session gives an open session.
func (s *State) Session(n id.Session) (*Session, bool) { return s.sessions.Get(n) }

// Store gives what is remembered of a store.
func (s *State) Store(n id.Store) (*Store, bool) { return s.stores.Get(n) }

// SessionOf gives the open session of a store.
func (s *State) SessionOf(n id.Store) (*Session, bool) {
	st, ok := s.stores.Get(n)
	if !ok || st.Session == 0 {
		return nil, false
	}
	return s.sessions.Get(st.Session)
}

// Open counts the open sessions.
func (s *State) Open() int { return s.sessions.Len() }

// Len counts all records.
func (s *State) Len() int { return s.sessions.Len() + s.stores.Len() + s.receivers.Len() }

// Sessions lists the open sessions in order of id.
func (s *State) Sessions() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		s.sessions.Scan(func(_ id.Session, v *Session) bool { return yield(v) })
	}
}

// Stores lists the stores in order of name.
func (s *State) Stores() iter.Seq[*Store] {
	return func(yield func(*Store) bool) {
		s.stores.Scan(func(_ id.Store, v *Store) bool { return yield(v) })
	}
}

// CheckSession says why a session cannot be opened, nil if it can. It is granted once: an id may not be used again, not
// even after the session is closed. The store's open session, if any, must have a lower generation.
func (s *State) CheckSession(n *Session) error {
	st, known := s.stores.Get(n.Store)
	switch {
	case known && n.Generation < st.Generation:
		return fmt.Errorf("generation %d of store %s, expected at least %d: a later start of it was seen",
			n.Generation, n.Store, st.Generation)
	case n.ID <= s.latest:
		return fmt.Errorf("%w: session %d was granted already", ErrLimit, s.latest)
	case !known && s.stores.Len() >= MaxStores && s.sessions.Len() >= MaxStores:
		return fmt.Errorf("%w: %d sessions are open, expected less than %d", ErrLimit, s.sessions.Len(), MaxStores)
	}
	return nil
}

// OpenSession opens a session that CheckSession lets through. The store's earlier session must have been closed.
func (s *State) OpenSession(n *Session) {
	if _, known := s.stores.Get(n.Store); !known && s.stores.Len() >= MaxStores {
		s.forgetStore()
	}
	s.sessions.Set(n.ID, n)
	s.PutStore(&Store{ID: n.Store, Generation: n.Generation, Session: n.ID, Used: uint64(n.ID)})
}

// forgetStore drops the store without a session that was used longest ago.
func (s *State) forgetStore() {
	var oldest *Store
	s.stores.Scan(func(_ id.Store, v *Store) bool {
		if v.Session == 0 && (oldest == nil || v.Used < oldest.Used) {
			oldest = v
		}
		return true
	})
	if oldest != nil {
		s.stores.Delete(oldest.ID)
	}
}

// CloseSession ends a session: the receivers whose instance ran in it become inactive. It reports whether the session
// was open.
func (s *State) CloseSession(n id.Session, nowMS int64) bool {
	was, ok := s.sessions.Delete(n)
	if !ok {
		return false
	}
	if st, ok := s.stores.Get(was.Store); ok && st.Session == n {
		s.stores.Set(st.ID, &Store{ID: st.ID, Generation: st.Generation, Used: st.Used})
	}
	var end []*Receiver
	s.receivers.Scan(func(r *Receiver) bool {
		if r.Session == n && r.State != Inactive {
			end = append(end, r)
		}
		return true
	})
	for _, r := range end {
		s.PutReceiver(r.inactive(nowMS))
	}
	return true
}

// PutSession puts a restored session.
func (s *State) PutSession(v *Session) { s.sessions.Set(v.ID, v) }

// PutStore puts a new or restored store.
func (s *State) PutStore(v *Store) {
	s.stores.Set(v.ID, v)
	s.latest = max(s.latest, id.Session(v.Used))
}

// PutReceiver puts a new, changed or restored receiver.
func (s *State) PutReceiver(v *Receiver) { s.receivers.Set(v) }

// Receiver gives the receiver of an input stream.
func (s *State) Receiver(app id.App, stream id.Stream) (*Receiver, bool) {
	return s.receivers.Get(&Receiver{App: app, Stream: stream})
}

// Receivers lists an application's receivers in order of stream.
func (s *State) Receivers(app id.App) iter.Seq[*Receiver] {
	return func(yield func(*Receiver) bool) {
		s.receivers.Ascend(&Receiver{App: app, Stream: minStream}, func(r *Receiver) bool {
			return r.App == app && yield(r)
		})
	}
}

// AllReceivers lists the receivers of all applications, in order of application and stream.
func (s *State) AllReceivers() iter.Seq[*Receiver] {
	return func(yield func(*Receiver) bool) { s.receivers.Scan(yield) }
}

// DropReceivers forgets an application's receivers.
func (s *State) DropReceivers(app id.App) {
	var drop []*Receiver
	for r := range s.Receivers(app) {
		drop = append(drop, r)
	}
	for _, r := range drop {
		s.receivers.Delete(r)
	}
}

const minStream = id.Stream(-1 << 31)
