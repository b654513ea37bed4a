package coordinator_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// minWait is a while in which a batch that waits looks again.
const minWait = 100 * time.Millisecond

func counting() *states { return &states{parts: 3, outputs: []id.Stream{first}} }

// Rule 7: the first batch goes on from nothing, the next from what the one before left, where it was left.
func TestStateGoesOnWhereItIs(t *testing.T) {
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.batch(2000, 5, 7)
		expect(t, "launches", sorted(k.sent()), []string{
			"map:e1:0", "out:e1:0", "out:e2:1", "out:e3:2",
			"map:e1:0", "out:e1:0", "out:e2:1", "out:e3:2",
		})
		l := k.launches[len(k.launches)-1]
		want := job.StateBase{Stream: first, Base: job.Version{Time: 1000, Attempt: 6}, Makes: job.Version{Time: 2000, Attempt: 7}}
		if len(l.States) != 1 || l.States[0].Base != want.Base || l.States[0].Makes != want.Makes || l.States[0].Chain != nil {
			t.Errorf("states are %+v, expected %+v", l.States, want)
		}
		if k.recalled != 0 || len(k.asked) != 0 {
			t.Errorf("%d histories and states of %v were asked for, expected none", k.recalled, k.asked)
		}
	})
}

// An order that was sent ahead does not name its base: this coordinator completed it itself.
func TestOrderSentAheadGoesOnFromWhatWasCompletedHere(t *testing.T) { // rule 7
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		a, b := k.order(1000, 5, 6), k.order(2000, 5, 6)
		k.Order(a)
		k.Order(b)
		rest(0)
		expect(t, "reports", k.said(), []string{"1000/6", "2000/6"})
		k.verify(2000)
		if k.recalled != 0 {
			t.Errorf("%d histories were asked for, expected none", k.recalled)
		}
	})
}

func TestLaunchesCarryWhatTheirLineageReads(t *testing.T) {
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		b := k.order(1000, 5, 6)
		b.Inputs = append(b.Inputs, order(0, 1, 1, "s1", "s2").Inputs...) // remembered, and not read
		k.Order(b)
		rest(0)
		for i, l := range k.launches {
			if len(l.Inputs) != 1 || l.Inputs[0].Time != 1000 || l.Root.Stream != first || l.Root.Time != 1000 {
				t.Errorf("launch %d has inputs %v and root %v", i, l.Inputs, l.Root)
			}
		}
	})
}

// Nothing is computed twice when two outputs of a batch read the same state: the second goes where it was made.
func TestSecondOutputReadsStateWhereTheFirstMadeIt(t *testing.T) {
	runKeyed(t, &states{parts: 2, outputs: []id.Stream{first, first}}, func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.tell(1, 2, 3, 4) // partitions would be spread in another way now
		k.batch(2000, 5, 7)
		expect(t, "launches", k.since(5), []string{"map:e1:0", "out:e1:0", "out:e1:0", "out:e2:1", "out:e2:1"})
	})
}

func TestStateIsComputedAgainFromZeroWhenItsHolderDies(t *testing.T) { // rules 7 and 8
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		for n := range id.Time(3) {
			k.batch(1000*(n+1), 5, id.Attempt(6+n))
		}
		k.die(2)
		n := len(k.sent())
		k.batch(4000, 5, 9)
		expect(t, "launches", k.since(n), []string{
			"map:e1:0",
			"map@1000:e1:0", "state@1000:e3:1", "map@2000:e1:0", "state@2000:e3:1", "map@3000:e1:0", "state@3000:e3:1",
			"out:e1:0", "out:e3:1 2",
		})
		if k.recalled != 1 {
			t.Errorf("%d histories were asked for, expected 1", k.recalled)
		}
		for _, l := range k.launches[n:] {
			if l.Authority.Attempt != 9 || l.Time != 4000 || l.Root.Time < 4000 && l.Output != -1 {
				t.Errorf("launch of %v under %+v for batch %d, output %d", l.Root, l.Authority, l.Time, l.Output)
			}
		}
		if tries := k.reports[3].Tries; tries != 1 {
			t.Errorf("%d tries, expected 1", tries)
		}
	})
}

