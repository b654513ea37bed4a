package coordinator_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// restored counts the launches that restore state from the checkpoint.
func (k *keyed) restored() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.launches {
		if slices.ContainsFunc(l.States, func(b job.StateBase) bool { return len(b.Chain) > 0 }) {
			n++
		}
	}
	return n
}

// Partitions that one task reads move together, and only if that makes the executors more equal: else they would go to
// and fro with every checkpoint.
func TestPartitionsComeToRest(t *testing.T) {
	for name, outputs := range map[string][]id.Stream{
		"two states in one task":             {both},
		"also read on their own, first":      {first, both},
		"also read on their own, the second": {other, both},
		"never together":                     {first, other},
		"one over the other":                 {second},
	} {
		for _, parts := range []int{2, 3, 5} {
			t.Run(name, func(t *testing.T) {
				runKeyed(t, &states{parts: parts, every: 2000, outputs: outputs}, func(t *testing.T, k *keyed) {
					k.tell(1, 2)
					k.batches(1000, 3000, 5)
					k.tell(1, 2, 3)
					k.batches(4000, 7000, 5)
					moved, said := k.restored(), strings.Count(k.log.String(), "a partition of keyed state moves")
					k.batches(8000, 16000, 5)
					if n := k.restored(); n != moved {
						t.Errorf("%d partitions: %d launches restored state while nothing changed, %d before", parts, n-moved, moved)
					}
					if n := strings.Count(k.log.String(), "a partition of keyed state moves"); n != said {
						t.Errorf("%d partitions: %d moves are told while nothing changed", parts, n-said)
					}
				})
			})
		}
	}
}

// A checkpoint that takes long and fails must not take the application's time over and over.
func TestFailingCheckpointsLeaveMostOfTheTimeToBatches(t *testing.T) {
	runKeyed(t, checkpointed(), func(t *testing.T, k *keyed) {
		var held time.Duration
		k.on = func(ctx context.Context, to job.Peer, l *job.Launch, _ int) *job.TaskError {
			if l.Kind != job.CheckpointTasks {
				return nil
			}
			began := time.Now()
			<-ctx.Done()
			if to.Session == 1 {
				held += time.Since(began)
			}
			return &job.TaskError{Text: context.Cause(ctx).Error()}
		}
		start := time.Now()
		for at := id.Time(1000); at <= 300_000; at += 1000 {
			due := start.Add(time.Duration(at) * time.Millisecond)
			rest(max(time.Until(due), 0))
			k.Order(k.order(at, 5, id.Attempt(at)))
			rest(0)
		}
		if all := time.Since(start); held == 0 || held > all/3 {
			t.Errorf("checkpoints that failed took %v of %v", held, all)
		}
	})
}

// An executor that answers that it has no room for buckets is there, and so is its state.
func TestExecutorWithoutRoomKeepsItsState(t *testing.T) { // rule 8
	runKeyed(t, &states{parts: 3, outputs: []id.Stream{second}}, func(t *testing.T, k *keyed) {
		k.batches(1000, 2000, 5)
		full := time.Now().Add(20 * time.Second) // while another application's older batch runs
		k.on = func(_ context.Context, to job.Peer, l *job.Launch, _ int) *job.TaskError {
			if to.Session == 2 && l.Kind == job.MapTasks && len(l.States) > 0 && time.Now().Before(full) {
				return &job.TaskError{Fault: job.LostFault, Text: "buckets are over the limit"}
			}
			return nil
		}
		k.Order(k.order(3000, 5, 3000))
		rest(time.Minute)
		k.verify(3000)
		for _, sent := range k.sent() {
			if strings.Contains(sent, "state@") {
				t.Fatalf("launches are %v, expected no state to be made again", k.sent())
			}
		}
	})
}
