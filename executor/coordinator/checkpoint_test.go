package coordinator_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

func checkpointed() *states { return &states{parts: 3, every: 2000, outputs: []id.Stream{first}} }

// told lists the reported checkpoints as time:full, or time:since.
func (k *keyed) told() (all []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.reported {
		from := "full"
		if !r.Full {
			from = fmt.Sprint(r.Since)
		}
		all = append(all, fmt.Sprintf("%d:%s", r.Version.Time, from))
	}
	return all
}

// batches runs batches of one office up to a time, with that of the batch in seconds for an attempt.
func (k *keyed) batches(from, to id.Time, in id.Office) {
	k.t.Helper()
	for at := from; at <= to; at += 1000 {
		k.batch(at, in, id.Attempt(at))
	}
}

// Rule 7: an image first, then changes, until they have grown to half of the image.
func TestCheckpointsAreChangesUntilTheyAreMany(t *testing.T) {
	runKeyed(t, checkpointed(), func(t *testing.T, k *keyed) {
		k.batches(1000, 14000, 5)
		// An image of n batches has n hundred bytes a partition, changes have two hundred.
		expect(t, "checkpoints", k.told(), []string{"2000:full", "4000:2000", "6000:full", "8000:6000", "10000:8000", "12000:full", "14000:12000"})
		r := k.reported[0]
		if r.Authority.Office != 5 || r.Version.Attempt != 2000 || len(r.Pieces) != 3 || r.Pieces[2].Part != 2 {
			t.Errorf("report is %+v", r)
		}
		l := k.launches[slices.IndexFunc(k.launches, func(l *job.Launch) bool { return l.Kind == job.CheckpointTasks })]
		if l.Time != 2000 || l.Dataset.Stream != first || l.States[0].Base != (job.Version{Time: 2000, Attempt: 2000}) || len(l.Checkpoint.Numbers) != len(l.Parts) {
			t.Errorf("launch is %+v", l)
		}
	})
}

func TestChainOfCheckpointsIsBounded(t *testing.T) { // rule 7
	runKeyed(t, &states{parts: 1, every: 1000, outputs: []id.Stream{first}}, func(t *testing.T, k *keyed) {
		k.image = 1 << 40 // changes are never many against such an image
		k.checkpoint = job.Checkpoint{Time: 1000, Attempt: 6}
		k.batch(1000, 5, 6)
		k.batches(2000, 30_000, 5)
		all := k.told()
		full := slices.IndexFunc(all, func(s string) bool { return strings.HasSuffix(s, ":full") })
		if full != 20 {
			t.Errorf("image %d is the first of %v, expected 20 links before it", full, all)
		}
	})
}

// A state whose holders died is restored from the committed checkpoint, and computed again from there only.
func TestStateIsRestoredFromTheCheckpoint(t *testing.T) { // rules 7 and 8
	runKeyed(t, checkpointed(), func(t *testing.T, k *keyed) {
		k.batches(1000, 5000, 5) // images of 2000, changes of 4000
		for at := id.Time(1000); at <= 4000; at += 1000 {
			delete(k.won, at) // no driver tells these any more
		}
		k.won = map[id.Time]id.Attempt{5000: 5000}
		k.die(2)
		n := len(k.sent())
		k.Order(k.order(6000, 5, 6000))
		rest(time.Second)
		sent := k.since(n)
		if slices.Contains(sent, "map@4000:e1:0") || !slices.Contains(sent, "state@5000:e3:1") {
			t.Errorf("launches are %v, expected the batch after the checkpoint alone to be computed again", sent)
		}
		for at := id.Time(1000); at <= 5000; at += 1000 {
			k.won[at] = id.Attempt(at)
		}
		k.verify(6000)
	})
}

// All executors of the state die right after a checkpoint: the chain is all there is, and it is enough.
func TestStateIsRestoredFromTheChainAlone(t *testing.T) { // rule 7
	runKeyed(t, checkpointed(), func(t *testing.T, k *keyed) {
		k.batches(1000, 4000, 5)
		if err := k.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.renew()
		k.tell(4, 5)
		k.die(1, 2, 3)
		n := len(k.sent())
		k.batch(5000, 9, 10)
		expect(t, "launches", k.since(n)[1:], []string{"out:e4:0 2", "out:e5:1"})
		k.batch(6000, 9, 11)
		if got := k.told(); got[len(got)-1] != "6000:full" && got[len(got)-1] != "6000:4000" {
			t.Errorf("checkpoints are %v, expected the new coordinator to go on with the chain", got)
		}
	})
}

func TestRefusedCheckpointIsForgottenUntilTheNextIsDue(t *testing.T) {
	runKeyed(t, checkpointed(), func(t *testing.T, k *keyed) {
		k.refuse = func(r *job.CheckpointReport) string {
			if r.Version.Time == 4000 {
				return "no"
			}
			return ""
		}
		k.batches(1000, 7000, 5)
		expect(t, "checkpoints", k.told(), []string{"2000:full", "4000:2000", "6000:full"})
	})
}

// A checkpoint that fails holds up nothing: it is tried again after the next batch, as an image after two failures.
func TestFailedCheckpointIsTriedAgain(t *testing.T) {
	runKeyed(t, checkpointed(), func(t *testing.T, k *keyed) {
		failures := 2
		k.on = func(_ context.Context, _ job.Peer, l *job.Launch, part int) *job.TaskError {
			if l.Kind == job.CheckpointTasks && part == 0 && l.Time >= 4000 && failures > 0 {
				failures--
				return &job.TaskError{Fault: job.LostFault, Text: "disk is full"}
			}
			return nil
		}
		start := time.Now()
		k.batches(1000, 8000, 5)
		if took := time.Since(start); took > time.Second {
			t.Errorf("the batches took %v", took)
		}
		expect(t, "checkpoints", k.told(), []string{"2000:full", "7000:full"})
	})
}

