package pieces

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a bucket in memory that fails on demand.
type fake struct {
	mu      sync.Mutex
	objects map[string][]byte
	err     error
	lists   int
	closed  int
}

func (f *fake) Put(_ context.Context, key string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.objects[key] = data
	}
	return f.err
}

func (f *fake) Get(_ context.Context, key string, _ int64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects[key], f.err
}

func (f *fake) Delete(_ context.Context, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		delete(f.objects, key)
	}
	return f.err
}

func (f *fake) List(_ context.Context, dir string) iter.Seq2[string, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	all := slices.Sorted(maps.Keys(f.objects))
	return func(yield func(string, error) bool) {
		for _, key := range all {
			if strings.HasPrefix(key, dir+"/") && !yield(key, nil) {
				return
			}
		}
	}
}

func (f *fake) Close() error { f.closed++; return nil }

func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fake) look() (keys string, lists int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(f.objects)), " "), f.lists
}

func newStore(f *fake) *Store {
	return New(Config{
		Open:    func(context.Context, string) (Bucket, error) { return f, nil },
		Cluster: func() string { return "cl" }, Logger: slog.New(slog.DiscardHandler),
	})
}

func block(stream id.Stream, instance id.Instance, number uint64) id.Block {
	return id.Block{App: 7, Stream: stream, Instance: instance, Number: number}
}

func TestPieceIsFoundUnderItsName(t *testing.T) {
	f := &fake{objects: map[string][]byte{}}
	s := newStore(f)
	n := block(3, 40, 5<<16|2)
	if err := s.Put(t.Context(), "u", job.BlockData{ID: n, Data: []byte("data")}); err != nil {
		t.Fatal(err)
	}
	if keys, _ := f.look(); keys != "cl/7/3/40/327682" {
		t.Errorf("object %s", keys)
	}
	if got, err := s.Get(t.Context(), "u", &job.Block{ID: n, Bytes: 4}); err != nil || string(got) != "data" {
		t.Errorf("%q, %v", got, err)
	}
	for key, want := range map[string]bool{
		"cl/7/3/40/327682": true, "cl/7/3/40/327682.Q.tmp": true, "cl/7/3/40": false, "cl/7/3/40/x": false, "cl/7/x/40/1": false, "cl/70/3/40/1": false,
	} {
		if got, ok := pieceOf("cl/7", 7, key); ok != want || ok && got != n {
			t.Errorf("%s is piece %v, %v", key, got, ok)
		}
	}
	if err := s.Close(); err != nil || f.closed != 1 {
		t.Errorf("closed %d times, %v", f.closed, err)
	}
}

func TestStoreWithoutWhatItNeeds(t *testing.T) {
	d := job.BlockData{ID: block(1, 2, 3)}
	if err := New(Config{}).Put(t.Context(), "u", d); err == nil || !strings.Contains(err.Error(), "opens no buckets") {
		t.Error(err)
	}
	refuse := func(context.Context, string) (Bucket, error) { return nil, errors.New("no such bucket") }
	if err := New(Config{Open: refuse}).Put(t.Context(), "u", d); err == nil || !strings.Contains(err.Error(), "does not know its cluster") {
		t.Error(err)
	}
	s := New(Config{Open: refuse, Cluster: func() string { return "cl" }})
	if err := s.Put(t.Context(), "u", d); err == nil || !strings.Contains(err.Error(), "no such bucket") {
		t.Error(err)
	}
}

func TestOpenBucketsAreBounded(t *testing.T) {
	f := &fake{objects: map[string][]byte{}}
	s := newStore(f)
	for i := range maxOpen + 10 {
		if err := s.Put(t.Context(), fmt.Sprint(i), job.BlockData{ID: block(1, 2, 3)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.open) != maxOpen || f.closed != 10 {
		t.Errorf("%d are open, %d closed", len(s.open), f.closed)
	}
}

// sweeping runs a test with a bucket that has objects of offices 40 to 43, and a store that sweeps.
func sweeping(t *testing.T, test func(t *testing.T, s *Store, f *fake)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{objects: map[string][]byte{"cl/8/3/40/1": nil, "cl/7/readme": nil}}
		s := newStore(f)
		for office := range id.Instance(4) {
			for number := range uint64(4) {
				f.objects[keyOf("cl/7", block(3, 40+office, number+1))] = nil
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx) })
		test(t, s, f)
		cancel()
		running.Wait()
	})
}

func progress(checkpointed id.Time) *job.Progress {
	return &job.Progress{App: 7, CheckpointURL: "u", Checkpointed: checkpointed, Instances: []job.InstanceProgress{
		{Stream: 3, Instance: 41, Cleaned: 1, Last: 3, Closed: true}, {Stream: 3, Instance: 42, Cleaned: 2, Last: 3},
	}}
}

