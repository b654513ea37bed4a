package repair

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a rig with the duty, executors and an application with keyed state whose receiver runs on the first one.
type stage struct {
	*drivertest.Rig
	duty      *Duty
	executors []*drivertest.Executor
	app       id.App
	instance  id.Instance
	office    id.Office
	added     uint64
	obey      map[*drivertest.Executor]bool // that copy what they are told to
}

func start(t *testing.T, executors, factor int, test func(s *stage)) {
	startWith(t, executors, factor, "", test)
}

func startWith(t *testing.T, executors, factor int, bucket string, test func(s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{obey: map[*drivertest.Executor]bool{}}
		s.Rig = drivertest.Start(t, nil, func(r *drivertest.Rig) []driver.Duty {
			s.duty = New(r.Hub, r.Logger)
			return []driver.Duty{s.duty}
		})
		s.Lead()
		for i := range executors {
			s.join(string(rune('a' + i)))
		}
		s.app = s.Submit("wc", func(c *fsm.ApplicationSubmitted) {
			c.Factor, c.CheckpointURL = factor, bucket
			c.States = []fsm.StateStream{{Stream: 5, SlideMS: 1000, Partitions: 2}}
		})
		first := s.executors[0]
		s.instance = id.Instance(s.Must(&fsm.ReceiverScheduled{App: s.app, Session: first.Session()}))
		first.Must(&job.ReceiverStarted{App: s.app, Instance: s.instance})
		s.office = id.Office(s.Must(&fsm.CoordinatorAssigned{App: s.app, Session: first.Session()}))
		test(s)
	})
}

func (s *stage) join(name string) *drivertest.Executor {
	e := s.Executor(name)
	s.executors = append(s.executors, e)
	s.obey[e] = true
	return e
}

func stores(executors ...*drivertest.Executor) (names []id.Store) {
	for _, e := range executors {
		names = append(names, e.Hello.Store)
	}
	return names
}

// add adds a block that the executors hold.
func (s *stage) add(on ...*drivertest.Executor) id.Block {
	s.Helper()
	s.added++
	n := id.Block{App: s.app, Instance: s.instance, Number: s.added}
	reply := s.executors[0].Must(&job.BlocksReport{Blocks: []job.BlockReport{
		{ID: n, Records: 1, Bytes: 1 << 20, CRC: 7, Stores: stores(on...)},
	}})
	if b := reply.Blocks[0]; b.Outcome != job.Done {
		s.Fatalf("block %v: %s", n, b.Reason)
	}
	return n
}

// checkpoint commits a checkpoint of the first batch with a piece of each partition.
func (s *stage) checkpoint(on ...*drivertest.Executor) (pieces []id.Block) {
	s.Helper()
	a := s.Rig.App(s.app)
	at := a.Interval(a.ZeroTime, 1)
	s.Must(&fsm.BlocksAllocated{App: s.app, From: at, To: at})
	attempt := s.View().Attempt(s.app, at)
	s.Must(&fsm.BatchCompleted{App: s.app, Time: at, Office: s.office, Attempt: attempt})
	report := &job.CheckpointReport{
		App: s.app, Authority: id.Authority{Office: s.office}, Version: job.Version{Time: at, Attempt: attempt}, Full: true,
	}
	for part := range 2 {
		n := id.Block{App: s.app, Stream: 5, Instance: id.Instance(s.office), Number: uint64(part+1) << job.PieceBits}
		pieces = append(pieces, n)
		report.Pieces = append(report.Pieces, job.Piece{Stream: 5, Part: part, Block: job.Block{
			ID: n, Records: 3, Bytes: 30, CRC: 8, Stores: stores(on...),
		}})
	}
	s.executors[0].Must(report)
	return pieces
}

// leave ends an executor's session.
func (s *stage) leave(e *drivertest.Executor) {
	s.Helper()
	s.obey[e] = false
	e.Close()
	s.Must(&fsm.SessionClosed{Session: e.Session()})
}

// work lets executors do what they are told for a while.
func (s *stage) work(d time.Duration) {
	s.Helper()
	done := map[*drivertest.Executor]int{}
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for e, obeys := range s.obey {
			orders := drivertest.Orders[*job.CopyBlocks](e)
			for _, o := range orders[min(done[e], len(orders)):] {
				s.obeyed(e, o, obeys)
			}
			done[e] = len(orders)
		}
	}
}