func TestCheckpointIsPutOffWhileAHolderIsGone(t *testing.T) {
	runKeyed(t, checkpointed(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.reply = func(r *job.BatchReport) (job.Reply, error) {
			k.won[r.Time] = r.Authority.Attempt
			if r.Time == 2000 { // it dies when the batch is done
				k.table = &job.Peers{Index: 500, Peers: k.table.Peers[:2]}
			}
			return job.Reply{Outcome: job.Done}, nil
		}
		k.batch(2000, 5, 7)
		expect(t, "checkpoints", k.told(), nil)
		k.batch(3000, 5, 8)
		expect(t, "checkpoints", k.told(), []string{"3000:full"})
	})
}

// An executor that hangs with its pieces does not hold up the application for ever.
func TestHangingCheckpointIsGivenUp(t *testing.T) {
	runKeyed(t, checkpointed(), func(t *testing.T, k *keyed) {
		k.on = func(ctx context.Context, _ job.Peer, l *job.Launch, _ int) *job.TaskError {
			if l.Kind == job.CheckpointTasks {
				<-ctx.Done()
				return &job.TaskError{Text: context.Cause(ctx).Error()}
			}
			return nil
		}
		k.batches(1000, 2000, 5)
		k.Completed(7, 2000) // does not end it
		rest(time.Second)
		if st := k.Status(); len(st) != 1 || !strings.Contains(st[0].Stage, "checkpoint of state of stream 1, 3 partitions") {
			t.Errorf("status is %+v", st)
		}
		k.Order(k.order(3000, 5, 3000))
		rest(time.Minute)
		expect(t, "reports", k.said(), []string{"1000/1000", "2000/2000", "3000/3000"})
	})
}

func TestCheckpointEndsWithItsOffice(t *testing.T) { // rule 1
	runKeyed(t, checkpointed(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		open := k.office.held()
		k.Order(k.order(2000, 5, 7))
		rest(0)
		inner := k.on
		k.mu.Lock()
		k.on = func(ctx context.Context, to job.Peer, l *job.Launch, part int) *job.TaskError {
			if l.Kind == job.CheckpointTasks {
				<-ctx.Done()
				return &job.TaskError{Text: context.Cause(ctx).Error()}
			}
			return inner(ctx, to, l, part)
		}
		k.mu.Unlock()
		close(open)
		rest(0)
		k.batch(3000, 9, 10) // a newer office of this executor
		expect(t, "checkpoints", k.told(), nil)
	})
}

// The answer to a report may come after the news that its batch is completed: it was this run.
func TestCompletionIsNoEndOfAReport(t *testing.T) {
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		reply := k.reply
		k.reply = func(r *job.BatchReport) (job.Reply, error) {
			k.mu.Unlock()
			k.Completed(7, r.Time)
			k.mu.Lock()
			return reply(r)
		}
		k.Order(k.order(1000, 5, 6))
		b := k.order(2000, 5, 6)
		k.Order(b)
		rest(0)
		expect(t, "reports", k.said(), []string{"1000/6", "2000/6"})
		if k.recalled != 0 {
			t.Errorf("%d histories were asked for", k.recalled)
		}
	})
}

// Executors that join get state: after a checkpoint partitions move to who has at least two fewer, restored from it.
func TestPartitionsMoveToAnExecutorThatJoined(t *testing.T) {
	runKeyed(t, &states{parts: 6, every: 2000, outputs: []id.Stream{first}}, func(t *testing.T, k *keyed) {
		k.tell(1, 2)
		k.batch(1000, 5, 6)
		k.tell(1, 2, 3)
		k.batch(2000, 5, 7)
		n := len(k.sent())
		k.batch(3000, 5, 8)
		expect(t, "launches", k.since(n), []string{"map:e1:0", "out:e1:0 2", "out:e2:1 3", "out:e3:4 5"})
		n = len(k.sent())
		k.batch(4000, 5, 9) // and stay there
		k.batch(5000, 5, 10)
		expect(t, "launches", k.since(n)[4:], []string{
			"checkpoint:e1:0 2", "checkpoint:e2:1 3", "checkpoint:e3:4 5", "map:e1:0", "out:e1:0 2", "out:e2:1 3", "out:e3:4 5",
		})
	})
}

// A partition that cannot be restored where it was to move stays where it is.
func TestMoveThatFailsIsForgotten(t *testing.T) { // rule 8
	runKeyed(t, &states{parts: 4, every: 2000, outputs: []id.Stream{first}}, func(t *testing.T, k *keyed) {
		k.tell(1)
		k.batch(1000, 5, 6)
		k.tell(1, 3)
		k.batch(2000, 5, 7)
		k.on = func(_ context.Context, to job.Peer, l *job.Launch, _ int) *job.TaskError {
			if to.Session == 3 && len(l.States) > 0 && len(l.States[0].Chain) > 0 {
				return &job.TaskError{Fault: job.MissingFault, Text: "no holder of the piece answers"}
			}
			return nil
		}
		k.batch(3000, 5, 8)
		if sent := k.sent(); sent[len(sent)-1] != "out:e1:2 3" {
			t.Errorf("launches are %v, expected the last ones where the state is", sent)
		}
	})
}
