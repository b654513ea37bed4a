package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// lifecycle submits, stops and looks at applications, several clients at once: few names, which are used again and again,
// and request ids, of which some are repeated.
type lifecycle struct {
	mu       sync.Mutex
	requests map[string][]string // that were made, by the name of the application
	known    map[string][]uint64 // ids that replies had, by name, the newest last
}

const (
	lifecycleNames   = 5
	lifecycleClients = 5
	lifecyclePace    = 100 * time.Millisecond // of each client
	lifecyclePrefix  = "life-"
	knownMax         = 20 // ids and requests of a name that are used again
)

// newLifecycle makes the workload of the life of applications.
func newLifecycle() Workload {
	return &lifecycle{requests: map[string][]string{}, known: map[string][]uint64{}}
}

func (*lifecycle) Name() string { return "apps" }

func (*lifecycle) Start(context.Context, *Env) error { return nil }

func (w *lifecycle) Run(ctx context.Context, e *Env) error {
	errs := make([]error, lifecycleClients)
	var work sync.WaitGroup
	for i := range errs {
		work.Go(func() { errs[i] = w.live(ctx, e, i) })
	}
	work.Wait()
	return errors.Join(errs...)
}

// live is what one client does until ctx ends.
func (w *lifecycle) live(ctx context.Context, e *Env, i int) error {
	c, err := e.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	steps := &lifecycleSteps{lifecycle: w, client: c, actor: newActor(e, w.Name(), ""), random: rand.New(rand.NewPCG(e.Seed, 1000+uint64(i)))}
	every(ctx, lifecyclePace, func() {
		op, cancel := operation(ctx)
		defer cancel()
		steps.one(op)
	})
	return nil
}

// lifecycleSteps are the operations of one client.
type lifecycleSteps struct {
	*lifecycle
	client *client.Client
	actor  *actor
	random *rand.Rand
}

func (s *lifecycleSteps) one(ctx context.Context) {
	name := fmt.Sprintf("%s%d", lifecyclePrefix, s.random.IntN(lifecycleNames))
	switch n := s.random.IntN(10); {
	case n < 3:
		s.submit(ctx, name)
	case n < 5:
		s.stop(ctx, name, s.random.IntN(2) == 0)
	case n < 8:
		s.get(ctx, name, s.random.IntN(2) == 0)
	default:
		s.list(ctx)
	}
}

// submit submits under a new request id, or now and then under one that was used for the name before.
func (s *lifecycleSteps) submit(ctx context.Context, name string) {
	asked := history.Submission{Name: name, Request: fmt.Sprintf("%s-%x", name, s.random.Uint64())}
	s.mu.Lock()
	if used := s.requests[name]; len(used) > 0 && s.random.IntN(4) == 0 {
		asked.Request = used[s.random.IntN(len(used))]
	}
	s.requests[name] = recent(append(s.requests[name], asked.Request))
	s.mu.Unlock()
	_ = s.actor.change(history.Submit, asked, func() (reply, error) {
		r, err := s.client.Submit(ctx, &raftstreamv1.SubmitRequest{
			RequestId: asked.Request, Program: "grep", Name: name, BatchMs: 1000, Partitions: 2,
			Params: map[string]string{"source": "ingest", "pattern": "."},
		})
		asked.ID, asked.Refused = r.GetId(), refusal(err)
		return reply{value: asked, index: r.GetRaftIndex()}, err
	})
	s.learn(name, asked.ID)
}

// learn notes an application that a reply has named.
func (s *lifecycleSteps) learn(name string, id uint64) {
	if id == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[name] = recent(append(s.known[name], id))
}

func recent[T any](all []T) []T { return all[max(0, len(all)-knownMax):] }

// id gives one of the name's applications, mostly the newest; 0 where none is known.
func (s *lifecycleSteps) id(name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known[name]
	switch {
	case len(known) == 0:
		return 0
	case s.random.IntN(4) == 0:
		return known[s.random.IntN(len(known))]
	}
	return known[len(known)-1]
}

func (s *lifecycleSteps) stop(ctx context.Context, name string, now bool) {
	id := s.id(name)
	if id == 0 {
		return
	}
	asked := history.StopValue{Name: name, ID: id, Now: now}
	_ = s.actor.change(history.Stop, asked, func() (reply, error) {
		r, err := s.client.Stop(ctx, &raftstreamv1.StopRequest{Id: id, Now: now})
		asked.Refused = refusal(err)
		return reply{value: asked, index: r.GetRaftIndex()}, err
	})
}

func (s *lifecycleSteps) get(ctx context.Context, name string, byID bool) {
	asked := history.Lookup{Name: name}
	if byID {
		asked.ID = s.id(name)
	}
	_ = s.actor.read(history.Get, asked, func() (reply, error) {
		request := &raftstreamv1.GetAppRequest{Name: name, Id: asked.ID}
		r, err := s.client.GetApp(ctx, request)
		if asked.Refused = refusal(err); err == nil {
			a := r.GetApp()
			asked.App = &history.App{Name: a.GetName(), ID: a.GetId(), State: stateOf(a)}
		}
		return reply{value: asked, index: r.GetRaftIndex()}, err
	})
	if asked.App != nil && !byID {
		s.learn(name, asked.App.ID)
	}
}

func (s *lifecycleSteps) list(ctx context.Context) (live []uint64, err error) {
	asked := history.Listing{Prefix: lifecyclePrefix, Apps: []history.App{}}
	err = s.actor.read(history.List, asked, func() (reply, error) {
		r, err := s.client.ListApps(ctx, &raftstreamv1.ListAppsRequest{})
		for _, a := range r.GetApps() {
			if !strings.HasPrefix(a.GetName(), lifecyclePrefix) {
				continue
			}
			asked.Apps = append(asked.Apps, history.App{Name: a.GetName(), ID: a.GetId(), State: stateOf(a)})
			if stateOf(a) != history.Stopped {
				live = append(live, a.GetId())
			}
		}
		return reply{value: asked, index: r.GetRaftIndex()}, err
	})
	return live, err
}

// Finish stops all applications and waits until none is left.
func (w *lifecycle) Finish(ctx context.Context, e *Env) error {
	c, err := e.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	steps := &lifecycleSteps{lifecycle: w, client: c, actor: newActor(e, w.Name(), ""), random: rand.New(rand.NewPCG(e.Seed, 999))}
	err = until(ctx, func() (bool, error) {
		live, err := steps.list(ctx)
		for _, id := range live {
			r, err := c.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: id})
			if err != nil {
				return false, err
			}
			w.mu.Lock()
			w.known[r.GetApp().GetName()] = []uint64{id}
			w.mu.Unlock()
			if s := stateOf(r.GetApp()); s == history.Running || s == history.Failed {
				steps.stop(ctx, r.GetApp().GetName(), true)
			}
		}
		return len(live) == 0, err
	})
	if err != nil {
		return fmt.Errorf("not all applications have stopped: %w", err)
	}
	for i := range lifecycleNames {
		steps.get(ctx, fmt.Sprintf("%s%d", lifecyclePrefix, i), false)
	}
	return nil
}
