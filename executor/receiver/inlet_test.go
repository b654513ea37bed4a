package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/receiver"
	"github.com/raftstream/raftstream/internal/dataset"
)

// with runs f as the receiver and gives what it returned, after a drain.
func with(t *testing.T, change func(*receiver.Config), f source) *ledger {
	t.Helper()
	l := newLedger(t)
	done := make(chan error, 1)
	c := l.config(source(func(ctx context.Context, in dataset.Inlet) error {
		done <- f(ctx, in)
		return idle(ctx, in)
	}))
	if change != nil {
		change(&c)
	}
	s, wait := run(t.Context(), t, c)
	must(t, <-done)
	s.Stop(true)
	must(t, wait())
	return l
}

func TestBadRecordsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := with(t, nil, func(ctx context.Context, in dataset.Inlet) error {
			for what, r := range map[string]dataset.Records{
				"nothing":            {},
				"bytes of no record": {Bytes: []byte("x")},
				"records of no byte": {Count: 1},
				"too long":           {Bytes: make([]byte, receiver.MaxAdd+1), Count: 1},
				"range too short":    {Bytes: []byte("a\nb\n"), Count: 2, Range: connector.Range{Partition: "p", First: 1, Last: 1}},
				"range from 0":       {Bytes: []byte("a\n"), Count: 1, Range: connector.Range{Partition: "p"}},
				"range backwards":    {Bytes: []byte("a\n"), Count: 1, Range: connector.Range{Partition: "p", First: 5, Last: 4}},
				"long name":          lines(strings.Repeat("p", 257), 1, "a"),
			} {
				if _, err := in.Add(ctx, r); !errors.Is(err, connector.ErrRecord) {
					t.Errorf("%s: %v, want ErrRecord", what, err)
				}
			}
			return nil
		})
		if l.blocks() != 0 {
			t.Errorf("%d blocks", l.blocks())
		}
	})
}

// Rule 4: positions have no gap and no repeat.
func TestPositionsFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := with(t, nil, func(ctx context.Context, in dataset.Inlet) error {
			for i, step := range []struct {
				r    dataset.Records
				want uint64 // expected position in the error, 0 for none
			}{
				{lines("p", 2, "x"), 1},
				{lines("p", 1, "p1", "p2"), 0},
				{lines("p", 1, "p1", "p2"), 3},
				{lines("p", 2, "p2", "p3"), 3},
				{lines("p", 4, "p4"), 3},
				{lines("q", 1, "q1"), 0},
				{lines("p", 3, "p3"), 0},
			} {
				_, err := in.Add(ctx, step.r)
				position := (*connector.PositionError)(nil)
				if errors.As(err, &position) != (step.want > 0) || step.want > 0 && position.Want != step.want {
					t.Errorf("step %d: %v, want position %d", i, err, step.want)
				}
			}
			if p, q, none := in.Position("p"), in.Position("q"), in.Position("r"); p != 3 || q != 1 || none != 0 {
				t.Errorf("positions %d, %d, %d", p, q, none)
			}
			return nil
		})
		if got := strings.Join(l.got(), " "); got != "p1 p2 q1 p3" || l.positions["p"] != 3 || l.positions["q"] != 1 {
			t.Errorf("committed %q at %v", got, l.positions)
		}
	})
}

func TestFullBlockIsCutBeforeItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		l := with(t, func(c *receiver.Config) { c.BlockBytes, c.App.BlockMS = 100, 3_600_000 },
			func(ctx context.Context, in dataset.Inlet) error {
				for i := range uint64(10) {
					if _, err := in.Add(ctx, lines("p", i+1, strings.Repeat("x", 39))); err != nil {
						return err
					}
				}
				_, err := in.Add(ctx, lines("p", 11, strings.Repeat("y", 500)))
				return err
			})
		if l.blocks() != 6 || time.Since(began) != 0 {
			t.Errorf("%d blocks after %v, want 5 of two records and one too long for any", l.blocks(), time.Since(began))
		}
		for b, data := range l.synced {
			if len(data) > 100 && len(data) != 501 {
				t.Errorf("block %v has %d bytes", b, len(data))
			}
		}
	})
}

func TestBlockHoldsABoundedNumberOfPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		most := 0
		l.onReport = func(_ context.Context, b job.BlockReport) (job.BlockReply, error, bool) {
			most = max(most, len(b.Ranges))
			return job.BlockReply{}, nil, false
		}
		done := make(chan struct{})
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			defer close(done)
			for i := range 3000 {
				if _, err := in.Add(ctx, lines(fmt.Sprint("producer ", i), 1, "x")); err != nil {
					return err
				}
			}
			return nil
		})))
		<-done
		s.Stop(true)
		must(t, wait())
		if most != 1024 || len(l.got()) != 3000 {
			t.Errorf("%d partitions in a block, %d records; want 1024 and 3000", most, len(l.got()))
		}
	})
}

// Rule 10 and invariant 9: while nothing can be stored Add waits, and what it could not add is not at a position.
func TestFullQueueMakesAddWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		free := make(chan struct{})
		l.onStore = func(ctx context.Context, _ job.BlockData) error {
			select {
			case <-free:
			case <-ctx.Done():
			}
			return ctx.Err()
		}
		c := l.config(nil)
		c.BlockBytes = 10
		var last uint64
		c.Receiver = source(func(ctx context.Context, in dataset.Inlet) error {
			for {
				short, cancel := context.WithTimeout(ctx, 10*time.Second)
				_, err := in.Add(short, lines("p", last+1, "123456789"))
				cancel()
				if err != nil {
					if !errors.Is(err, context.DeadlineExceeded) || in.Position("p") != last {
						t.Errorf("Add: %v at position %d, want it to wait and add nothing", err, in.Position("p"))
					}
					break
				}
				last++
			}
			close(free)
			_, err := in.Add(ctx, lines("p", last+1, "123456789"))
			last++
			return errors.Join(err, idle(ctx, in))
		})
		s, wait := run(t.Context(), t, c)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.Stop(true)
		must(t, wait())
		if got := len(l.got()); uint64(got) != last || last > 30 {
			t.Errorf("%d records committed of %d", got, last)
		}
	})
}

func TestManyGoroutinesMayAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := with(t, func(c *receiver.Config) { c.BlockBytes = 200 }, func(ctx context.Context, in dataset.Inlet) error {
			var wait sync.WaitGroup
			for g := range 20 {
				wait.Go(func() {
					for i := range uint64(50) {
						if _, err := in.Add(ctx, lines(fmt.Sprint("p", g), i+1, fmt.Sprintf("%d/%d", g, i))); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wait.Wait()
			return nil
		})
		if len(l.got()) != 1000 {
			t.Errorf("%d records, want 1000", len(l.got()))
		}
	})
}

func TestRateLimitHoldsOverTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		l := with(t, func(c *receiver.Config) { c.MaxRate, c.App.BlockMS = 1001, 100 },
			func(ctx context.Context, in dataset.Inlet) error {
				for end := time.Now().Add(2 * time.Second); time.Now().Before(end); n++ {
					if _, err := in.Add(ctx, lines("", 0, "x")); err != nil {
						return err
					}
				}
				return nil
			})
		if n < 1902 || n > 2102 || len(l.got()) != n {
			t.Errorf("%d records in 2 s at 1001 a second, %d committed; want within 5 %% of 2002", n, len(l.got()))
		}
		if average := n / l.blocks(); average < 90 || average > 105 {
			t.Errorf("%d records in %d blocks of 100 ms", n, l.blocks())
		}
	})
}

func TestRateIsSavedUpForAboutOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with(t, func(c *receiver.Config) { c.MaxRate = 100 }, func(ctx context.Context, in dataset.Inlet) error {
			time.Sleep(time.Minute)
			began := time.Now()
			for range 300 {
				if _, err := in.Add(ctx, lines("", 0, "x")); err != nil {
					return err
				}
			}
			if d := time.Since(began); d < 1900*time.Millisecond || d > 2100*time.Millisecond {
				t.Errorf("300 records at 100 a second after a pause took %v, want about 2 s", d)
			}
			big := make([]string, 500) // more than is ever saved up
			began = time.Now()
			_, err := in.Add(ctx, lines("", 0, big...))
			if d := time.Since(began); d < 4900*time.Millisecond || d > 5100*time.Millisecond {
				t.Errorf("500 records at once took %v, want about 5 s", d)
			}
			return err
		})
	})
}