func TestStateIsComputedAgainFromAVersionInTheMiddle(t *testing.T) { // rule 7
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.batch(2000, 5, 7)
		older := k.held[2]
		k.die(2)
		k.batch(3000, 5, 8)
		k.die(3)
		k.held[2] = older // it comes back with what it had at 2000
		k.tell(1, 2)
		n := len(k.sent())
		k.batch(4000, 5, 9)
		sent := k.since(n)
		if !slices.Contains(sent, "state@3000:e2:1") || slices.Contains(sent, "state@1000:e2:1") || slices.Contains(sent, "state@2000:e2:1") {
			t.Errorf("launches are %v, expected partition 1 to go on from 2000 on e2", sent)
		}
	})
}

func TestStateOverStateIsComputedAgain(t *testing.T) { // rule 7
	runKeyed(t, &states{parts: 2, outputs: []id.Stream{second}}, func(t *testing.T, k *keyed) {
		for n := range id.Time(3) {
			k.batch(1000*(n+1), 5, 6)
		}
		k.die(2)
		k.batch(4000, 5, 7)
		k.die(1, 3)
		k.tell(4)
		k.batch(5000, 9, 10)
	})
}

// The executor that holds the first of two states runs the partition; the other state is made there.
func TestTwoStatesInOneTask(t *testing.T) { // rule 7
	runKeyed(t, &states{parts: 2, outputs: []id.Stream{first, other, both}}, func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.mu.Lock()
		for h, rows := range k.held[1] { // the second state of partition 0 is on another executor than the first
			if h.Stream == other {
				k.held[3] = map[job.Held][]job.Version{h: rows}
				delete(k.held[1], h)
			}
		}
		k.mu.Unlock()
		n := len(k.sent())
		k.batch(2000, 5, 7)
		for i, l := range k.launches[n:] {
			if l.Output == 2 && l.Kind == job.OutputTasks && slices.Contains(l.Parts, 0) && k.on2[n+i] == "e3" {
				t.Errorf("partition 0 of the third output ran on e3, expected it where the first state is: %v", k.since(n))
			}
		}
	})
}

func TestNewCoordinatorAsksWhoHoldsState(t *testing.T) {
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.batch(2000, 5, 7)
		if err := k.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.renew()
		n := len(k.sent())
		k.batch(3000, 9, 10)
		k.batch(4000, 9, 11)
		expect(t, "launches", k.since(n), []string{
			"map:e1:0", "out:e1:0", "out:e2:1", "out:e3:2", "map:e1:0", "out:e1:0", "out:e2:1", "out:e3:2",
		})
		if slices.Sort(k.asked); !slices.Equal(k.asked, []id.Session{1, 2, 3}) {
			t.Errorf("states of %v were asked for, expected each executor's once", k.asked)
		}
	})
}

// Rule 8: an executor that does not have what it was said to have is no try. It is asked again, and what is missing is made.
func TestStateFaultIsNoTry(t *testing.T) {
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.batch(2000, 5, 7)
		k.mu.Lock()
		for h := range k.held[2] {
			delete(k.held[2], h) // it gave its tables up
		}
		k.mu.Unlock()
		k.batch(3000, 5, 8)
		if r := k.reports[2]; r.Tries != 1 || r.Error != "" {
			t.Errorf("report is %+v", r)
		}
		if slices.Sort(k.asked); !slices.Equal(k.asked, []id.Session{1, 2, 3}) {
			t.Errorf("states of %v were asked for, expected each executor's once", k.asked)
		}
	})
}

// An executor that says that it holds what it does not give is not believed for ever.
func TestLiarAboutStateIsNotBelieved(t *testing.T) {
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.batch(2000, 5, 7)
		k.on = func(_ context.Context, to job.Peer, l *job.Launch, part int) *job.TaskError {
			if to.Session == 2 && part == 1 && l.Kind == job.OutputTasks && l.States[0].Base.Time == 2000 && !slices.Contains(k.stateTasks(), "e2") {
				return &job.TaskError{Fault: job.StateFault, Stream: first, Part: 1, Text: "given up"}
			}
			return nil
		}
		k.batch(3000, 5, 8)
	})
}

