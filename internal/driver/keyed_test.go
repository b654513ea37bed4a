package driver_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

// keyed is an application with state streams 5 (every batch) and 6 (every second one), receiver stream 0, and direct
// stream 1, that remembers two batches besides the one that runs.
type keyed struct {
	*drivertest.Rig
	executor *drivertest.Executor
	app      id.App
	instance id.Instance
	office   id.Office
	blocks   uint64
	pieces   uint64
	planned  uint64
}

func startKeyed(t *testing.T, test func(k *keyed)) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		k := &keyed{Rig: r, executor: r.Executor("a")}
		k.app = r.Submit("wc", func(c *fsm.ApplicationSubmitted) {
			c.RememberMS = 3000
			c.Inputs = append(c.Inputs, fsm.InputStream{Stream: 1, Source: "files"})
			c.States = []fsm.StateStream{{Stream: 5, SlideMS: 1000, Partitions: 2}, {Stream: 6, SlideMS: 2000, Partitions: 2}}
		})
		k.instance = id.Instance(r.Must(&fsm.ReceiverScheduled{App: k.app, Session: k.executor.Session()}))
		k.executor.Must(&job.ReceiverStarted{App: k.app, Instance: k.instance})
		k.office = id.Office(r.Must(&fsm.CoordinatorAssigned{App: k.app, Session: k.executor.Session()}))
		test(k)
	})
}

func (k *keyed) at(n int64) id.Time {
	a := k.App(k.app)
	return a.Interval(a.ZeroTime, n)
}

// allocate adds a block and allocates the n-th batch, with a part of the direct stream that has so many bytes of data.
func (k *keyed) allocate(n int64, data int) {
	k.Helper()
	k.blocks++
	k.planned++
	k.executor.Add(id.Block{App: k.app, Instance: k.instance, Number: k.blocks}, 1)
	k.Must(&fsm.BlocksAllocated{App: k.app, From: k.at(n), To: k.at(n), Direct: []fsm.StreamPlan{{
		Stream: 1, Plan: connector.Plan{Parts: []connector.Part{{
			Data: make([]byte, data), Records: 1, Bytes: 1, Ranges: []connector.Range{{Partition: "p", First: k.planned, Last: k.planned}},
		}}},
	}}})
}

func (k *keyed) complete(n int64) {
	k.Helper()
	k.executor.Must(&job.BatchReport{App: k.app, Time: k.at(n), Authority: id.Authority{
		Office: k.office, Attempt: k.View().Attempt(k.app, k.at(n)),
	}})
}

func (k *keyed) batch(n int64) {
	k.Helper()
	k.allocate(n, 10)
	k.complete(n)
}

// version names the state after the n-th batch.
func (k *keyed) version(n int64) job.Version {
	b, ok := k.View().Batch(k.app, k.at(n))
	if !ok {
		return job.Version{Time: k.at(n)}
	}
	return job.Version{Time: k.at(n), Attempt: b.Attempt}
}

// checkpoint reports a full checkpoint after the n-th batch, of so many pieces of stream 5's first partition.
func (k *keyed) checkpoint(n int64, pieces int) *job.CheckpointReport {
	c := &job.CheckpointReport{App: k.app, Authority: id.Authority{Office: k.office}, Version: k.version(n), Full: true}
	k.pieces++
	for i := range pieces {
		c.Pieces = append(c.Pieces, job.Piece{Stream: 5, Block: job.Block{
			ID:      id.Block{App: k.app, Stream: 5, Instance: id.Instance(k.office), Number: k.pieces<<job.PieceBits + uint64(i)},
			Records: 2, Bytes: 20, CRC: 3, Stores: []id.Store{k.executor.Hello.Store},
		}})
	}
	return c
}

// history asks for the whole history before the n-th batch, and counts its pages.
func (k *keyed) history(n int64) (h *job.History, pages int) {
	k.Helper()
	h, err := job.CollectHistory(k.Context(), func(_ context.Context, from id.Time) (*job.History, error) {
		pages++
		return k.executor.Must(&job.HistoryRequest{App: k.app, Before: k.at(n), From: from}).History, nil
	})
	if err != nil {
		k.Fatal(err)
	}
	return h, pages
}