func (s *stage) obeyed(e *drivertest.Executor, o *job.CopyBlocks, obeys bool) {
	s.Helper()
	var made []id.Block
	for _, b := range o.Blocks {
		known, _, _ := copiesOf(s.View(), b.ID)
		if slices.Contains(known, e.Hello.Store) && obeys {
			s.Errorf("%s is told to copy %v, which it has", e.Hello.Store, b.ID)
		}
		if len(b.Stores) == 0 || b.CRC == 0 || b.Bytes == 0 {
			s.Errorf("order is %+v", b)
		}
		made = append(made, b.ID)
	}
	if obeys {
		e.Must(&job.BlocksCopied{Blocks: made})
	}
}

// held counts the executors with an open session that hold a block or piece.
func (s *stage) held(n id.Block) (count int) {
	known, _, _ := copiesOf(s.View(), n)
	for _, store := range known {
		if _, open := s.View().SessionOf(store); open {
			count++
		}
	}
	return count
}

func (s *stage) ordered() (count int) {
	for _, e := range s.executors {
		for _, o := range drivertest.Orders[*job.CopyBlocks](e) {
			count += len(o.Blocks)
		}
	}
	return count
}

// Rules 5 and 7: what a dead executor held is copied to others, blocks and pieces alike, and then there is nothing to
// do.
func TestCopiesOfADeadExecutorAreMadeAgain(t *testing.T) {
	start(t, 4, 2, func(s *stage) {
		a, b := s.executors[0], s.executors[1]
		var all []id.Block
		for range 50 { // more than may be on the way to one executor
			all = append(all, s.add(a, b))
		}
		all = append(all, s.checkpoint(a, b)...)
		s.work(time.Minute)
		if s.ordered() != 0 {
			t.Fatalf("%d copies were ordered while nothing lacked any", s.ordered())
		}
		s.leave(b)
		s.work(stable - 10*time.Millisecond)
		if s.ordered() != 0 {
			t.Error("copies were ordered before the sessions were stable")
		}
		s.work(10 * time.Second)
		for _, n := range all {
			if got := s.held(n); got != 2 {
				t.Errorf("%v has %d copies, expected 2", n, got)
			}
		}
		if got := s.ordered(); got != len(all) {
			t.Errorf("%d copies were ordered, expected %d", got, len(all))
		}
		for _, e := range s.executors[2:] {
			if n := len(drivertest.Orders[*job.CopyBlocks](e)); n == 0 {
				t.Errorf("%s got none", e.Hello.Store)
			}
		}
		if got := s.duty.Status(); got != (Status{}) {
			t.Errorf("status is %+v in the end", got)
		}
	})
}

func TestCopiesOnTheirWayAreBounded(t *testing.T) {
	start(t, 3, 2, func(s *stage) {
		a, b, c := s.executors[0], s.executors[1], s.executors[2]
		for range 50 {
			s.add(a, b)
		}
		s.obey[c] = false
		s.leave(b)
		s.work(stable + time.Second)
		if got := s.ordered(); got != copiesEach {
			t.Errorf("%d copies were ordered at a time, expected %d", got, copiesEach)
		}
		if got := s.duty.Status(); got != (Status{Missing: 50, Copying: copiesEach}) {
			t.Errorf("status is %+v", got)
		}
		s.work(patience)
		if got := s.ordered(); got != 2*copiesEach {
			t.Errorf("%d copies were ordered after one has taken too long, expected %d", got, 2*copiesEach)
		}
	})
}

func TestOrdersOfManyBytesAreBounded(t *testing.T) {
	c := newCopies()
	p := place{session: 1, store: "a", connection: 1}
	block := func(n uint64, bytes int64) *job.Block { return &job.Block{ID: id.Block{Number: n}, Bytes: bytes} }
	if !c.add(p, block(1, 2*bytesEach), time.Now()) {
		t.Error("a block larger than the bound is never copied")
	}
	if c.add(p, block(2, 1), time.Now()) {
		t.Error("another one was added to it")
	}
}

// Rule 5: an executor that comes back within the pause, or later with its inventory, makes copies needless.
func TestExecutorThatComesBackBringsItsCopies(t *testing.T) {
	start(t, 3, 2, func(s *stage) {
		a, b := s.executors[0], s.executors[1]
		n := s.add(a, b)
		s.leave(b)
		s.work(stable - time.Second)
		b.Connect()
		b.Must(&job.Inventory{Blocks: []id.Block{n}, First: true, Last: true})
		s.work(time.Minute)
		if s.ordered() != 0 {
			t.Errorf("%d copies were ordered", s.ordered())
		}
		b.Hello.Generation++ // its disk was wiped
		b.Connect()
		b.Must(&job.Inventory{First: true, Last: true})
		s.obey[b] = true
		s.work(time.Minute)
		if s.held(n) != 2 {
			t.Error("the copy that an inventory lacks was not made")
		}
	})
}