// stateTasks lists the executors that computed state again.
func (k *keyed) stateTasks() (all []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, l := range k.launches {
		if l.Kind == job.StateTasks {
			all = append(all, k.on2[i])
		}
	}
	return all
}

// The executor that computes state again dies at it: another one begins anew.
func TestDeathDuringTheReplay(t *testing.T) { // rules 7 and 8
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		for n := range id.Time(3) {
			k.batch(1000*(n+1), 5, 6)
		}
		k.die(2)
		dead := false
		k.on = func(_ context.Context, to job.Peer, l *job.Launch, _ int) *job.TaskError {
			if l.Kind == job.StateTasks && l.Root.Time == 2000 && !dead {
				dead = true
				k.die(to.Session)
				return &job.TaskError{Text: "connection reset"}
			}
			return nil
		}
		k.batch(4000, 5, 9)
		if !dead {
			t.Error("nothing was computed again")
		}
	})
}

func TestReplayIsVisible(t *testing.T) { // rule 8
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.batch(2000, 5, 6)
		k.die(2, 3)
		k.on = func(_ context.Context, _ job.Peer, l *job.Launch, _ int) *job.TaskError {
			if l.Kind == job.StateTasks {
				st := k.Status()
				if len(st) != 1 || !strings.Contains(st[0].Waiting, "state of 2 partitions of stream 1 is computed again from batches 1000 to 2000") {
					t.Errorf("status is %+v", st)
				}
			}
			return nil
		}
		k.batch(3000, 5, 7)
	})
}

// An executor that keeps its session and does not answer is waited for, but not for ever.
func TestSilentHolderOfStateIsReplaced(t *testing.T) { // rule 8
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.on = func(_ context.Context, to job.Peer, _ *job.Launch, _ int) *job.TaskError {
			if to.Session == 2 {
				return &job.TaskError{Text: "connection refused"}
			}
			return nil
		}
		start := time.Now()
		k.batch(2000, 5, 7)
		if took := time.Since(start); took < 3*time.Second || took > 10*time.Second {
			t.Errorf("the batch took %v, expected it to wait for a session to end, and no longer", took)
		}
	})
}

// A batch whose base is not completed waits, and an order for the earlier batch goes first.
func TestBatchWaitsForTheBatchBeforeIt(t *testing.T) { // rule 7
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.Order(k.order(2000, 5, 6))
		rest(3 * time.Second)
		if st := k.Status(); len(st) != 1 || !strings.Contains(st[0].Waiting, "batch 1000 is not known to be completed") {
			t.Errorf("status is %+v", st)
		}
		k.Order(k.order(1000, 5, 6))
		rest(3 * time.Second)
		expect(t, "reports", k.said(), []string{"1000/6", "2000/6"})
		k.verify(2000)
	})
}

// A new attempt goes on from the same base; what the old one left is of no account.
func TestNewAttemptGoesOnFromTheSameBase(t *testing.T) { // rules 6 and 7
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		open := k.office.held()
		k.Order(k.order(2000, 5, 7))
		rest(0)
		k.Order(k.order(2000, 5, 8))
		close(open)
		rest(time.Second)
		expect(t, "reports", k.said(), []string{"1000/6", "2000/8"})
		k.batch(3000, 5, 9)
	})
}

