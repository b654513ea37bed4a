package workload

import (
	"context"
	"errors"
	"time"

	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// opTime bounds an operation. It goes on for so long when Run's context ends in the middle of it: an operation that is
// cut short has an unknown outcome, which proves nothing.
const opTime = 20 * time.Second

// actor is a process of the history: it does one operation at a time.
type actor struct {
	log      *history.Log
	workload string
	node     string // the one that it asks, "" for whoever answers
	process  int
}

func newActor(e *Env, workload, node string) *actor {
	return &actor{log: e.History, workload: workload, node: node, process: e.History.Process()}
}

// reply is what an operation gave: a value, and the index at which it took effect or was read, 0 where that is not known.
type reply struct {
	value any
	index uint64
	term  uint64
}

// change does an operation that may take effect though it gave no answer. A refusal is a fail with the value that call
// gave; an operation without an answer is info, after which the actor goes on as a new process.
func (a *actor) change(f string, asked any, call func() (reply, error)) error {
	return a.do(f, asked, history.Fail, history.Info, call)
}

// send does an operation of several parts: some may have taken effect before the cluster refused.
func (a *actor) send(f string, asked any, call func() (reply, error)) error {
	return a.do(f, asked, history.Info, history.Info, call)
}

// read does an operation that changes nothing: without an answer it is a fail.
func (a *actor) read(f string, asked any, call func() (reply, error)) error {
	return a.do(f, asked, history.Fail, history.Fail, call)
}

func (a *actor) do(f string, asked any, refused, unanswered history.Type, call func() (reply, error)) error {
	event := history.Event{Process: a.process, Type: history.Invoke, Workload: a.workload, F: f, Node: a.node}
	a.log.Append(event, asked)
	r, err := call()
	if r.value == nil {
		r.value = asked
	}
	event.RaftIndex, event.Term, event.Type = r.index, r.term, history.OK
	if err != nil {
		event.Error, event.Type = err.Error(), refused
		if refusal(err) == "" {
			event.Type = unanswered
		}
	}
	a.log.Append(event, r.value)
	if event.Type == history.Info {
		a.process = a.log.Process()
	}
	return err
}

// refusal is why the cluster refused, in the words of package history; "" for an error that is no refusal.
func refusal(err error) string {
	switch {
	case errors.Is(err, client.ErrTaken):
		return history.Taken
	case errors.Is(err, client.ErrNotFound):
		return history.NotFound
	case errors.Is(err, client.ErrRefused):
		return history.Refused
	}
	return ""
}

// operation gives the context of one operation of Run.
func operation(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), opTime)
}

// every calls f at once and then as often as the interval says, or as it can, until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// until polls a condition until it holds, its error says that it never will, or ctx ends.
func until(ctx context.Context, ok func() (bool, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
