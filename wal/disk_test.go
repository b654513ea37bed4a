package wal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/vfs"
	"github.com/raftstream/raftstream/wal"
)

// Rule 10: a log stops at its disk reserve and goes on when there is space again.
func TestNothingIsAppendedBelowTheReserve(t *testing.T) {
	f := vfs.NewMem()
	c := config(f)
	c.ReserveBytes = 1000
	l, _ := open(t, c)
	f.SetFree(1100)
	add(t, l, strings.Repeat("x", 40))
	if _, err := l.Append(t.Context(), make([]byte, 200)); !errors.Is(err, wal.ErrReserve) {
		t.Fatalf("Append: %v, want ErrReserve", err)
	}
	f.SetFree(10_000)
	add(t, l, strings.Repeat("y", 200))
	closeLog(t, l)
	if _, got := open(t, config(f)); len(got.payloads) != 2 {
		t.Errorf("%d records, want 2", len(got.payloads))
	}
}

func TestFullDiskLosesNothingAndTheLogGoesOn(t *testing.T) {
	for free := range int64(400) {
		f := vfs.NewMem()
		c := config(lying{f})
		c.SegmentBytes = 200
		l, _ := open(t, c)
		want := []string{strings.Repeat("a", 60)}
		add(t, l, want[0])
		f.SetFree(free)
		for i := range 4 {
			s := strings.Repeat(string(rune('b'+i)), 70)
			_, err := l.Append(t.Context(), []byte(s))
			if err == nil {
				want = append(want, s)
			} else if !errors.Is(err, wal.ErrReserve) {
				t.Fatalf("free %d: %v, want ErrReserve", free, err)
			}
		}
		f.SetFree(-1)
		add(t, l, "after")
		closeLog(t, l)
		l, got := open(t, c)
		if want = append(want, "after"); !slices.Equal(got.payloads, want) {
			t.Fatalf("free %d: holds %q, want %q", free, got.payloads, want)
		}
		closeLog(t, l)
	}
}

// lying is a file system that says that it has space when it has none.
type lying struct{ vfs.FS }

func (lying) Free(string) (uint64, error) { return 1 << 40, nil }

func TestFailedSyncPoisonsTheLogAndTellsTheProcess(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.OpSync, vfs.OpWrite} {
		f := vfs.NewMem()
		boom := errors.New("input/output error")
		c := config(f)
		fatal := make(chan error, 10)
		c.Fatal = func(err error) { fatal <- err }
		l, _ := open(t, c)
		add(t, l, "good")
		failed := false
		f.Inject(func(op vfs.Op) vfs.Fault {
			if op.Kind == kind && !failed { // repeated, it may falsely succeed
				failed = true
				return vfs.Fault{Err: boom}
			}
			return vfs.Fault{}
		})
		for range 3 {
			if _, err := l.Append(t.Context(), []byte("bad")); !errors.Is(err, wal.ErrPoisoned) {
				t.Errorf("Append: %v, want ErrPoisoned", err)
			}
		}
		if len(fatal) != 1 {
			t.Fatalf("Fatal was called %d times, expected once", len(fatal))
		}
		if err := <-fatal; !errors.Is(err, boom) {
			t.Errorf("Fatal got %v", err)
		}
		closeLog(t, l)
		_, got := open(t, config(f.Crash(nil)))
		if !slices.Equal(got.payloads, []string{"good"}) {
			t.Errorf("after the crash the log holds %q", got.payloads)
		}
	}
}

// What was acknowledged is there after a crash at any operation; what is there was appended, in order, once.
func TestAcknowledgedRecordsSurviveACrashAtEveryOperation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	for n := range 120 {
		for range 6 {
			f := vfs.NewMem()
			f.StopAt(n, rng)
			var appended, acked []string
			c := config(f)
			c.SegmentBytes = 250
			l, _, err := tryOpen(c)
			if err == nil {
				for i := range 12 {
					s := strings.Repeat(fmt.Sprintf("%02d-", i), 1+rng.IntN(30))
					appended = append(appended, s)
					if _, err := l.Append(t.Context(), []byte(s)); err == nil {
						acked = append(acked, s)
					}
				}
				_ = l.Close() // the machine is down or it is not
			}
			after := f.Crash(rng)
			c = config(after)
			c.SegmentBytes = 250
			again, got, err := tryOpen(c)
			if err != nil {
				t.Fatalf("stopped at %d: %v", n, err)
			}
			if len(got.payloads) < len(acked) || len(got.payloads) > len(appended) ||
				!slices.Equal(got.payloads, appended[:len(got.payloads)]) {
				t.Fatalf("stopped at %d: holds %q, acknowledged %q, appended %q", n, got.payloads, acked, appended)
			}
			p := add(t, again, "after the crash")
			if b, err := again.Read(p); err != nil || string(b) != "after the crash" {
				t.Fatalf("stopped at %d: %q, %v", n, b, err)
			}
			closeLog(t, again)
			_, last := open(t, c)
			if want := append(got.payloads, "after the crash"); !slices.Equal(last.payloads, want) {
				t.Fatalf("stopped at %d, opened twice: %q, want %q", n, last.payloads, want)
			}
		}
	}
}
