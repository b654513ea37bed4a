package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/ingest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inlet stands for the executor: it keeps what is stored until the test commits it, in order, or fails it.
type inlet struct {
	pushes chan connector.Push

	mu        sync.Mutex
	positions map[string]uint64
	index     uint64
	pending   []*receipt
	committed []string
	storeErr  error
	onStore   func()
}

type receipt struct {
	r       connector.Range
	records []string
	done    chan struct{}
	index   uint64
	err     error
}

func (r *receipt) Done() <-chan struct{}   { return r.done }
func (r *receipt) Result() (uint64, error) { return r.index, r.err }

func newInlet() *inlet {
	return &inlet{pushes: make(chan connector.Push), positions: map[string]uint64{}, index: 500}
}

func (in *inlet) Store(context.Context, ...string) error { return errors.New("not used") }

func (in *inlet) StoreAt(_ context.Context, r connector.Range, records ...string) (connector.Receipt, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.onStore != nil {
		in.onStore()
	}
	if in.storeErr != nil {
		return nil, in.storeErr
	}
	if r.First != in.positions[r.Partition]+1 || r.Last-r.First != uint64(len(records)-1) {
		return nil, &connector.PositionError{Partition: r.Partition, Got: r.First, Want: in.positions[r.Partition] + 1}
	}
	in.positions[r.Partition] = r.Last
	p := &receipt{r: r, records: records, done: make(chan struct{})}
	in.pending = append(in.pending, p)
	return p, nil
}

func (in *inlet) Position(p string) uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.positions[p]
}

func (in *inlet) Pushes() <-chan connector.Push { return in.pushes }

// commit settles everything that was stored, as one block.
func (in *inlet) commit() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.index++
	for _, p := range in.pending {
		p.index = in.index
		in.committed = append(in.committed, p.records...)
		close(p.done)
	}
	in.pending = nil
}

// fail settles everything that was stored as not taken, and gives the positions back.
func (in *inlet) fail(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, p := range in.pending {
		p.err = err
		in.positions[p.r.Partition] = min(in.positions[p.r.Partition], p.r.First-1)
		close(p.done)
	}
	in.pending = nil
}

func (in *inlet) got() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.committed)
}

// reply is how a push was answered.
type reply struct {
	last, index uint64
	err         error
}

// bench runs a receiver of text.
type bench struct {
	in   *inlet
	stop func() error
}

func start(t *testing.T, in *inlet) *bench { return startWith(t, in, ingest.Line) }

func startWith(t *testing.T, in *inlet, decode func([]byte) (string, error)) *bench {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ingest.NewReceiver(decode).Run(ctx, in) }()
	return &bench{in: in, stop: func() error { cancel(); return <-done }}
}

func (b *bench) push(producer string, first uint64, records ...string) <-chan reply {
	answers := make(chan reply, 2)
	p := connector.Push{Producer: producer, First: first, Reply: func(last, index uint64, err error) {
		answers <- reply{last, index, err}
	}}
	for _, r := range records {
		p.Records = append(p.Records, []byte(r))
	}
	b.in.pushes <- p
	return answers
}

// commit settles what was pushed by now.
func (b *bench) commit() {
	synctest.Wait()
	b.in.commit()
}

// answer gives the reply of a push if it was answered by now.
func answer(answers <-chan reply) (reply, bool) {
	synctest.Wait()
	select {
	case r := <-answers:
		return r, true
	default:
		return reply{}, false
	}
}

func expect(t *testing.T, what string, answers <-chan reply, last, index uint64) {
	t.Helper()
	r, ok := answer(answers)
	if !ok || r.err != nil || r.last != last || r.index != index {
		t.Errorf("%s: answered %t: %+v; want last %d, index %d", what, ok, r, last, index)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Invariant 1: the producer hears of its records when they are committed, not before.
func TestPushIsAnsweredAfterItsCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newInlet())
		first := b.push("p", 1, "one", "two")
		second := b.push("p", 3, "three")
		if r, ok := answer(first); ok {
			t.Fatalf("answered before the commit: %+v", r)
		}
		b.commit()
		// The answer names the highest number that is committed, at least the last of the push.
		expect(t, "first", first, 2, 501)
		expect(t, "second", second, 3, 501)
		if got := strings.Join(b.in.got(), " "); got != "one two three" {
			t.Errorf("committed %q", got)
		}
		must(t, b.stop())
	})
}

