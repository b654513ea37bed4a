package shuffle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/local"
	"github.com/raftstream/raftstream/executor/shuffle"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var shuffleID = dataset.ShuffleID{Of: dataset.ID{Stream: 1, Time: 1000}}

func launch(office id.Office, attempt id.Attempt, at id.Time) *job.Launch {
	return &job.Launch{Authority: id.Authority{Office: office, Attempt: attempt}, App: job.App{ID: 7}, Time: at, Shuffle: shuffleID}
}

func fetch(l *job.Launch, reducer int, parts ...int) *job.Fetch {
	return &job.Fetch{Authority: l.Authority, App: l.App.ID, Time: l.Time, Shuffle: l.Shuffle, Reducer: reducer, MapParts: parts}
}

// bucket is one that says which map partition and reducer it is of.
func bucket(part, reducer int) executortest.Words {
	return executortest.Words{fmt.Sprintf("%d-%d", part, reducer): 1}
}

func put(t *testing.T, s *shuffle.Store, l *job.Launch, part int) {
	t.Helper()
	if err := s.Put(context.Background(), l, part, []dataset.Rows{bucket(part, 0), bucket(part, 1)}); err != nil {
		t.Fatal(err)
	}
}

func TestBucketsOfAttemptsAreNotMixed(t *testing.T) { // rule 6
	s := shuffle.NewStore(0)
	older, newer := launch(5, 5, 1000), launch(5, 9, 1000)
	put(t, s, older, 0)
	put(t, s, newer, 1)
	if _, ok := s.Get(fetch(older, 0), 0); ok {
		t.Error("a bucket of the replaced attempt is still there")
	}
	if _, ok := s.Get(fetch(newer, 0), 0); ok {
		t.Error("a bucket of the replaced attempt is given out as one of the newer")
	}
	if r, ok := s.Get(fetch(newer, 1), 1); !ok || r.Len() != 1 {
		t.Error("the bucket of the newer attempt is missing")
	}
	err := s.Put(context.Background(), older, 2, nil)
	if !errors.Is(err, job.ErrFenced) {
		t.Errorf("put of the replaced attempt: %v, expected ErrFenced", err)
	}
	if _, ok := s.Get(fetch(newer, 2), 1); ok {
		t.Error("a reducer that does not exist has a bucket")
	}
}

func TestBucketsGoWithTheirBatch(t *testing.T) {
	s := shuffle.NewStore(0)
	for at := id.Time(1000); at <= 3000; at += 1000 {
		put(t, s, launch(5, 5, at), 0)
		put(t, s, launch(5, 5, at), 1)
	}
	if st := s.Stats(); st.Batches != 3 || st.Buckets != 6 || st.Bytes == 0 {
		t.Errorf("store holds %+v", st)
	}
	s.Completed(7, 2000)
	s.Completed(8, 9000) // another application
	if st := s.Stats(); st.Batches != 1 || st.Buckets != 2 {
		t.Errorf("store holds %+v, expected the batch that is not completed", st)
	}
	s.Ended(7)
	if st := s.Stats(); st.Batches != 0 || st.Bytes != 0 {
		t.Errorf("store holds %+v, expected nothing", st)
	}
}

// While batches are computed again for keyed state only the buckets of one of them are held, and those of the batch.
func TestBucketsOfBatchesComputedAgainGoOneAfterTheOther(t *testing.T) {
	s := shuffle.NewStore(0)
	own := launch(5, 5, 9000)
	own.Shuffle.Of.Time = 9000
	put(t, s, own, 0)
	var bytes int64
	for at := id.Time(1000); at <= 8000; at += 1000 {
		for n := range int32(2) {
			l := launch(5, 5, 9000)
			l.Output, l.Root, l.Shuffle.Of = -1, dataset.ID{Stream: 1, Time: at}, dataset.ID{Stream: 1, Time: at, Sub: n}
			put(t, s, l, 0)
			put(t, s, l, 1)
			if _, ok := s.Get(fetch(l, 1, 0), 0); !ok {
				t.Errorf("the bucket of batch %d is not there", at)
			}
		}
		if st := s.Stats(); st.Batches != 1 || st.Buckets != 5 || bytes != 0 && st.Bytes != bytes {
			t.Errorf("after batch %d the store holds %+v", at, st)
		}
		bytes = s.Stats().Bytes
	}
	if _, ok := s.Get(fetch(own, 1, 0), 0); !ok {
		t.Error("the batch's own bucket is gone")
	}
	if s.Completed(7, 9000); s.Stats() != (shuffle.Stats{Limit: s.Stats().Limit}) {
		t.Errorf("store holds %+v", s.Stats())
	}
}

