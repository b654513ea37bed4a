package driver

import "github.com/raftstream/raftstream/executor/job"

// reserve is the room in a connection's queue that is left for what must not wait.
const reserve = orderQueue / 4

// Busy reports whether a connection's queue has room left for what must not wait only: come again.
func Busy(c Connection) bool { return c.Room() <= reserve }

// Sent remembers which orders were sent on which connection, so that each is sent once on each: K names what the
// order is about, V what it said. It is all the memory that a duty has, and losing it costs a repetition. One goroutine
// uses it.
type Sent[K, V comparable] struct {
	on map[uint64]map[K]V
}

// NewSent makes an empty one.
func NewSent[K, V comparable]() *Sent[K, V] { return &Sent[K, V]{on: make(map[uint64]map[K]V)} }

// Send sends the order that makes, unless the connection has been sent v about k already. False: the connection's
// queue has no room for it at present, or the connection is gone; come again.
func (s *Sent[K, V]) Send(c Connection, k K, v V, makes func() job.ToExecutor) bool {
	told := s.on[c.Number()]
	if last, ok := told[k]; ok && last == v {
		return true
	}
	if Busy(c) || !c.Send(makes()) {
		return false
	}
	if told == nil {
		told = make(map[K]V)
		s.on[c.Number()] = told
	}
	told[k] = v
	return true
}

// Keep forgets the connections that are not among those, and of the others what is about anything not kept.
func (s *Sent[K, V]) Keep(conns []Connection, kept func(K) bool) {
	alive := make(map[uint64]bool, len(conns))
	for _, c := range conns {
		alive[c.Number()] = true
	}
	for number, told := range s.on {
		if !alive[number] {
			delete(s.on, number)
			continue
		}
		for k := range told {
			if !kept(k) {
				delete(told, k)
			}
		}
	}
}
