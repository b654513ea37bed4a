package control

import (
	"context"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
)

// maxQueued bounds the requests that wait in one lane; who asks for more waits for room.
const maxQueued = 1024

// queue is one lane's requests in the order in which they were made. They stay in it until they are answered: a
// request without an answer is sent again, and nothing overtakes it.
type queue struct {
	room chan struct{} // one token per entry
	wake chan struct{} // signals the sender that entries came

	mu      sync.Mutex
	entries []*entry
	closed  error // why nothing is taken, nil while it is
}

// entry is one request. Exactly one of request and block is set.
type entry struct {
	request job.ToDriver
	block   *job.BlockReport
	done    chan answer // takes one
	gone    bool        // under the queue's lock: nobody waits for the answer
}

type answer struct {
	reply job.Reply
	block job.BlockReply
	err   error
}

func newQueue() *queue {
	return &queue{room: make(chan struct{}, maxQueued), wake: make(chan struct{}, 1)}
}

// ask queues an entry and waits for its answer. When ctx ends before, the request is not repeated any more; whether it
// took effect is unknown.
func (q *queue) ask(ctx context.Context, e *entry) (answer, error) {
	select {
	case q.room <- struct{}{}:
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
	e.done = make(chan answer, 1)
	q.mu.Lock()
	if q.closed != nil {
		defer q.mu.Unlock()
		<-q.room
		return answer{}, q.closed
	}
	q.entries = append(q.entries, e)
	q.mu.Unlock()
	q.signal()
	select {
	case a := <-e.done:
		return a, a.err
	case <-ctx.Done():
		q.mu.Lock()
		e.gone = true
		q.prune()
		q.mu.Unlock()
		return answer{}, context.Cause(ctx)
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// head gives up to n of the oldest entries that somebody waits for, without taking them out. It waits for the first.
func (q *queue) head(ctx context.Context, n int) ([]*entry, error) {
	for {
		q.mu.Lock()
		q.prune()
		head := append([]*entry(nil), q.entries[:min(n, len(q.entries))]...)
		q.mu.Unlock()
		if len(head) > 0 {
			return head, nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// prune takes out what nobody waits for.
func (q *queue) prune() {
	kept := q.entries[:0]
	for _, e := range q.entries {
		if e.gone {
			<-q.room
			continue
		}
		kept = append(kept, e)
	}
	clear(q.entries[len(kept):])
	q.entries = kept
}

// answered takes the entries out that head gave, and hands over their answers.
func (q *queue) answered(head []*entry, answers []answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, e := range head {
		e.done <- answers[i]
		e.gone = true
	}
	q.prune()
}

// shut fails every entry with the reason and takes no more until open.
func (q *queue) shut(why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = why
	for _, e := range q.entries {
		e.done <- answer{err: why}
		e.gone = true
	}
	q.prune()
}

func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = nil
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}
