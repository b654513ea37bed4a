package driver

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// proposalsAtOnce bounds the proposals that one duty has in flight.
	proposalsAtOnce = 64
	// A refused proposal is made again after a pause that doubles: the view says that it is due, so the next turn
	// would make it again at once.
	firstHold = 100 * time.Millisecond
	lastHold  = 5 * time.Second
)

// Proposals makes the proposals of a duty: many at a time, so that group commit merges them, and not at once again
// what was refused. K names what a proposal is for. One goroutine uses it.
type Proposals[K comparable] struct {
	log  *slog.Logger
	held map[K]hold
}

type hold struct {
	until time.Time
	pause time.Duration
}

// NewProposals makes an empty one. Refusals are logged to log.
func NewProposals[K comparable](log *slog.Logger) *Proposals[K] {
	return &Proposals[K]{log: log, held: make(map[K]hold)}
}

// Make proposes the commands that are not held back and waits for all results. It returns when the next one that is
// held back is free again. An error is that of one of the proposals.
func (p *Proposals[K]) Make(ctx context.Context, l Ledger, commands map[K]fsm.Command) (again time.Duration, err error) {
	again = p.release(commands)
	keys := slices.Collect(maps.Keys(commands))
	results := make([]fsm.Result, len(keys))
	errs := make([]error, len(keys))
	places := make(chan struct{}, proposalsAtOnce)
	var proposing sync.WaitGroup
	for i, k := range keys {
		places <- struct{}{}
		proposing.Go(func() {
			defer func() { <-places }()
			results[i], errs[i] = l.Propose(ctx, commands[k])
		})
	}
	proposing.Wait()
	for i, k := range keys {
		switch {
		case errors.Is(errs[i], id.ErrTooLarge): // a refusal: it would not become smaller in another leadership
			again = min(again, p.hold(k, commands[k], fsm.Result{Reason: errs[i].Error()}))
		case errs[i] != nil:
			err = errs[i]
		case results[i].Outcome == fsm.Done:
			delete(p.held, k)
		default:
			again = min(again, p.hold(k, commands[k], results[i]))
		}
	}
	return again, err
}

// release takes from commands what is held back still, and forgets holds that nothing is proposed for any more.
func (p *Proposals[K]) release(commands map[K]fsm.Command) (again time.Duration) {
	again = Idle
	for k, h := range p.held {
		if _, due := commands[k]; !due {
			delete(p.held, k)
			continue
		}
		if left := time.Until(h.until); left > 0 {
			delete(commands, k)
			again = min(again, left)
		}
	}
	return again
}

// Refused reports whether what was proposed last for k was refused: it is held back. An error is no refusal.
func (p *Proposals[K]) Refused(k K) bool {
	_, held := p.held[k]
	return held
}

func (p *Proposals[K]) hold(k K, c fsm.Command, r fsm.Result) time.Duration {
	pause := min(max(2*p.held[k].pause, firstHold), lastHold)
	p.held[k] = hold{until: time.Now().Add(pause), pause: pause}
	p.log.Info("proposal refused", "kind", c.Kind(), "of", k, "reason", r.Reason, "again_ms", pause.Milliseconds())
	return pause
}
