package coordinator_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/coordinator"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// held makes every task wait until the returned channel is closed or its context ends.
func (o *office) held() (open chan struct{}) {
	open = make(chan struct{})
	o.on = func(ctx context.Context, _ job.Peer, _ *job.Launch, _ int) *job.TaskError {
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return &job.TaskError{Text: context.Cause(ctx).Error()}
		}
	}
	return open
}

func one() *executortest.WordCount { return &executortest.WordCount{Reducers: 1, Depth: 1} }

func TestOrdersRunInTimeOrder(t *testing.T) {
	run(t, one(), func(t *testing.T, o *office) {
		open := o.held()
		for _, at := range []id.Time{1000, 4000, 2000, 3000, 2000} {
			o.Order(order(at, 5, 6, "s1"))
			rest(0)
		}
		close(open)
		rest(0)
		expect(t, "reports", o.said(), []string{"1000/6", "2000/6", "3000/6", "4000/6"})
	})
}

func TestQueueOfOrdersIsBounded(t *testing.T) {
	run(t, one(), func(t *testing.T, o *office) {
		open := o.held()
		for k := range coordinator.MaxOrders + 10 {
			o.Order(order(id.Time(1000*(k+1)), 5, 6, "s1"))
			rest(0)
		}
		close(open)
		rest(0)
		if n := len(o.said()); n != coordinator.MaxOrders+1 {
			t.Errorf("%d batches ran, expected the first and %d that waited", n, coordinator.MaxOrders)
		}
	})
}

func TestSameOrderJoinsAndReportCarriesTheNewestEpoch(t *testing.T) {
	run(t, one(), func(t *testing.T, o *office) {
		open := o.held()
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		again := order(1000, 5, 6, "s1")
		again.Authority.Epoch = 9
		o.Order(again)
		close(open)
		rest(0)
		expect(t, "reports", o.said(), []string{"1000/6"})
		if e := o.reports[0].Authority.Epoch; e != 9 {
			t.Errorf("report cites epoch %d, expected 9", e)
		}
		if n := len(o.sent()); n != 2 {
			t.Errorf("%d launches, expected 2", n)
		}
	})
}

func TestFinishedReportIsSentAgainUntilTheLedgerHasIt(t *testing.T) {
	run(t, one(), func(t *testing.T, o *office) {
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		expect(t, "reports", o.said(), []string{"1000/6", "1000/6"})
		o.Completed(7, 1000)
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		if len(o.said()) != 2 || len(o.sent()) != 2 {
			t.Errorf("%v reports, %v launches; expected nothing more", o.said(), o.sent())
		}
	})
}

func TestRefusedReportIsForgottenAndTheBatchRunsAgainWhenOrdered(t *testing.T) {
	run(t, one(), func(t *testing.T, o *office) {
		o.reply = func(*job.BatchReport) (job.Reply, error) { return job.Reply{Outcome: job.Refused, Reason: "no"}, nil }
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		if len(o.sent()) != 4 {
			t.Errorf("%d launches, expected two runs", len(o.sent()))
		}
	})
}

func TestAuthorityOfOrdersDecides(t *testing.T) { // rule 1
	tests := []struct {
		name   string
		orders []*job.Batch // the first runs when the others come
		want   []string
	}{
		{"newer attempt replaces", []*job.Batch{order(1000, 5, 6, "s1"), order(1000, 5, 8, "s1")}, []string{"1000/8"}},
		{"older attempt is refused", []*job.Batch{order(1000, 5, 8, "s1"), order(1000, 5, 6, "s1")}, []string{"1000/8"}},
		{"newer attempt replaces one that waits", []*job.Batch{order(1000, 5, 6, "s1"), order(2000, 5, 7, "s1"), order(2000, 5, 8, "s1")}, []string{"1000/6", "2000/8"}},
		{"older attempt does not replace one that waits", []*job.Batch{order(1000, 5, 6, "s1"), order(2000, 5, 8, "s1"), order(2000, 5, 7, "s1")}, []string{"1000/6", "2000/8"}},
		{"newer office drops all of the older", []*job.Batch{order(1000, 5, 6, "s1"), order(2000, 5, 7, "s1"), order(1000, 9, 9, "s1")}, []string{"1000/9"}},
		{"older office is refused", []*job.Batch{order(1000, 9, 9, "s1"), order(2000, 5, 10, "s1")}, []string{"1000/9"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t, one(), func(t *testing.T, o *office) {
				open := o.held()
				for _, b := range tt.orders {
					o.Order(b)
					rest(0)
				}
				close(open)
				rest(time.Second)
				expect(t, "reports", o.said(), tt.want)
			})
		})
	}
}

func TestNewerAttemptOfAFinishedBatchRunsIt(t *testing.T) { // rule 1
	run(t, one(), func(t *testing.T, o *office) {
		for _, attempt := range []id.Attempt{6, 8, 7} {
			o.Order(order(1000, 5, attempt, "s1"))
			rest(0)
		}
		expect(t, "reports", o.said(), []string{"1000/6", "1000/8"})
	})
}