// Rule 7: an order names the state to go on from where the batch that left it is completed, and the checkpoint.
func TestOrdersNameCommittedBases(t *testing.T) {
	startKeyed(t, func(k *keyed) {
		bases := func(n int64) map[id.Stream]job.Version {
			all := map[id.Stream]job.Version{}
			for _, s := range driver.OrderOf(k.View(), k.App(k.app), k.at(n), 1).States {
				all[s.Stream] = s.Version
			}
			return all
		}
		for n := int64(1); n <= 4; n++ {
			k.allocate(n, 1)
		}
		empty := job.Version{Time: k.at(0)}
		for n, want := range map[int64]map[id.Stream]job.Version{1: {5: empty, 6: empty}, 2: {6: empty}, 3: {}} {
			if d := cmp.Diff(want, bases(n)); d != "" {
				t.Errorf("batch %d, nothing is completed: %s", n, d)
			}
		}
		k.complete(1)
		k.complete(2)
		k.complete(3)
		if d := cmp.Diff(map[id.Stream]job.Version{5: k.version(3), 6: k.version(2)}, bases(4)); d != "" {
			t.Error(d)
		}
		if o := driver.OrderOf(k.View(), k.App(k.app), k.at(4), 1); o.Checkpointed != k.at(0) || o.FullBytes != 0 {
			t.Errorf("checkpoint at %d, %d bytes before there is one", o.Checkpointed, o.FullBytes)
		}
		k.executor.Must(k.checkpoint(3, 2))
		if o := driver.OrderOf(k.View(), k.App(k.app), k.at(4), 1); o.Checkpointed != k.at(3) || o.FullBytes != 40 {
			t.Errorf("checkpoint at %d, %d bytes; expected it at %d, 40 bytes", o.Checkpointed, o.FullBytes, k.at(3))
		}
	})
}

// Rule 7: a history leads from the checkpoint to the batch that asks: versions that won, and all input that they read.
func TestHistoryLeadsFromTheCheckpointToTheBatch(t *testing.T) {
	startKeyed(t, func(k *keyed) {
		times := func(h *job.History, s id.Stream) (all []id.Time) {
			for _, in := range h.Inputs {
				if in.Stream == s && in.Partitions() > 0 {
					all = append(all, in.Time)
				}
			}
			return all
		}
		k.batch(1)
		k.batch(2)
		h, _ := k.history(3)
		want := &job.History{Checkpoint: job.Checkpoint{Time: k.at(0)}, Batches: []job.Version{k.version(1), k.version(2)}}
		if d := cmp.Diff(want.Checkpoint, h.Checkpoint); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(want.Batches, h.Batches); d != "" {
			t.Error(d)
		}
		for n := int64(3); n <= 8; n++ {
			k.batch(n)
		}
		report := k.checkpoint(5, 3)
		k.executor.Must(report)
		h, _ = k.history(8)
		if d := cmp.Diff(job.Checkpoint{Time: k.at(5), Attempt: k.version(5).Attempt, Pieces: report.Pieces}, h.Checkpoint); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]job.Version{k.version(6), k.version(7)}, h.Batches); d != "" {
			t.Error(d)
		}
		for _, s := range []id.Stream{0, 1} {
			if d := cmp.Diff([]id.Time{k.at(4), k.at(5), k.at(6), k.at(7)}, times(h, s)); d != "" {
				t.Errorf("input of stream %d: %s", s, d)
			}
		}
		k.Must(&fsm.BatchesCleaned{App: k.app, UpTo: driver.CleanableUpTo(k.View(), k.App(k.app))})
		after, _ := k.history(8)
		if d := cmp.Diff(h, after); d != "" {
			t.Errorf("cleaning took away what a history has: %s", d)
		}
		next := driver.CleanableUpTo(k.View(), k.App(k.app)) + 1000
		if r, err := k.Driver.Propose(k.Context(), &fsm.BatchesCleaned{App: k.app, UpTo: next}); err != nil || r.Outcome != fsm.Refused {
			t.Errorf("cleaning up to %d: %+v, %v; expected it refused", next, r, err)
		}
	})
}