// A limit that is lifted is lifted for those who wait for it, however many there are and however low it was.
func TestWhoWaitsForTheRateIsToldOfAnother(t *testing.T) {
	for name, tc := range map[string]struct {
		to     float64
		within time.Duration
	}{"lifted": {0, time.Millisecond}, "higher": {1e6, 100 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newLedger(t).config(source(func(ctx context.Context, in dataset.Inlet) error {
					var adding sync.WaitGroup
					began := time.Now()
					for range 64 {
						adding.Go(func() {
							if _, err := in.Add(ctx, lines("", 0, make([]string, 500)...)); err != nil {
								t.Error(err)
							}
						})
					}
					adding.Wait()
					if d := time.Since(began); d > time.Second+tc.within {
						t.Errorf("they were done after %v, want 1 s", d)
					}
					<-ctx.Done()
					return nil
				}))
				s, wait := run(t.Context(), t, c)
				s.Limit(100)
				time.Sleep(time.Second)
				s.Limit(tc.to)
				time.Sleep(10 * time.Minute)
				s.Stop(true)
				wait()
			})
		})
	}
}

func TestRateIsSetWithinTheHighest(t *testing.T) {
	for _, tc := range []struct {
		name               string
		highest, set, want float64
	}{
		{"rate limiter initializes even without a maxRate set", 0, 105, 105}, // Spark: RateLimiterSuite
		{"rate limiter stays below maxRate despite large updates", 100, 105, 100},
		{"lower than the highest", 100, 50, 50},
		{"not positive: ignored", 100, 0, 100},
		{"negative: ignored", 100, -3, 100},
		{"not positive, no highest: no limit", 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newLedger(t).config(source(idle))
			c.MaxRate = tc.highest
			s, err := receiver.New(c)
			must(t, err)
			s.SetRate(tc.set)
			if got := s.Status().Rate; got != tc.want {
				t.Errorf("highest %v, set to %v: %v, want %v", tc.highest, tc.set, got, tc.want)
			}
		})
	}
}

func TestLimitIsTakenOffUpToTheHighest(t *testing.T) {
	for _, highest := range []float64{0, 100} {
		c := newLedger(t).config(source(idle))
		c.MaxRate = highest
		s, err := receiver.New(c)
		must(t, err)
		for _, step := range []struct{ set, want float64 }{{50, 50}, {0, highest}, {-1, highest}, {20, 20}, {0, highest}} {
			s.Limit(step.set)
			if got := s.Status().Rate; got != step.want {
				t.Errorf("highest %v, limit %v: %v, want %v", highest, step.set, got, step.want)
			}
		}
	}
}

func TestRateChangesWhileTheReceiverRuns(t *testing.T) { // Spark: UpdateReceiverRateLimit
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		var taken atomic.Int64
		c := l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			for {
				if _, err := in.Add(ctx, lines("", 0, "x")); err != nil {
					return err
				}
				taken.Add(1)
			}
		}))
		c.MaxRate = 1000
		s, wait := run(t.Context(), t, c)
		for _, step := range []struct{ limit, low, high float64 }{{10, 95, 125}, {100, 950, 1150}, {5, 45, 160}} {
			s.Limit(step.limit)
			before := taken.Load()
			time.Sleep(10 * time.Second)
			if n := float64(taken.Load() - before); n < step.low || n > step.high {
				t.Errorf("limited to %v a second it took %v in 10 s", step.limit, n)
			}
		}
		s.Stop(false)
		must(t, wait())
	})
}

func TestStopEndsTheWaitForTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		c := l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			_, err := in.Add(context.WithoutCancel(ctx), lines("", 0, make([]string, 1000)...))
			return err
		}))
		c.MaxRate = 1
		s, wait := run(t.Context(), t, c)
		time.Sleep(time.Second)
		synctest.Wait()
		began := time.Now()
		s.Stop(false)
		must(t, wait())
		if d := time.Since(began); d != 0 {
			t.Errorf("stopped after %v", d)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	l := newLedger(nil)
	release := make(chan struct{})
	c := l.config(source(func(ctx context.Context, in dataset.Inlet) error {
		r := lines("", 0, strings.Repeat("x", 103))
		for range b.N {
			if _, err := in.Add(ctx, r); err != nil {
				return err
			}
		}
		close(release)
		return nil
	}))
	c.Report = func(context.Context, job.BlockReport) (job.BlockReply, error) {
		return job.BlockReply{Outcome: job.Done}, nil
	}
	b.SetBytes(104)
	s, err := receiver.New(c)
	must(b, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(b.Context()) }()
	<-release
	s.Stop(true)
	must(b, <-done)
}
