package tracker

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
)

func open(s *State, n id.Session, store id.Store, gen uint64) error {
	v := &Session{ID: n, Store: store, Generation: gen}
	err := s.CheckSession(v)
	if err == nil {
		s.OpenSession(v)
	}
	return err
}

// Rule 3: no earlier start of a store comes back, and no session is granted twice.
func TestSessionsOfAStoreRise(t *testing.T) {
	s := NewState()
	if err := open(s, 2, "A", 5); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.SessionOf("A"); !ok || got.ID != 2 || s.Open() != 1 {
		t.Fatalf("session of A is %+v of %d", got, s.Open())
	}
	if !s.CloseSession(2, 0) || s.CloseSession(2, 0) {
		t.Fatal("closing does not tell whether the session was open")
	}
	if _, ok := s.SessionOf("A"); ok || s.Open() != 0 {
		t.Fatal("the closed session is still there")
	}
	if err := open(s, 3, "A", 4); err == nil || err.Error() != "generation 4 of store A, expected at least 5: a later start of it was seen" {
		t.Fatalf("older generation: %v", err)
	}
	if err := open(s, 2, "B", 1); !errors.Is(err, ErrLimit) {
		t.Fatalf("session 2 again: %v", err)
	}
	if err := open(s, 4, "A", 5); err != nil {
		t.Fatalf("same generation after its session was closed: %v", err)
	}
}

// Rule 10: stores are bounded; the one that was used longest ago makes room.
func TestStoresAreBounded(t *testing.T) {
	s := NewState()
	name := func(i int) id.Store { return id.Store(fmt.Sprintf("s%05d", i)) }
	for i := range MaxStores {
		if err := open(s, id.Session(i+1), name(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(s, MaxStores+1, "new", 1); !errors.Is(err, ErrLimit) {
		t.Fatalf("%v, expected a refusal by the limit", err)
	}
	s.CloseSession(8, 0)
	s.CloseSession(4, 0)
	if err := open(s, MaxStores+1, "new", 1); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Store(name(3)); ok {
		t.Fatal("the store that was used longest ago is remembered")
	}
	if _, ok := s.Store(name(7)); !ok {
		t.Fatal("a store that was used later is forgotten")
	}
}

func TestCopyDoesNotSeeLaterChanges(t *testing.T) {
	s := NewState()
	s.PutReceiver(&Receiver{App: 1, Stream: 2, State: Inactive})
	c := s.Copy()
	r, _ := s.Receiver(1, 2)
	if err := s.Schedule(r, 7, 0, 9, 1); err != nil {
		t.Fatal(err)
	}
	r, _ = s.Receiver(1, 2)
	s.Activate(r, 2)
	s.PutReceiver(&Receiver{App: 1, Stream: 3})
	s.PutReceiver(&Receiver{App: 2, Stream: 0})
	if r, _ := c.Receiver(1, 2); r.State != Inactive || len(slices.Collect(c.AllReceivers())) != 1 {
		t.Fatalf("the copy has %+v", *r)
	}
	if n := len(slices.Collect(s.Receivers(1))); n != 2 {
		t.Fatalf("%d receivers of application 1, expected 2", n)
	}
	s.DropReceivers(1)
	if n := len(slices.Collect(s.AllReceivers())); n != 1 {
		t.Fatalf("%d receivers after dropping application 1, expected 1", n)
	}
}