// What a message can carry is limited: a long history comes in pages.
func TestLongHistoryComesInPages(t *testing.T) {
	startKeyed(t, func(k *keyed) {
		k.batch(1)
		report := k.checkpoint(1, 45_000)
		k.executor.Must(report)
		var want []job.Version
		for n := int64(2); n <= 60; n++ {
			k.allocate(n, 200<<10)
			k.complete(n)
			want = append(want, k.version(n))
		}
		h, pages := k.history(61)
		if !slices.EqualFunc(h.Checkpoint.Pieces, report.Pieces, func(a, b job.Piece) bool { return a.Block.ID == b.Block.ID }) {
			t.Errorf("%d pieces, expected %d in the order of the chain", len(h.Checkpoint.Pieces), len(report.Pieces))
		}
		if d := cmp.Diff(want, h.Batches); d != "" {
			t.Error(d)
		}
		if len(h.Inputs) != 2*60 {
			t.Errorf("%d inputs, expected %d", len(h.Inputs), 2*60)
		}
		if pages < 2+3 || pages > 10 {
			t.Errorf("%d pages", pages)
		}
	})
}

func TestCheckpointsAndCopiesAreCommitted(t *testing.T) {
	startKeyed(t, func(k *keyed) {
		k.batch(1)
		stale := k.checkpoint(1, 1)
		stale.Authority.Office--
		if reply, err := k.executor.Request(stale); err != nil || reply.Outcome != job.Refused {
			t.Errorf("checkpoint of an older office: %+v, %v; expected it refused", reply, err)
		}
		report := k.checkpoint(1, 1)
		first := k.executor.Must(report)
		if again := k.executor.Must(report); again.Index != first.Index {
			t.Errorf("repeated at index %d, expected %d as before", again.Index, first.Index)
		}
		piece, block := report.Pieces[0].Block.ID, id.Block{App: k.app, Instance: k.instance, Number: 1}
		other := k.Executor("b")
		other.Must(&job.BlocksCopied{Blocks: []id.Block{piece, block, {App: k.app, Number: 99}}})
		p, _ := k.View().Piece(piece)
		b, _ := k.View().Block(block)
		for _, stores := range [][]id.Store{p.Stores, b.Stores} {
			if !slices.Contains(stores, other.Hello.Store) {
				t.Errorf("stores are %v, expected %s among them", stores, other.Hello.Store)
			}
		}
	})
}

// Rule 7: executors hear up to where state is checkpointed, and which pieces are needed.
func TestProgressTellsOfCheckpointsAndTheirPieces(t *testing.T) {
	startKeyed(t, func(k *keyed) {
		office := func() (found job.InstanceProgress) {
			for _, i := range driver.ProgressOf(k.View(), k.App(k.app), 1).Instances {
				if i.Stream == 5 && i.Instance == id.Instance(k.office) {
					found = i
				}
			}
			return found
		}
		needed := func(i job.InstanceProgress, n uint64) bool { return n > i.Cleaned && !(i.Closed && n > i.Last) }
		k.batch(1)
		if p := driver.ProgressOf(k.View(), k.App(k.app), 1); p.Checkpointed != k.at(0) {
			t.Errorf("checkpointed up to %d before there is one", p.Checkpointed)
		}
		first := k.checkpoint(1, 2)
		k.executor.Must(first)
		k.batch(2)
		second := k.checkpoint(2, 2)
		for _, p := range slices.Concat(first.Pieces, second.Pieces) { // those of the second are being stored
			if !needed(office(), p.Block.ID.Number) {
				t.Errorf("piece %v is not needed", p.Block.ID)
			}
		}
		k.executor.Must(second)
		if p := driver.ProgressOf(k.View(), k.App(k.app), 1); p.Checkpointed != k.at(2) {
			t.Errorf("checkpointed up to %d, expected %d", p.Checkpointed, k.at(2))
		}
		for _, p := range first.Pieces {
			if needed(office(), p.Block.ID.Number) {
				t.Errorf("piece %v of the chain before is needed", p.Block.ID)
			}
		}
		for _, p := range second.Pieces {
			if !needed(office(), p.Block.ID.Number) {
				t.Errorf("piece %v is not needed", p.Block.ID)
			}
		}
	})
}

func TestQuestionsAboutWhatIsNotThereAreRefused(t *testing.T) {
	startKeyed(t, func(k *keyed) {
		over := k.Submit("over", nil)
		k.Must(&fsm.ApplicationStopped{App: over, Now: true})
		k.Must(&fsm.ApplicationEnded{App: over})
		other := k.Executor("b")
		for name, q := range map[string]job.ToDriver{
			"history of an application that was never":      &job.HistoryRequest{App: 999_999},
			"history of one that is over":                   &job.HistoryRequest{App: over},
			"positions of one that is over":                 &job.PositionsRequest{App: over},
			"plan of an office of another executor":         &job.SourcesPlanned{App: k.app, Office: k.office},
			"plan of an office that is not the current one": &job.SourcesPlanned{App: k.app, Office: k.office + 1},
		} {
			if reply, err := other.Request(q); err != nil || reply.Outcome != job.Refused || reply.Reason == "" {
				t.Errorf("%s: %+v, %v; expected it refused", name, reply, err)
			}
		}
	})
}