func TestRunIsGivenUpWhenItIsNotNeeded(t *testing.T) {
	tests := []struct {
		name string
		do   func(o *office)
	}{
		{"completed by another", func(o *office) { o.Completed(7, 1000) }},
		{"application ended", func(o *office) { o.Ended(7) }},
		{"session over", func(o *office) { _ = o.Stop(context.Background()) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t, one(), func(t *testing.T, o *office) {
				o.held()
				o.Order(order(1000, 5, 6, "s1"))
				rest(0)
				tt.do(o)
				rest(0)
				expect(t, "reports", o.said(), nil)
				if st := o.Status(); len(st) != 0 {
					t.Errorf("status is %+v", st)
				}
			})
		})
	}
}

func TestAfterTheSessionOrdersAreNotTakenUntilTheNext(t *testing.T) { // rule 3
	run(t, one(), func(t *testing.T, o *office) {
		if err := o.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		expect(t, "launches", o.sent(), nil)
		o.Open()
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		expect(t, "reports", o.said(), []string{"1000/6"})
	})
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	var open chan struct{}
	graph := one()
	graph.OnCommit = func(context.Context, dataset.Batch, int) error {
		<-open // user code that does not look at its context
		return nil
	}
	run(t, graph, func(t *testing.T, o *office) {
		open = make(chan struct{})
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := o.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop: %v", err)
		}
		close(open)
		rest(0)
		expect(t, "reports", o.said(), nil)
	})
}

func TestAcceptedLossLeavesOutWhatNoOpenSessionHolds(t *testing.T) { // rule 8
	run(t, one(), func(t *testing.T, o *office) {
		b := order(2000, 5, 6, "s1", "s8 s9", "s9 s3")
		earlier := order(1000, 5, 6, "s7").Inputs[0]
		b.Inputs = append(b.Inputs, earlier) // of an earlier batch time
		b.AcceptLoss = true
		o.Order(b)
		rest(2 * time.Second) // an executor that holds some may be coming back
		expect(t, "launches", o.sent(), nil)
		rest(2 * time.Second)
		expect(t, "launches", sorted(o.sent()), []string{"map:e1:0", "map:e3:1", "out:e1:0"})
		lost := []id.Block{{App: 7, Number: 2}} // not that of the earlier batch, which nothing reads
		if r := o.reports[0]; r.Lost != 10 || r.Records != 20 || r.Error != "" || !slices.Equal(r.LostBlocks, lost) {
			t.Errorf("report is %+v, expected 10 records lost and 20 processed", r)
		}
		if n := len(b.Inputs[0].Blocks); n != 3 {
			t.Errorf("the order itself was changed: %d blocks", n)
		}
	})
}

// What a batch gave up is given up: a batch that was ordered ahead, and that reads it too, does not wait for it.
func TestBatchOrderedAheadLeavesOutWhatWasGivenUp(t *testing.T) { // rules 7 and 8
	run(t, one(), func(t *testing.T, o *office) {
		first, ahead := order(1000, 5, 6, "s1", "s8"), order(2000, 5, 6, "s1", "s8")
		first.AcceptLoss = true
		o.on = func(_ context.Context, _ job.Peer, l *job.Launch, _ int) *job.TaskError {
			if l.Kind == job.MapTasks && len(l.Inputs[0].Blocks) > 1 {
				return &job.TaskError{Fault: job.MissingFault, Text: "nobody holds block 2"}
			}
			return nil
		}
		o.Order(first)
		o.Order(ahead)
		rest(time.Minute)
		expect(t, "reports", o.said(), []string{"1000/6", "2000/6"})
		if n := len(ahead.Inputs[0].Blocks); n != 2 {
			t.Errorf("the order itself was changed: %d blocks", n)
		}
	})
}

func TestWithoutExecutorsTheBatchWaitsAndSaysSo(t *testing.T) { // rule 8
	run(t, one(), func(t *testing.T, o *office) {
		o.tell()
		o.Order(order(1000, 5, 6, "s1"))
		rest(time.Minute)
		if st := o.Status(); len(st) != 1 || st[0].Waiting == "" {
			t.Errorf("status is %+v", st)
		}
		o.tell(1)
		rest(0)
		expect(t, "reports", o.said(), []string{"1000/6"})
	})
}

func TestNothingIsGivenUpByATableOfAnotherTime(t *testing.T) { // rule 8
	run(t, one(), func(t *testing.T, o *office) {
		o.tell() // the table of this session has not come yet
		b := order(1000, 5, 6, "s1", "s2")
		b.AcceptLoss = true
		o.Order(b)
		rest(time.Minute)
		o.tell(2, 3) // nor has this one this executor in it
		rest(time.Minute)
		expect(t, "launches", o.sent(), nil)
		o.tell(1, 2)
		rest(0)
		if len(o.reports) != 1 || o.reports[0].Lost != 0 {
			t.Errorf("reports are %+v, expected one without loss", o.reports)
		}
	})
}