// rest is what progress leaves: of office 41 what is in the chain, of 42 also what may yet be committed, and all that a
// newer office made.
const rest = "cl/7/3/41/2 cl/7/3/41/3 cl/7/3/42/3 cl/7/3/42/4 cl/7/3/43/1 cl/7/3/43/2 cl/7/3/43/3 cl/7/3/43/4 cl/7/readme cl/8/3/40/1"

func TestOnlyWhatIsNeedlessIsDeleted(t *testing.T) {
	sweeping(t, func(t *testing.T, s *Store, f *fake) {
		s.Progress(progress(1000), false)
		synctest.Wait()
		if _, lists := f.look(); lists != 0 {
			t.Error("the bucket was swept by an executor whose duty it is not")
		}
		s.Progress(progress(1000), true)
		synctest.Wait()
		if keys, _ := f.look(); keys != rest {
			t.Errorf("left is %s\nexpected %s", keys, rest)
		}
		for range 1000 { // batches are completed
			s.Progress(progress(1000), true)
			synctest.Wait()
		}
		if _, lists := f.look(); lists != 1 {
			t.Errorf("%d sweeps without a new checkpoint", lists)
		}
		s.Progress(progress(2000), true)
		s.Progress(progress(3000), true)
		time.Sleep(sweepEvery)
		synctest.Wait()
		if _, lists := f.look(); lists != 2 {
			t.Errorf("%d sweeps, expected one more after new checkpoints", lists)
		}
	})
}

func TestSweepThatFailsIsTriedAgain(t *testing.T) {
	sweeping(t, func(t *testing.T, s *Store, f *fake) {
		before, _ := f.look()
		f.fail(errors.New("away"))
		s.Progress(progress(1000), true)
		synctest.Wait()
		if keys, lists := f.look(); keys != before || lists != 1 {
			t.Errorf("%d sweeps, left is %s", lists, keys)
		}
		f.fail(nil)
		time.Sleep(sweepEvery)
		synctest.Wait()
		if keys, _ := f.look(); keys != rest {
			t.Errorf("left is %s", keys)
		}
	})
}

// A write that was on its way when its application ended is deleted too.
func TestApplicationThatHasEndedLeavesNothing(t *testing.T) {
	sweeping(t, func(t *testing.T, s *Store, f *fake) {
		s.Progress(progress(1000), true)
		synctest.Wait()
		s.Progress(&job.Progress{App: 7, CheckpointURL: "u", Ended: true}, true)
		synctest.Wait()
		const others = "cl/7/readme cl/8/3/40/1"
		if keys, _ := f.look(); keys != others {
			t.Errorf("left is %s", keys)
		}
		if err := f.Put(t.Context(), "cl/7/3/43/9", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * sweepEvery)
		synctest.Wait()
		if keys, _ := f.look(); keys != others {
			t.Errorf("left is %s", keys)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.due) != 0 {
			t.Error("the duty does not end")
		}
	})
}

// Against a ledger that goes on while an old message of it is acted on: nothing that it has, or may yet get, is deleted.
func TestOldProgressDeletesNothingThatIsNeeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type office struct{ cleaned, last uint64 }
		ledger := map[id.Instance]*office{}
		current := id.Instance(0)
		next := func() {
			current += id.Instance(rapid.IntRange(1, 3).Draw(t, "entries"))
			ledger[current] = &office{}
		}
		step := func() {
			o := ledger[current]
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				next()
			case 1: // changes
				o.last += uint64(rapid.IntRange(1, 3).Draw(t, "numbers"))
			case 2: // an image: the chain is its one piece
				for _, other := range ledger {
					other.cleaned = other.last
				}
				o.last += uint64(rapid.IntRange(1, 3).Draw(t, "numbers"))
				o.cleaned = o.last - 1
			case 3: // offices that have nothing in the chain are forgotten
				for n, other := range ledger {
					if n != current && other.cleaned == other.last {
						delete(ledger, n)
					}
				}
			}
		}
		next()
		for range rapid.IntRange(0, 20).Draw(t, "before") {
			step()
		}
		p := &job.Progress{App: 7}
		for n, o := range ledger {
			p.Instances = append(p.Instances, job.InstanceProgress{Stream: 3, Instance: n, Cleaned: o.cleaned, Last: o.last, Closed: n != current})
		}
		needless := judge(p)
		for range rapid.IntRange(0, 20).Draw(t, "after") {
			step()
		}
		for n, o := range ledger {
			for number := o.cleaned + 1; number <= o.last || n == current && number <= o.last+3; number++ {
				if needless(block(3, n, number)) {
					t.Fatalf("piece %d of office %d is deleted; %+v, current office %d", number, n, *o, current)
				}
			}
		}
	})
}