// Rule 12: a plan reaches the duty that waits for it, once it comes from the coordinator.
func TestPlansWaitInTheHub(t *testing.T) {
	startKeyed(t, func(k *keyed) {
		if _, ok := k.Hub.Planned(k.app); ok {
			t.Error("there is a plan before any was made")
		}
		changed := k.Hub.Changed()
		k.executor.Must(&job.SourcesPlanned{App: k.app, Office: k.office, Time: k.at(1)})
		select {
		case <-changed:
		default:
			t.Error("nobody is told of the plan")
		}
		if p, ok := k.Hub.Planned(k.app); !ok || p.Time != k.at(1) {
			t.Errorf("plan is %+v", p)
		}
		k.allocate(1, 1)
		if got := k.executor.Must(&job.PositionsRequest{App: k.app, Stream: 1}).Positions; len(got) != 1 || got[0].Last != 1 {
			t.Errorf("positions are %v", got)
		}
		k.Raft.Lose()
		k.Until("the leadership is over", func() bool { return len(k.Hub.All()) == 0 })
		if _, ok := k.Hub.Planned(k.app); ok {
			t.Error("the plan survives the leadership")
		}
	})
}

func TestSubmissionHoldsWhatThePlanSays(t *testing.T) {
	p := &plan.Plan{
		BatchMS: 1000, RememberMS: 2000,
		Inputs: []plan.Input{{Stream: 1, Source: "ingest", Receiver: true, Pushed: true, Preferred: "n", MaxRate: 7}},
		States: []plan.State{{Stream: 2, SlideMS: 1000, Partitions: 3}},
	}
	want := &fsm.ApplicationSubmitted{
		Program: "p", Params: []byte("{}"), BatchMS: 1000, Partitions: 4, Fingerprint: p.Fingerprint(), RememberMS: 2000,
		Inputs: []fsm.InputStream{{Stream: 1, Source: "ingest", Receiver: true, Pushed: true, Preferred: "n", Rate: 7}},
		States: []fsm.StateStream{{Stream: 2, SlideMS: 1000, Partitions: 3}},
	}
	got := driver.SubmissionOf(dataset.Spec{Name: "p", Params: []byte("{}"), BatchMS: 1000, Partitions: 4}, p)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Who cleans a bucket: the coordinator, and whoever is there when there is none.
func TestProgressNamesWhoSweepsTheBucket(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Lead()
		first, second := r.Executor("a"), r.Executor("b")
		plain := r.Submit("plain", nil)
		app := r.Submit("wc", func(c *fsm.ApplicationSubmitted) {
			c.CheckpointURL = "file:///shared"
			c.States = []fsm.StateStream{{Stream: 5, SlideMS: 1000, Partitions: 2}}
		})
		sweeper := func(n id.App) id.Session {
			t.Helper()
			p := driver.ProgressOf(r.View(), r.App(n), 1)
			if want := r.App(n).CheckpointURL; p.CheckpointURL != want {
				t.Errorf("URL %q, expected %q", p.CheckpointURL, want)
			}
			return p.Sweeper
		}
		if got := sweeper(plain); got != 0 {
			t.Errorf("session %d sweeps without a bucket", got)
		}
		if got := sweeper(app); got != first.Session() {
			t.Errorf("session %d sweeps without a coordinator, expected %d", got, first.Session())
		}
		r.Must(&fsm.CoordinatorAssigned{App: app, Session: second.Session()})
		if got := sweeper(app); got != second.Session() {
			t.Errorf("session %d sweeps, expected the coordinator %d", got, second.Session())
		}
		if got := driver.AppOf(r.App(app)).CheckpointURL; got != "file:///shared" {
			t.Errorf("executors are told of bucket %q", got)
		}
		r.Must(&fsm.ApplicationStopped{App: app, Now: true})
		r.Must(&fsm.ApplicationEnded{App: app})
		if got := sweeper(app); got != first.Session() {
			t.Errorf("session %d sweeps after the end, expected %d", got, first.Session())
		}
	})
}