// Rule 4: what was taken before is not taken again, and is acknowledged only when it is committed.
func TestRepeatedPushIsTakenOnceAndWaitsForTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newInlet())
		b.push("p", 1, "1", "2")
		again := b.push("p", 1, "1", "2")
		overlap := b.push("p", 2, "2", "3", "4")
		if _, ok := answer(again); ok {
			t.Fatal("a repeated push was answered while its records were on their way")
		}
		b.commit()
		expect(t, "again", again, 2, 501)
		expect(t, "overlap", overlap, 4, 501)
		expect(t, "old, later", b.push("p", 1, "1"), 4, 501)
		if got := strings.Join(b.in.got(), ""); got != "1234" {
			t.Errorf("committed %q, want each record once", got)
		}
		must(t, b.stop())
	})
}

// Rule 4: a replacement instance knows from the ledger what its predecessor committed.
func TestReplacementTakesNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInlet()
		in.positions["p"] = 5
		b := start(t, in)
		expect(t, "all known", b.push("p", 3, "3", "4", "5"), 5, 0)
		some := b.push("p", 4, "4", "5", "6", "7")
		b.commit()
		synctest.Wait()
		expect(t, "some known", some, 7, 501)
		if got := strings.Join(b.in.got(), ""); got != "67" {
			t.Errorf("committed %q, want only what is new", got)
		}
		must(t, b.stop())
	})
}

func TestProducerAsksForItsPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInlet()
		in.positions["old"] = 9
		b := start(t, in)
		expect(t, "unknown", b.push("new", 0), 0, 0)
		expect(t, "known", b.push("old", 0), 9, 0)
		b.push("old", 10, "ten")
		waits := b.push("old", 0)
		if _, ok := answer(waits); ok {
			t.Error("the position was told while a record was on its way")
		}
		b.commit()
		expect(t, "after the commit", waits, 10, 501)
		must(t, b.stop())
	})
}

func TestGapIsRefusedWithThePositionExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newInlet())
		b.push("p", 1, "1")
		for _, first := range []uint64{0, 3, 99} {
			r, ok := answer(b.push("p", first, "x"))
			position := (*connector.PositionError)(nil)
			if !ok || !errors.As(r.err, &position) || position.Want != 2 || position.Got != first {
				t.Errorf("push from %d: %+v, want a PositionError that expects 2", first, r)
			}
		}
		// Rule 4: an unknown producer starts at 1.
		if r, _ := answer(b.push("unknown", 7, "x")); !errors.Is(r.err, connector.ErrPosition) {
			t.Errorf("unknown producer from 7: %+v", r)
		}
		b.commit()
		must(t, b.stop())
	})
}

func TestBadPushIsRefusedWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newInlet())
		r, _ := answer(b.push("p", 1, "good", "bad\nrecord", "good"))
		record := (*ingest.RecordError)(nil)
		if !errors.Is(r.err, ingest.ErrRecord) || !errors.As(r.err, &record) || record.Sequence != 2 ||
			!strings.Contains(r.err.Error(), "newline at byte 3") {
			t.Errorf("record of two lines: %v", r.err)
		}
		if r, _ := answer(b.push("", 1, "x")); !errors.Is(r.err, connector.ErrRecord) {
			t.Errorf("a push without a producer: %+v, want ErrRecord", r)
		}
		ok := b.push("p", 1, "good", "")
		b.commit()
		expect(t, "an empty line is a record", ok, 2, 501)
		must(t, b.stop())
	})
}

// A record that the decoder panics on is refused: sent again for ever, it would stop every other producer.
func TestRecordThatTheDecoderPanicsOnIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startWith(t, newInlet(), func(record []byte) (string, error) { return string(record[0:2]) + string(record[2]), nil })
		record := (*ingest.RecordError)(nil)
		if r, _ := answer(b.push("p", 1, "one", "2")); !errors.As(r.err, &record) || record.Sequence != 2 || !strings.Contains(r.err.Error(), "panicked") {
			t.Errorf("answered %+v, want a RecordError of record 2", r)
		}
		ok := b.push("q", 1, "two")
		b.commit()
		expect(t, "another producer", ok, 1, 501)
		must(t, b.stop())
	})
}

// Every push is answered, also when what stores it takes the run down.
func TestPushIsAnsweredWhenTheRunIsUnwound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInlet()
		in.onStore = func() { runtime.Goexit() }
		answers := make(chan reply, 1)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = ingest.NewReceiver(ingest.Line).Run(t.Context(), in)
		}()
		in.pushes <- connector.Push{Producer: "p", First: 1, Records: [][]byte{[]byte("1")}, Reply: func(last, index uint64, err error) {
			answers <- reply{last, index, err}
		}}
		<-ended
		if r, ok := answer(answers); !ok || r.err == nil {
			t.Errorf("answered %t: %+v, want an error", ok, r)
		}
	})
}