// Buckets that get lost while state is computed again are made again; the state that was computed before is not.
func TestBucketsLostInTheReplayAreMadeAgain(t *testing.T) { // rule 8
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.batch(2000, 5, 7)
		k.die(2)
		faults := 2
		k.on = func(_ context.Context, _ job.Peer, l *job.Launch, _ int) *job.TaskError {
			if l.Kind == job.StateTasks && l.Root.Time == 2000 && faults > 0 {
				faults--
				m := l.MapOutputs[0]
				return &job.TaskError{Fault: job.FetchFault, Text: "gone", Shuffle: m.Shuffle, MapParts: []int{0}, Holder: m.Holders[0]}
			}
			return nil
		}
		n := len(k.sent())
		k.batch(3000, 5, 8)
		expect(t, "launches", k.since(n)[1:8], []string{
			"map@1000:e1:0", "state@1000:e3:1", "map@2000:e1:0", "state@2000:e3:1", "map@2000:e1:0", "state@2000:e3:1", "map@2000:e1:0",
		})
	})
}

// A replay whose input is away waits, asks for the history again, and finds the block where it is now.
func TestReplayWaitsForItsInput(t *testing.T) { // rule 8
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.die(2)
		k.on = func(_ context.Context, _ job.Peer, l *job.Launch, _ int) *job.TaskError {
			if l.Kind == job.MapTasks && l.Root.Time == 1000 && k.recalled < 4 {
				return &job.TaskError{Fault: job.MissingFault, Text: "no holder answers"}
			}
			return nil
		}
		k.batch(2000, 5, 7)
		if r := k.reports[1]; r.Tries != 1 || k.recalled != 4 {
			t.Errorf("report is %+v after %d histories", r, k.recalled)
		}
	})
}

func TestReplayThatUserCodeFailsInFailsTheBatch(t *testing.T) {
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.die(2)
		k.on = func(_ context.Context, _ job.Peer, l *job.Launch, _ int) *job.TaskError {
			if l.Kind == job.StateTasks {
				return &job.TaskError{Fault: job.UserFault, Text: "boom"}
			}
			return nil
		}
		k.Order(k.order(2000, 5, 7))
		rest(time.Minute)
		if r := k.reports[1]; r.Tries != 4 || !strings.Contains(r.Error, "state of stream 1 at 1000, partition 1 failed 4 times") {
			t.Errorf("report is %+v", r)
		}
	})
}

// What won batches long ago is not remembered here for ever: the history has it.
func TestManyBatches(t *testing.T) {
	runKeyed(t, &states{parts: 1, outputs: []id.Stream{first}}, func(t *testing.T, k *keyed) {
		for at := id.Time(1000); at <= 200_000; at += 1000 {
			k.batch(at, 5, 6)
		}
		k.die(1, 2)
		k.batch(201_000, 5, 7)
	})
}

func TestPartsOfDirectStreamsAreSpread(t *testing.T) {
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		b := k.order(1000, 5, 6)
		b.Inputs = []job.Input{{Stream: source, Time: 1000, Parts: []connector.Part{{Records: 1}, {Records: 2}, {Records: 3}, {Records: 4}}}}
		k.Order(b)
		rest(0)
		expect(t, "launches", k.since(0)[:3], []string{"map:e1:0 3", "map:e2:1", "map:e3:2"})
		if r := k.reports[0]; r.Records != 10 {
			t.Errorf("%d records, expected 10", r.Records)
		}
	})
}

// With AcceptLoss also the inputs of batches that are computed again are read without what nobody holds; what was left
// out is reported, so that whoever computes them again leaves it out too.
func TestAcceptedLossReachesTheReplay(t *testing.T) { // rule 8
	runKeyed(t, counting(), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.die(2)
		k.stores = map[id.Time][]id.Store{1000: {"gone"}}
		b := k.order(2000, 5, 10)
		b.AcceptLoss = true
		k.Order(b)
		rest(time.Minute)
		expect(t, "reports", k.said(), []string{"1000/6", "2000/10"})
		lost := []id.Block{{App: 7, Instance: 1000, Number: 1}}
		if r := k.reports[1]; r.Lost != 0 || !slices.Equal(r.LostBlocks, lost) {
			t.Errorf("report is %+v, expected the block of the earlier batch as lost and no record of this one", r)
		}
		if !slices.Contains(k.stateTasks(), "e3") {
			t.Errorf("launches are %v", k.sent())
		}
	})
}
