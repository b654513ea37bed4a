package drivertest_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	blockRecords = 10
	blockEvery   = 50 * time.Millisecond
	batchTakes   = 20 * time.Millisecond
	dialPause    = 50 * time.Millisecond
)

// worker is an executor of few words: it runs the receivers that it is told to, which make a block every 50 ms, plans
// five records of direct stream 1 for every batch, completes the batches that it is given, checkpoints keyed state, of
// stream 5, after each, and copies what it is told to. It follows the leader and repeats what was not answered.
type worker struct {
	dial  func(context.Context, job.Hello) (job.Link, error)
	hello job.Hello
	done  sync.WaitGroup

	mu        sync.Mutex
	receivers map[id.App]*instance
	acked     map[id.App]int64 // records of blocks that the ledger has acknowledged

	work    sync.Mutex                        // of what follows; the other one is held while blocks are reported
	batches map[id.App]map[id.Time]*job.Batch // to be run, the oldest of an application first
	trouble trouble
	takes   time.Duration // that a batch takes, batchTakes if 0
	peers   []job.Peer
}

// trouble is what goes wrong on a worker.
type trouble struct {
	fails   bool // user code fails: batches, and receivers for good
	misses  bool // input is missing: batches wait, unless its loss is accepted
	refuses bool // receivers are not started
}

func (w *worker) suffer(t trouble) {
	w.work.Lock()
	defer w.work.Unlock()
	w.trouble = t
}

func (w *worker) troubles() trouble {
	w.work.Lock()
	defer w.work.Unlock()
	return w.trouble
}

// hurry sets what a batch takes.
func (w *worker) hurry(takes time.Duration) {
	w.work.Lock()
	defer w.work.Unlock()
	w.takes = takes
}

func (w *worker) pace() time.Duration {
	w.work.Lock()
	defer w.work.Unlock()
	return cmp.Or(w.takes, batchTakes)
}