// An inventory that comes long after its session changes nothing about sessions, and is seen all the same.
// An executor that comes and goes does not keep everybody else's data at too few copies.
func TestFlappingExecutorDoesNotHoldRepairUp(t *testing.T) {
	start(t, 4, 2, func(s *stage) {
		block := s.add(s.executors[0], s.executors[1])
		flapping := s.executors[3]
		s.leave(s.executors[1])
		began := time.Now()
		for s.held(block) < 2 {
			if time.Since(began) > time.Minute {
				t.Fatal("the block has too few copies still")
			}
			s.obey[flapping] = false
			flapping.Connect()
			s.obey[flapping] = true
			s.work(2 * time.Second)
		}
	})
}

func TestLateInventoryIsActedOn(t *testing.T) {
	start(t, 3, 2, func(s *stage) {
		a, b := s.executors[0], s.executors[1]
		n := s.add(a, b)
		b.Hello.Generation++
		b.Connect()
		s.work(time.Minute)
		b.Must(&job.Inventory{First: true, Last: true})
		s.work(10 * time.Second)
		if s.held(n) != 2 {
			t.Error("the copy that an inventory lacks was not made")
		}
	})
}

func TestFewerExecutorsThanCopiesAreEnough(t *testing.T) {
	start(t, 2, 3, func(s *stage) {
		n := s.add(s.executors[0], s.executors[1])
		s.work(time.Minute)
		if s.ordered() != 0 || s.duty.Status().Missing != 0 {
			t.Errorf("%d copies were ordered, status %+v", s.ordered(), s.duty.Status())
		}
		s.join("c")
		s.work(10 * time.Second)
		if s.held(n) != 3 {
			t.Errorf("%d copies after a third executor joined, expected 3", s.held(n))
		}
	})
}

// Rule 7: pieces in a bucket lack no copies, and nobody could make one.
func TestPiecesInABucketAreNotCopied(t *testing.T) {
	startWith(t, 3, 2, "file:///shared", func(s *stage) {
		block := s.add(s.executors[0], s.executors[1])
		s.checkpoint()
		s.leave(s.executors[1])
		s.work(time.Minute)
		if s.ordered() != 1 || s.held(block) != 2 || s.duty.Status() != (Status{}) {
			t.Errorf("%d copies were ordered, expected that of the block; status %+v", s.ordered(), s.duty.Status())
		}
	})
}

func TestWhatNobodyHoldsIsCountedAndNotOrdered(t *testing.T) {
	start(t, 4, 2, func(s *stage) {
		b, c := s.executors[1], s.executors[2]
		n := s.add(b, c)
		s.leave(b)
		s.leave(c)
		s.work(time.Minute)
		if s.ordered() != 0 || s.duty.Status() != (Status{Missing: 1}) {
			t.Errorf("%d copies were ordered, status %+v", s.ordered(), s.duty.Status())
		}
		c.Connect()
		c.Must(&job.Inventory{Blocks: []id.Block{n}, First: true, Last: true})
		s.work(10 * time.Second)
		if s.held(n) != 2 {
			t.Error("it was not copied when a holder came back")
		}
	})
}

func TestSweepGoesOnWhereItStopped(t *testing.T) {
	start(t, 2, 1, func(s *stage) {
		for range 100 {
			s.add(s.executors[0])
		}
		other := s.Submit("other", nil)
		n := id.Instance(s.Must(&fsm.ReceiverScheduled{App: other, Session: s.executors[0].Session()}))
		s.executors[0].Must(&job.ReceiverStarted{App: other, Instance: n})
		s.executors[0].Add(id.Block{App: other, Instance: n, Number: 1}, 1)
		for _, step := range []int{1, 3, 50, 100, 101, 102, 1000} {
			w := &sweep{open: map[id.Store]bool{"x": true, "y": true}}
			turns := 1
			for ; !w.walk(s.View(), step); turns++ {
				if turns > 1000 {
					t.Fatalf("%d blocks at a time: the sweep does not end", step)
				}
			}
			if w.missing != 101 {
				t.Errorf("%d blocks at a time: %d were seen, expected 101", step, w.missing)
			}
			if most := 101/step + 4; turns > most {
				t.Errorf("%d blocks at a time took %d turns, expected at most %d", step, turns, most)
			}
		}
	})
}

func BenchmarkSweep(b *testing.B) {
	w := &sweep{open: map[id.Store]bool{"a": true, "b": true, "c": true}, reachable: []id.Store{"a", "b", "c"}}
	for b.Loop() {
		w.see(id.Block{App: 1, Number: 1}, []id.Store{"a", "b"}, 2)
	}
	if w.missing > 0 {
		b.Fatal(fmt.Sprint(w.missing, " missing"))
	}
}