func TestLateTaskBringsNothingBack(t *testing.T) { // rule 6
	s := shuffle.NewStore(0)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("completed")
	cancel(why)
	if err := s.Put(ctx, launch(5, 5, 1000), 0, []dataset.Rows{bucket(0, 0)}); !errors.Is(err, why) {
		t.Errorf("put of a canceled task: %v, expected the reason", err)
	}
	if st := s.Stats(); st.Batches != 0 {
		t.Errorf("store holds %+v", st)
	}
}

type sized struct{ executortest.Words }

func (sized) Size() int64 { return 60 }

// Two applications that fill the store together must not wait for each other: the older batch may always go on.
func TestLimitHoldsUpAllBatchesButTheOldest(t *testing.T) {
	s := shuffle.NewStore(100)
	row := []dataset.Rows{sized{executortest.Words{}}}
	younger, older := launch(5, 5, 2000), launch(6, 6, 1000)
	older.App.ID = younger.App.ID + 1
	steps := []struct {
		l    *job.Launch
		part int
		want error
	}{
		{younger, 0, nil},
		{older, 0, nil}, // over the limit: it is the oldest
		{younger, 1, job.ErrFull},
		{older, 1, nil},
		{younger, 0, nil}, // in place of what is there
	}
	for i, x := range steps {
		if err := s.Put(context.Background(), x.l, x.part, row); !errors.Is(err, x.want) {
			t.Errorf("step %d: %v, expected %v", i, err, x.want)
		}
	}
	if st := s.Stats(); st.Bytes != 180 || st.Limit != 100 {
		t.Errorf("store holds %+v", st)
	}
	s.Completed(older.App.ID, older.Time)
	if err := s.Put(context.Background(), younger, 1, row); err != nil {
		t.Errorf("the next oldest: %v", err)
	}
}

