package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

const (
	rangeMax  = 20_000  // records of one operation: what was due and could not be sent beyond that is left out
	repeatMax = 100_000 // records that a producer which comes again sends anew from the first one
	sendMax   = 500     // lines given to an ingester at once
)

// producer sends the records of one name, in order. It keeps the highest position that it knows to be acknowledged and
// the highest that it has tried to send, whatever happens to its client.
type producer struct {
	env   *Env
	app   *application
	actor *actor
	name  string
	line  func(producer string, position uint64) string

	most float64 // records of one operation

	acked, tried uint64

	client *client.Client
	cancel context.CancelFunc // of the ingester's context
	in     *client.Ingester   // nil: not open
	next   uint64             // position of the next line given to in
	repeat bool               // open so that all lines are given again, not just those that are missing
}

func newProducer(e *Env, workload string, app *application, name string, line func(string, uint64) string) *producer {
	return &producer{env: e, app: app, actor: newActor(e, workload, ""), name: name, line: line, most: rangeMax}
}

var errLost = errors.New(history.ClientLost)

var errPosition = errors.New("the cluster has less of the producer's records than it acknowledged, or more than were sent")

// send is one operation: everything from the first record that is not known to be acknowledged up to position to.
func (p *producer) send(ctx context.Context, to uint64) error {
	if err := p.open(ctx); err != nil {
		return err
	}
	asked := history.Range{App: p.app.Name, ID: p.app.ID, Producer: p.name, First: p.acked + 1, Last: to, Whole: p.acked+1 == to}
	p.tried = max(p.tried, to)
	err := p.actor.send(history.Add, asked, func() (r reply, err error) {
		if err := p.give(ctx, to); err != nil {
			if errors.Is(context.Cause(ctx), errLost) {
				err = errLost
			}
			return r, err
		}
		if p.in.Acked() == to { // else the index is that of a later record
			r.index = p.in.Index()
		}
		return r, nil
	})
	if err != nil {
		p.lose()
		return err
	}
	p.acked = to
	return nil
}

// give sends lines and waits until they are acknowledged.
func (p *producer) give(ctx context.Context, to uint64) error {
	lines := make([]string, 0, sendMax)
	for p.next <= to {
		lines = lines[:0]
		for ; p.next <= to && len(lines) < sendMax; p.next++ {
			lines = append(lines, p.line(p.name, p.next))
		}
		if err := p.in.Send(ctx, lines...); err != nil {
			return err
		}
	}
	return p.in.Flush(ctx)
}

// open opens the ingester, if it is not open, and hears what the cluster has.
func (p *producer) open(ctx context.Context) error {
	if p.in != nil {
		return nil
	}
	asked := history.Opening{Producer: p.name, Acked: p.acked, Tried: p.tried}
	err := p.actor.read(history.Open, asked, func() (reply, error) {
		if err := p.dial(ctx); err != nil {
			return reply{}, err
		}
		asked.Position = p.in.Acked()
		return reply{value: asked}, nil
	})
	if err == nil && (asked.Position < p.acked || asked.Position > p.tried) {
		err = errPosition // it would go on at the wrong record, and hide the loss
	}
	if err != nil {
		p.lose()
	}
	return err
}

// dial makes a client and an ingester, which outlives ctx: lose ends it.
func (p *producer) dial(ctx context.Context) (err error) {
	if p.client, err = p.env.Client(); err != nil {
		return err
	}
	var life context.Context
	life, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, p.cancel)
	resume := !p.repeat || p.tried > repeatMax
	p.in, err = p.client.Ingest(life, p.app.Name, client.IngestOptions{Producer: p.name, Continue: resume})
	if !stop() && err == nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	p.next = 1
	if resume {
		p.next = p.in.Acked() + 1
	}
	return nil
}

// lose ends the client as the end of its process does: what is not acknowledged may have arrived or not.
func (p *producer) lose() {
	if p.cancel != nil {
		p.cancel()
	}
	if p.client != nil {
		_ = p.client.Close() // what it says of connections is no matter
	}
	p.client, p.in, p.cancel = nil, nil, nil
}

// finish brings what is open to an end: everything that was tried is sent again and acknowledged.
func (p *producer) finish(ctx context.Context) error {
	defer p.lose()
	if p.acked == p.tried {
		return nil
	}
	if err := p.send(ctx, p.tried); err != nil {
		return fmt.Errorf("producer %s: records %d to %d: %w", p.name, p.acked+1, p.tried, err)
	}
	return nil
}

// run sends at a rate until ctx ends. Before each operation it asks life for a time after which the client is to be lost
// in the middle of it, 0 for never.
func (p *producer) run(ctx context.Context, rate float64, life func() time.Duration) {
	begun, sent := time.Now(), 0.0
	every(ctx, 10*time.Millisecond, func() {
		due := rate*time.Since(begun).Seconds() - sent
		if due > p.most { // something has kept it from sending
			sent += due - p.most
			due = p.most
		}
		n := uint64(due)
		if n == 0 {
			return
		}
		op, cancel := operation(ctx)
		defer cancel()
		if after := life(); after > 0 {
			op, cancel = context.WithTimeoutCause(op, after, errLost)
			defer cancel()
		}
		from := p.tried
		_ = p.send(op, max(p.acked+n, p.tried)) // how it ended is in the history
		sent += float64(p.tried - from)
	})
}