// instance is a running receiver instance.
type instance struct {
	app     id.App
	id      id.Instance
	factor  int
	began   bool
	stopped bool
	last    uint64 // highest number acknowledged
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		link, err := w.dial(ctx, w.hello)
		if err == nil {
			w.serve(ctx, link)
		}
		pause(ctx, dialPause)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (w *worker) serve(ctx context.Context, link job.Link) {
	if s := link.Welcome().Session; s != w.hello.Session {
		w.mu.Lock()
		w.receivers = make(map[id.App]*instance) // rule 3: the old session's work ends first
		w.mu.Unlock()
		w.hello.Session = s
	}
	w.work.Lock()
	w.batches = make(map[id.App]map[id.Time]*job.Batch) // they come again on every link
	w.work.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	orders := make(chan job.ToExecutor, 1024)
	parts.Go(func() {
		defer cancel()
		for {
			m, err := link.Recv()
			if err != nil {
				return
			}
			orders <- m
		}
	})
	parts.Go(func() { w.produce(ctx, link, cancel) })
	parts.Go(func() { w.compute(ctx, link, cancel) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case m := <-orders:
			if err := w.obey(ctx, link, m); err != nil {
				cancel()
			}
		}
	}
	_ = link.Close() // wakes Recv
	parts.Wait()
}

func (w *worker) obey(ctx context.Context, link job.Link, m job.ToExecutor) error {
	switch m := m.(type) {
	case *job.StartReceiver:
		if t := w.troubles(); t.fails || t.refuses {
			_, err := link.Request(ctx, job.ControlLane, &job.ReceiverStopped{App: m.App.ID, Stream: m.Stream, Instance: m.Instance, Error: "boom"})
			return err
		}
		if _, err := link.Request(ctx, job.ControlLane, &job.ReceiverStarted{App: m.App.ID, Stream: m.Stream, Instance: m.Instance}); err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if r := w.receivers[m.App.ID]; r == nil || r.id != m.Instance {
			w.receivers[m.App.ID] = &instance{app: m.App.ID, id: m.Instance, factor: m.App.Factor, began: true}
		}
	case *job.StopReceiver:
		w.mu.Lock() // not while a block is reported: what was received is reported first
		if r := w.receivers[m.App]; r != nil && r.id == m.Instance {
			r.stopped = true
		}
		w.mu.Unlock()
		_, err := link.Request(ctx, job.ControlLane, &job.ReceiverStopped{App: m.App, Stream: m.Stream, Instance: m.Instance, Message: "told to"})
		return err
	case *job.Peers:
		w.work.Lock()
		defer w.work.Unlock()
		w.peers = m.Peers
	case *job.PlanSources:
		return w.plan(ctx, link, m)
	case *job.CopyBlocks:
		if w.troubles().misses {
			return nil
		}
		made := &job.BlocksCopied{}
		for _, b := range m.Blocks {
			made.Blocks = append(made.Blocks, b.ID)
		}
		_, err := link.Request(ctx, job.ControlLane, made)
		return err
	case *job.Batch:
		w.work.Lock()
		defer w.work.Unlock()
		all := w.batches[m.App.ID]
		if all == nil {
			all = make(map[id.Time]*job.Batch)
			w.batches[m.App.ID] = all
		}
		if old := all[m.Time]; old == nil || old.Authority.Attempt < m.Authority.Attempt {
			all[m.Time] = m
		}
	}
	return nil
}

// plan plans the next five records of a direct stream, from one partition; or nothing at all while input is missing.
func (w *worker) plan(ctx context.Context, link job.Link, m *job.PlanSources) error {
	t := w.troubles()
	if t.misses {
		return nil
	}
	at, err := link.Request(ctx, job.ControlLane, &job.PositionsRequest{App: m.App.ID, Stream: 1})
	if err != nil || at.Outcome != job.Done {
		return err
	}
	r := connector.Range{Partition: "p", First: 1, Last: 5}
	if len(at.Positions) > 0 {
		r.First, r.Last = at.Positions[0].Last+1, at.Positions[0].Last+5
	}
	if t.refuses {
		r.First++ // a plan that the ledger refuses
	}
	_, err = link.Request(ctx, job.ControlLane, &job.SourcesPlanned{
		App: m.App.ID, Time: m.Time, Office: m.Office, Planned: m.Planned, Plans: []job.StreamPlan{{Stream: 1, Plan: connector.Plan{
			Parts: []connector.Part{{Records: int64(r.Last - r.First + 1), Bytes: 50, Ranges: []connector.Range{r}}},
		}}},
	})
	return err
}

// checkpoint checkpoints the keyed state that a completed batch left.
func (w *worker) checkpoint(ctx context.Context, link job.Link, m *job.Batch) error {
	if len(m.States) == 0 {
		return nil
	}
	number := uint64(m.Time-m.App.Spec.ZeroTime) << job.PieceBits
	_, err := link.Request(ctx, job.ControlLane, &job.CheckpointReport{
		App: m.App.ID, Authority: m.Authority, Version: job.Version{Time: m.Time, Attempt: m.Authority.Attempt}, Full: true,
		Pieces: []job.Piece{{Stream: 5, Block: job.Block{
			ID:      id.Block{App: m.App.ID, Stream: 5, Instance: id.Instance(m.Authority.Office), Number: number},
			Records: 1, Bytes: 10, Stores: w.stores(m.App.Factor),
		}}},
	})
	return err
}

// stores gives this store and as many others as copies are asked for, as far as there are.
func (w *worker) stores(factor int) []id.Store {
	w.work.Lock()
	defer w.work.Unlock()
	stores := []id.Store{w.hello.Store}
	for _, p := range w.peers {
		if len(stores) < factor && p.Store != w.hello.Store {
			stores = append(stores, p.Store)
		}
	}
	return stores
}

// compute runs the oldest batch of each application, one after the other.
func (w *worker) compute(ctx context.Context, link job.Link, lost func()) {
	for pause(ctx, w.pace()); ctx.Err() == nil; pause(ctx, w.pace()) {
		for _, m := range w.oldest() {
			t := w.troubles()
			if t.misses && !m.AcceptLoss {
				continue
			}
			report := &job.BatchReport{App: m.App.ID, Time: m.Time, Authority: m.Authority, Tries: 1, StartedMS: time.Now().UnixMilli()}
			if t.fails {
				report.Error = "boom"
			}
			if t.misses {
				for _, in := range m.Inputs {
					for _, b := range in.Blocks {
						if in.Time == m.Time {
							report.Lost += b.Records
							report.LostBlocks = append(report.LostBlocks, b.ID)
						}
					}
				}
			}
			reply, err := link.Request(ctx, job.ControlLane, report)
			if err == nil && reply.Outcome == job.Done && !t.fails {
				err = w.checkpoint(ctx, link, m)
			}
			if err != nil {
				lost()
				return
			}
			w.work.Lock()
			if w.batches[m.App.ID][m.Time] == m {
				delete(w.batches[m.App.ID], m.Time)
			}
			w.work.Unlock()
		}
	}
}

func (w *worker) oldest() (all []*job.Batch) {
	w.work.Lock()
	defer w.work.Unlock()
	for _, batches := range w.batches {
		if len(batches) > 0 {
			all = append(all, batches[slices.Min(slices.Collect(maps.Keys(batches)))])
		}
	}
	return all
}

// produce reports a block of every running instance every 50 ms, the same one until it is answered.
func (w *worker) produce(ctx context.Context, link job.Link, lost func()) {
	for ctx.Err() == nil {
		w.mu.Lock()
		for _, r := range w.receivers {
			if !r.began || r.stopped || ctx.Err() != nil {
				continue
			}
			reply, err := link.Request(ctx, job.BlockLane, &job.BlocksReport{Blocks: []job.BlockReport{{
				ID:      id.Block{App: r.app, Instance: r.id, Number: r.last + 1},
				Records: blockRecords, Bytes: 100, Stores: w.stores(r.factor),
			}}})
			switch {
			case err != nil:
				lost()
			case reply.Blocks[0].Outcome == job.Done:
				r.last++
				w.acked[r.app] += blockRecords
			case reply.Blocks[0].Outcome == job.Refused:
				r.stopped = true
			}
		}
		w.mu.Unlock()
		pause(ctx, blockEvery)
	}
}
