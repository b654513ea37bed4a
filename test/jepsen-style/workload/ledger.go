package workload

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// ledger sends single records, each of which is committed at one index, while others read what the ledger says of the
// application: at whoever leads, so that reads are linearizable, and of the copy of every single node.
type ledger struct {
	app       *application
	producers []*producer
}

const (
	ledgerProducers = 6
	ledgerReaders   = 2
	// ledgerPace is how often each reader reads, and each producer sends. Histories that porcupine checks stay small.
	ledgerPace  = 50 * time.Millisecond
	ledgerBatch = 200 // ms

	batchesOp   = "batches"
	receiversOp = "receivers"
	shownBatch  = 20
)

// batchList is the value of operation batches: the newest ones.
type batchList struct {
	Stale   bool       `json:"stale,omitempty"`
	Batches []batchRow `json:"batches"`
}

// batchRow is a batch. Its number of records never changes.
type batchRow struct {
	Time     int64 `json:"t"`
	Records  int64 `json:"n"`
	Complete bool  `json:"done,omitempty"`
}

// receiverList is the value of operation receivers.
type receiverList struct {
	Stale     bool          `json:"stale,omitempty"`
	Receivers []receiverRow `json:"receivers"`
}

// receiverRow is an input stream. Instances are named by indexes: a later one is higher.
type receiverRow struct {
	Stream   int32  `json:"stream"`
	Instance uint64 `json:"instance"`
	State    string `json:"state"`
	Node     string `json:"node,omitempty"`
}

func (*ledger) Name() string { return "ledger" }

func (w *ledger) Start(ctx context.Context, e *Env) (err error) {
	w.app, err = begin(ctx, e, &raftstreamv1.SubmitRequest{
		Program: "grep", Name: w.Name(), BatchMs: ledgerBatch, BlockMs: 20,
		Params: map[string]string{"source": "ingest", "pattern": ".", "out": filepath.Join(e.Dir, outputsPrefix)},
	})
	for k := range ledgerProducers {
		p := newProducer(e, w.Name(), w.app, fmt.Sprintf("p%d", k), identity)
		p.most = 1
		w.producers = append(w.producers, p)
	}
	return err
}

func (w *ledger) Run(ctx context.Context, e *Env) error {
	var work sync.WaitGroup
	never := func() time.Duration { return 0 }
	for _, p := range w.producers {
		work.Go(func() { p.run(ctx, float64(time.Second/ledgerPace), never) })
	}
	errs := make([]error, ledgerReaders+len(e.Nodes))
	for i := range errs {
		work.Go(func() {
			node := ""
			if i >= ledgerReaders {
				node = e.Nodes[i-ledgerReaders]
			}
			errs[i] = w.reads(ctx, e, node)
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// reads asks for all that the ledger shows, one after the other, until ctx ends.
func (w *ledger) reads(ctx context.Context, e *Env, node string) error {
	r, err := w.reader(e, node)
	if err != nil {
		return err
	}
	defer r.client.Close()
	n := 0
	every(ctx, ledgerPace, func() {
		op, cancel := operation(ctx)
		if node != "" { // it may be gone, and nobody else will do
			cancel()
			op, cancel = context.WithTimeout(ctx, time.Second)
		}
		defer cancel()
		switch n++; n % 4 {
		default:
			r.counts(op)
		case 2:
			r.batches(op)
		case 3:
			r.receivers(op)
		}
	})
	return nil
}

// reader reads what the ledger shows of an application: of one node's copy, or of whoever leads.
type reader struct {
	app    *application
	actor  *actor
	client *client.Client
	stale  bool
}

func (w *ledger) reader(e *Env, node string) (r *reader, err error) {
	r = &reader{app: w.app, actor: newActor(e, w.Name(), node), stale: node != ""}
	if r.stale {
		r.client, err = e.At(node)
	} else {
		r.client, err = e.Client()
	}
	return r, err
}

// counts gives what it read: of an application that is not shown, its name alone.
func (r *reader) counts(ctx context.Context) history.Counts {
	asked := history.Counts{App: r.app.Name, ID: r.app.ID, Stale: r.stale}
	_ = r.actor.read(history.Read, asked, func() (reply, error) {
		got, err := r.client.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: r.app.ID, Stale: r.stale})
		if err != nil {
			return reply{}, err
		}
		a := got.GetApp()
		asked.Received, asked.Processed, asked.Discarded = a.GetRecordsReceived(), a.GetRecordsProcessed(), a.GetRecordsDiscarded()
		asked.Queued, asked.Pending = a.GetRecordsQueued(), a.GetPendingBatches()
		asked.Zero, asked.Allocated, asked.Completed = a.GetZeroTimeMs(), a.GetLastAllocatedMs(), a.GetLastCompletedMs()
		asked.State, asked.Resumed = stateOf(a), a.GetResumedIndex()
		return reply{value: asked, index: got.GetRaftIndex()}, nil
	})
	return asked
}

func (r *reader) batches(ctx context.Context) {
	_ = r.actor.read(batchesOp, batchList{Stale: r.stale}, func() (reply, error) {
		got, err := r.client.ListBatches(ctx, &raftstreamv1.ListBatchesRequest{Id: r.app.ID, Last: shownBatch, Stale: r.stale})
		list := batchList{Stale: r.stale}
		for _, b := range got.GetBatches() {
			done := b.GetState() == raftstreamv1.BatchState_BATCH_STATE_COMPLETED
			list.Batches = append(list.Batches, batchRow{Time: b.GetTimeMs(), Records: b.GetRecords(), Complete: done})
		}
		return reply{value: list, index: got.GetRaftIndex()}, err
	})
}

func (r *reader) receivers(ctx context.Context) {
	_ = r.actor.read(receiversOp, receiverList{Stale: r.stale}, func() (reply, error) {
		got, err := r.client.ListReceivers(ctx, &raftstreamv1.ListReceiversRequest{Id: r.app.ID, Stale: r.stale})
		list := receiverList{Stale: r.stale}
		for _, in := range got.GetReceivers() {
			list.Receivers = append(list.Receivers, receiverRow{
				Stream: in.GetStream(), Instance: in.GetInstance(), Node: in.GetNode(), State: in.GetState().String(),
			})
		}
		return reply{value: list, index: got.GetRaftIndex()}, err
	})
}

// stateOf is an application's state in the words of package history.
func stateOf(a *raftstreamv1.App) string {
	switch a.GetState() {
	case raftstreamv1.AppState_APP_STATE_RUNNING:
		return history.Running
	case raftstreamv1.AppState_APP_STATE_STOPPING:
		return history.Stopping
	case raftstreamv1.AppState_APP_STATE_FAILED:
		return history.Failed
	case raftstreamv1.AppState_APP_STATE_STOPPED:
		return history.Stopped
	}
	return a.GetState().String()
}

// Finish reads once more after everything has been processed.
func (w *ledger) Finish(ctx context.Context, e *Env) error {
	if err := errors.Join(finish(ctx, w.producers), w.app.drain(ctx, e)); err != nil {
		return err
	}
	r, err := w.reader(e, "")
	if err != nil {
		return err
	}
	defer r.client.Close()
	r.counts(ctx)
	r.batches(ctx)
	return nil
}
