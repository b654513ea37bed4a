package coordinator_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// Rule 7: state has a version at each of its times, also at those at which no output reads it. What is over other state
// reads that on its way: it takes no stage of its own.
func TestStateThatNoOutputReadsIsAdvanced(t *testing.T) {
	runKeyed(t, &states{parts: 2, outputs: []id.Stream{seldom}}, func(t *testing.T, k *keyed) {
		k.tell(1, 2)
		for at := id.Time(1000); at <= 4000; at += 1000 {
			k.batch(at, 5, 6)
		}
		unread := []string{"map:e1:0", "map:e1:0", "map:e2:1", "state:e1:0", "state:e2:1"}
		read := []string{"map:e1:0", "map:e1:0", "map:e2:1", "out:e1:0", "out:e2:1"}
		sent := k.sent()
		for i, want := range [][]string{unread, read, unread, read} {
			expect(t, "launches of a batch", sorted(sent[5*i:5*i+5]), want)
		}
		if len(sent) != 20 {
			t.Errorf("%d launches, expected 20", len(sent))
		}
	})
}

func TestUnreadStateIsMadeAgainWhenItsHolderDies(t *testing.T) { // rules 7 and 8
	runKeyed(t, &states{parts: 3, outputs: []id.Stream{seldom}}, func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.die(2)
		k.batch(2000, 5, 6)
		k.die(3)
		k.tell(1, 4)
		k.batch(3000, 5, 6)
		k.renew()
		k.batch(4000, 5, 6)
		k.batch(5000, 5, 6)
	})
}

func TestUnreadStateIsRestoredFromACheckpoint(t *testing.T) { // rule 7
	runKeyed(t, &states{parts: 3, every: 2000, outputs: []id.Stream{seldom}}, func(t *testing.T, k *keyed) {
		k.batches(1000, 4000, 5)
		k.die(2, 3)
		k.batch(5000, 5, 6)
		if k.restored() == 0 {
			t.Error("no launch restored state from the checkpoint")
		}
	})
}

func TestExecutorThatDiesWhileItAdvancesStateIsReplaced(t *testing.T) { // rule 8
	runKeyed(t, &states{parts: 3, outputs: []id.Stream{seldom}}, func(t *testing.T, k *keyed) {
		k.on = func(_ context.Context, to job.Peer, l *job.Launch, _ int) *job.TaskError {
			if to.Session == 2 && l.Kind == job.StateTasks {
				return &job.TaskError{Text: "connection refused"}
			}
			return nil
		}
		k.batch(1000, 5, 6)
		k.batch(2000, 5, 6)
	})
}

func TestUserErrorInUnreadStateFailsTheBatchAfterFourTries(t *testing.T) {
	runKeyed(t, &states{parts: 2, outputs: []id.Stream{seldom}}, func(t *testing.T, k *keyed) {
		tries := 0
		k.on = func(_ context.Context, _ job.Peer, l *job.Launch, part int) *job.TaskError {
			if l.Kind == job.StateTasks && part == 1 {
				tries++
				return &job.TaskError{Fault: job.UserFault, Text: "boom"}
			}
			return nil
		}
		k.Order(k.order(1000, 5, 6))
		rest(10 * time.Second)
		expect(t, "reports", k.said(), []string{"1000/6!"})
		if e := k.reports[0].Error; tries != 4 || !strings.Contains(e, "state of stream 2 at 1000, partition 1 failed 4 times") {
			t.Errorf("%d tries: %s", tries, e)
		}
	})
}

// What a batch gives up it gives up before anything is computed, also where no output but only state reads it.
func TestAcceptedLossIsAboutUnreadStateToo(t *testing.T) { // rule 8
	runKeyed(t, &states{parts: 1, outputs: []id.Stream{seldom}}, func(t *testing.T, k *keyed) {
		k.stores = map[id.Time][]id.Store{1000: {"s9"}}
		b := k.order(1000, 5, 6)
		b.AcceptLoss = true
		k.Order(b)
		rest(time.Minute)
		expect(t, "reports", k.said(), []string{"1000/6"})
		if r := k.reports[0]; r.Lost != 10 {
			t.Errorf("report is %+v, expected 10 records lost", r)
		}
	})
}