// Two clients that use one producer's name send the same records, in pieces that overlap: each is taken once, and
// nobody hears of what is not committed.
func TestOverlappingPushesOfOneProducerAreTakenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newInlet())
		first, second, inside := b.push("p", 1, "1", "2", "3"), b.push("p", 2, "2", "3", "4", "5"), b.push("p", 3, "3")
		for what, a := range map[string]<-chan reply{"first": first, "second": second, "inside": inside} {
			if r, ok := answer(a); ok {
				t.Errorf("%s was answered before the commit: %+v", what, r)
			}
		}
		b.commit()
		expect(t, "first", first, 3, 501)
		expect(t, "second", second, 5, 501)
		expect(t, "inside", inside, 5, 501)
		if got := strings.Join(b.in.got(), ""); got != "12345" {
			t.Errorf("committed %q", got)
		}
		must(t, b.stop())
	})
}

func TestFailedCommitIsToldAndCanBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newInlet())
		done := b.push("p", 1, "1")
		b.commit()
		expect(t, "first", done, 1, 501)
		lost, again := b.push("p", 2, "2"), b.push("p", 2, "2")
		synctest.Wait()
		boom := errors.New("the instance is over")
		b.in.fail(boom)
		for _, a := range []<-chan reply{lost, again} {
			if r, ok := answer(a); !ok || !errors.Is(r.err, boom) {
				t.Errorf("answered %t: %+v, want the failure", ok, r)
			}
		}
		expect(t, "what was committed before still counts", b.push("p", 1, "1"), 1, 0)
		repeated := b.push("p", 2, "2")
		b.commit()
		expect(t, "repeated", repeated, 2, 502)
		if got := strings.Join(b.in.got(), ""); got != "12" {
			t.Errorf("committed %q", got)
		}
		b.in.storeErr = errors.New("stopped")
		if r, _ := answer(b.push("p", 3, "3")); r.err == nil {
			t.Error("a push that could not be stored was acknowledged")
		}
		must(t, b.stop())
	})
}

func TestStopAnswersWhatWasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newInlet())
		taken := b.push("p", 1, "1")
		stopped := make(chan error, 1)
		go func() { stopped <- b.stop() }()
		time.Sleep(time.Minute)
		select {
		case <-stopped:
			t.Fatal("Run returned with a push unanswered")
		default:
		}
		b.commit()
		must(t, <-stopped)
		expect(t, "taken before the stop", taken, 1, 501)
	})
}

func TestManyProducersAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newInlet())
		var all []<-chan reply
		for i := range 12_000 { // more than the receipts that are remembered
			all = append(all, b.push(fmt.Sprint("producer ", i), 1, "x"))
			if i%500 == 0 {
				b.commit()
			}
		}
		b.commit()
		for i, a := range all {
			if r, ok := answer(a); !ok || r.err != nil || r.last != 1 {
				t.Fatalf("producer %d: answered %t, %+v", i, ok, r)
			}
		}
		if n := len(b.in.got()); n != 12_000 {
			t.Errorf("%d records", n)
		}
		must(t, b.stop())
	})
}

func TestTypedRecordsAreDecoded(t *testing.T) {
	decode := func(b []byte) (int64, error) { return strconv.ParseInt(string(b), 10, 64) }
	r := ingest.NewReceiver(decode)
	in := &numbers{pushes: make(chan connector.Push)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, in) }()
	answers := make(chan error, 2)
	push := func(s string) connector.Push {
		return connector.Push{Producer: "p", First: 1, Records: [][]byte{[]byte(s)}, Reply: func(_, _ uint64, err error) { answers <- err }}
	}
	in.pushes <- push("x")
	if err := <-answers; !errors.Is(err, ingest.ErrRecord) {
		t.Errorf("a record that is no number: %v", err)
	}
	in.pushes <- push("42")
	must(t, <-answers)
	cancel()
	must(t, <-done)
	if !slices.Equal(in.got, []int64{42}) {
		t.Errorf("stored %v", in.got)
	}
}

// numbers is an inlet that commits at once.
type numbers struct {
	pushes chan connector.Push
	got    []int64
}

func (n *numbers) Store(context.Context, ...int64) error { return nil }

func (n *numbers) StoreAt(_ context.Context, _ connector.Range, records ...int64) (connector.Receipt, error) {
	n.got = append(n.got, records...)
	r := &receipt{done: make(chan struct{}), index: 1}
	close(r.done)
	return r, nil
}

func (n *numbers) Position(string) uint64        { return 0 }
func (n *numbers) Pushes() <-chan connector.Push { return n.pushes }