func TestLimitRefusesAndReplacementIsNotCountedTwice(t *testing.T) {
	s := shuffle.NewStore(200)
	put(t, s, launch(4, 4, 500), 0) // an older batch of 96 bytes
	l := launch(5, 5, 1000)
	row := []dataset.Rows{sized{executortest.Words{}}}
	for range 3 {
		if err := s.Put(context.Background(), l, 0, row); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(context.Background(), l, 1, row); !errors.Is(err, job.ErrFull) {
		t.Errorf("put over the limit: %v, expected ErrFull", err)
	}
	if st := s.Stats(); st.Bytes != 156 || st.Limit != 200 {
		t.Errorf("store holds %+v", st)
	}
}

func TestServeNamesAllThatIsMissingBeforeItSends(t *testing.T) {
	s := shuffle.NewStore(0)
	l := launch(5, 5, 1000)
	put(t, s, l, 1)
	err := s.Serve(context.Background(), fetch(l, 0, 0, 1, 2), func(int, []byte) error {
		t.Error("something was sent")
		return nil
	})
	te, ok := errors.AsType[*job.TaskError](err)
	if !ok || te.Fault != job.FetchFault || !slices.Equal(te.MapParts, []int{0, 2}) {
		t.Errorf("error is %v, expected a fetch fault of 0 and 2", err)
	}
}

// world is executors with sessions 1 to n and one reader on session 1.
type world struct {
	net    *local.Network
	stores map[id.Session]*shuffle.Store
	over   map[id.Session]bool
	mu     sync.Mutex
}

type server struct {
	job.Server
	s *shuffle.Store
}

func (s server) Fetch(ctx context.Context, f *job.Fetch, each func(int, []byte) error) error {
	return s.s.Serve(ctx, f, each)
}

func newWorld(t *testing.T, n int) (*world, *shuffle.Reader) {
	w := &world{net: local.NewNetwork(), stores: map[id.Session]*shuffle.Store{}, over: map[id.Session]bool{}}
	t.Cleanup(w.net.Close)
	for i := 1; i <= n; i++ {
		s := shuffle.NewStore(0)
		w.stores[id.Session(i)] = s
		w.net.Add(fmt.Sprint(i), server{s: s})
	}
	return w, &shuffle.Reader{Store: w.stores[1], Peers: w, Executors: w.net}
}

func (w *world) Self() id.Session { return 1 }

func (w *world) Peer(_ context.Context, s id.Session) (job.Peer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over[s] || w.stores[s] == nil {
		return job.Peer{}, fmt.Errorf("session %d is over", s)
	}
	return job.Peer{Session: s, Addr: fmt.Sprint(s)}, nil
}

// spread makes the buckets of parts partitions, dealt out to n sessions in turn.
func (w *world) spread(t *testing.T, l *job.Launch, parts, n int) (holders []id.Session) {
	for p := range parts {
		h := id.Session(p%n + 1)
		put(t, w.stores[h], l, p)
		holders = append(holders, h)
	}
	return holders
}

func read(r *shuffle.Reader, l *job.Launch, holders []id.Session) (order []string, err error) {
	err = r.Read(context.Background(), *fetch(l, 1), holders, func(c dataset.Chunk) bool {
		w, ok := c.Rows.(executortest.Words)
		kind := "local"
		if !ok {
			kind = "remote"
			if w, err = executortest.Decode(c.Bytes); err != nil {
				return false
			}
		}
		for k := range w {
			order = append(order, kind+" "+k)
		}
		return true
	})
	return order, err
}

func TestBucketsComeInOrderOfMapPartition(t *testing.T) { // rule 6
	for _, holders := range []int{1, 2, 5, 12} { // more than are fetched from at a time, too
		t.Run(fmt.Sprint(holders), func(t *testing.T) {
			w, r := newWorld(t, holders)
			l := launch(5, 5, 1000)
			got, err := read(r, l, w.spread(t, l, 40, holders))
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for p := range 40 {
				kind := "remote"
				if p%holders == 0 {
					kind = "local"
				}
				want = append(want, fmt.Sprintf("%s %d-1", kind, p))
			}
			if !slices.Equal(got, want) {
				t.Errorf("read %v, expected %v", got, want)
			}
		})
	}
}

func TestHoldersInAnyOrderDoNotBlockEachOther(t *testing.T) {
	w, r := newWorld(t, 12)
	l := launch(5, 5, 1000)
	var holders []id.Session
	for p := range 120 { // the last holders have early partitions as well
		h := id.Session(12 - (p*7)%12)
		put(t, w.stores[h], l, p)
		holders = append(holders, h)
	}
	if got, err := read(r, l, holders); err != nil || len(got) != 120 {
		t.Errorf("%d buckets, %v", len(got), err)
	}
}

func TestLostBucketsAreNamedWithTheirHolder(t *testing.T) {
	tests := []struct {
		name   string
		lose   func(w *world)
		parts  []int
		holder id.Session
		text   string
	}{
		{"here", func(w *world) { w.stores[1].Clear() }, []int{0, 3}, 1, "not held here"},
		{"there", func(w *world) { w.stores[2].Clear() }, []int{1, 4}, 2, "not held there"},
		{"session over", func(w *world) { w.over[3] = true }, []int{2, 5}, 3, "session 3 is over"},
		{"process gone", func(w *world) { w.net.Remove("2") }, []int{1, 4}, 2, "gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, r := newWorld(t, 3)
			l := launch(5, 5, 1000)
			holders := w.spread(t, l, 6, 3)
			tt.lose(w)
			_, err := read(r, l, holders)
			te, ok := errors.AsType[*job.TaskError](err)
			if !ok || te.Fault != job.FetchFault || te.Shuffle != shuffleID || te.Holder != tt.holder || !slices.Equal(te.MapParts, tt.parts) {
				t.Fatalf("error is %+v, expected a fetch fault of %v at %d", err, tt.parts, tt.holder)
			}
			if !strings.Contains(te.Text, tt.text) {
				t.Errorf("text is %q, expected %q in it", te.Text, tt.text)
			}
		})
	}
}

func TestReaderThatHasEnoughStopsTheStreams(t *testing.T) {
	w, r := newWorld(t, 4)
	l := launch(5, 5, 1000)
	holders := w.spread(t, l, 40, 4)
	n := 0
	err := r.Read(context.Background(), *fetch(l, 0), holders, func(dataset.Chunk) bool {
		n++
		return n < 3
	})
	if err != nil || n != 3 {
		t.Errorf("%d buckets were read, %v", n, err)
	}
	func() { // user code that panics in the loop leaves no stream behind either: goleak looks
		defer func() { _ = recover() }()
		_ = r.Read(context.Background(), *fetch(l, 0), holders, func(dataset.Chunk) bool { panic("boom") })
	}()
}

func TestCanceledReaderGivesTheReason(t *testing.T) {
	w, r := newWorld(t, 3)
	l := launch(5, 5, 1000)
	holders := w.spread(t, l, 9, 3)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("superseded")
	err := r.Read(ctx, *fetch(l, 0), holders, func(dataset.Chunk) bool {
		cancel(why)
		return true
	})
	if !errors.Is(err, why) {
		t.Errorf("error is %v, expected the reason", err)
	}
}
