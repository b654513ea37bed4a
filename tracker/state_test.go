package tracker

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
)

// Rule 3: a store has one open session, and no earlier start of it comes back.
func TestStoreHasOneOpenSession(t *testing.T) {
	s := NewState()
	open := func(n id.Session, gen uint64) error {
		return s.OpenSession(&Session{ID: n, Store: "A", Generation: gen})
	}
	if err := open(1, 5); err != nil {
		t.Fatal(err)
	}
	if err := open(2, 6); err == nil || err.Error() != "session 1 of store A is still open" {
		t.Fatalf("second session: %v", err)
	}
	if !s.CloseSession(1, 0) || s.CloseSession(1, 0) {
		t.Fatal("closing does not tell whether the session was open")
	}
	if _, ok := s.SessionOf("A"); ok || s.Open() != 0 {
		t.Fatal("the closed session is still there")
	}
	if err := open(3, 4); err == nil || err.Error() != "generation 4 of store A, expected at least 5: a later start of it was seen" {
		t.Fatalf("older generation: %v", err)
	}
	if err := open(4, 5); err != nil {
		t.Fatalf("same generation after its session was closed: %v", err)
	}
}

// Rule 10: stores are bounded; the one that was used longest ago makes room.
func TestStoresAreBounded(t *testing.T) {
	s := NewState()
	name := func(i int) id.Store { return id.Store(fmt.Sprintf("s%05d", i)) }
	for i := range MaxStores {
		if err := s.OpenSession(&Session{ID: id.Session(i + 1), Store: name(i), Generation: 1}); err != nil {
			t.Fatal(err)
		}
	}
	next := &Session{ID: MaxStores + 1, Store: "new", Generation: 1}
	if err := s.OpenSession(next); !errors.Is(err, ErrLimit) {
		t.Fatalf("%v, expected a refusal by the limit", err)
	}
	s.CloseSession(8, 0)
	s.CloseSession(4, 0)
	if err := s.OpenSession(next); err != nil {
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
