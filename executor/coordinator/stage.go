package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// suspicion is how long an executor that did not answer gets no tasks while others can take them.
const suspicion = time.Second

// suspect is an executor that did not answer, or not another one.
type suspect struct {
	until time.Time // it gets no tasks while others can take them
	cut   time.Time // what it holds does not count
}

// errFenced says that an executor knows a newer authority: whoever has it runs the batch now.
var errFenced = errors.New("an executor knows a newer authority")

// stageKey names a stage within a batch.
type stageKey struct {
	kind    job.Kind
	shuffle dataset.ShuffleID // MapTasks
	output  int               // OutputTasks, CollectTasks
	job     int               // CollectTasks: of the output's jobs
	state   dataset.ID        // StateTasks
}

// progress is what is known of a stage over all its runs.
type progress struct {
	rounds int
	faults map[int]int // user errors by partition
	missed map[int]int // times that no holder of a partition's blocks answered
}

// stage is one run of partitions of one dataset.
type stage struct {
	*tree
	key     stageKey
	name    string
	of      dataset.Dataset    // whose partitions are computed
	shuffle dataset.Shuffle    // MapTasks
	pins    map[int]id.Session // StateTasks: where partitions run
	query   *dataset.Query     // CollectTasks
	room    *int64             // CollectTasks: bytes that their answers may still have, all together
	alone   bool               // CollectTasks: one executor at a time answers
	done    func(job.TaskResult, job.Peer)
	states  []*stateful // that its tasks go on from

	*progress
	reads    []job.MapOutput
	waiting  string // why the last round did not end the stage
	advanced bool   // it ended some tasks
	patient  bool   // what it did not end has to wait, and not just to go elsewhere
}

// run runs the partitions in rounds: each sends one launch per executor; what did not end well goes into the next.
func (s *stage) run(ctx context.Context, pending []int) error {
	if s.progress = s.stages[s.key]; s.progress == nil {
		s.progress = &progress{faults: map[int]int{}, missed: map[int]int{}}
		s.stages[s.key] = s.progress
	}
	s.reads = s.mapOutputs()
	s.states = nil
	if err := s.findStates(ctx); err != nil {
		return err
	}
	delay := minDelay
	for len(pending) > 0 {
		s.refresh()
		s.show("%s, %d tasks to go", s.name, len(pending))
		peers, _ := s.usable()
		if len(peers) == 0 {
			s.waiting, s.advanced, s.patient = fmt.Sprintf("no executor of build %q has an open session", s.cfg.Build), false, true
		} else {
			s.rounds++
			shares, err := s.assign(ctx, pending, peers)
			if err != nil {
				return err
			}
			now, later := s.turns(shares)
			if pending, err = s.round(ctx, now); err != nil {
				return err
			}
			pending = append(pending, later...)
		}
		if len(pending) == 0 {
			return nil
		}
		if s.advanced {
			s.blocked("")
			delay = minDelay
		}
		if _, others := s.usable(); others && !s.patient {
			continue // each such round brings an executor under suspicion: there are no more than executors
		}
		if err := s.wait(ctx, s.waiting, delay); err != nil {
			return err
		}
		delay = min(delay*2, maxDelay)
		if s.earlier() { // its blocks are not in the order: where they are now is in the history
			s.past = nil
			if _, err := s.recall(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// turns gives the shares of a round, and the partitions of those that wait for a later one. Answers of an action come to
// the memory here: executors share the room that is left for them, and when that is too little for one of them, each gets
// all of it in its turn.
func (s *stage) turns(shares []*share) (now []*share, later []int) {
	if !s.alone {
		return shares, nil
	}
	for _, x := range shares[1:] {
		later = append(later, x.parts...)
	}
	return shares[:1], later
}

// collects gives the collect order of a launch, one of several of its round.
func (s *stage) collects(launches int) *job.CollectOrder {
	if s.query == nil {
		return nil
	}
	return &job.CollectOrder{Count: s.query.Count, Limit: s.query.Limit, Bytes: max(*s.room, 0) / int64(launches)}
}

// usable lists the executors of this build that are not under suspicion, or all of them if there is no other.
func (s *stage) usable() (peers []job.Peer, trusted bool) {
	table, _ := s.cfg.Peers()
	var all []job.Peer
	for _, p := range table.Peers {
		if p.Build != s.cfg.Build {
			continue
		}
		all = append(all, p)
		if !s.suspected(p.Session) {
			peers = append(peers, p)
		}
	}
	if len(peers) > 0 {
		return peers, true
	}
	return all, false
}

// suspect notes that an executor did not answer, or not another one. All batches share it, so that each does not find
// out by itself.
func (c *Coordinator) suspect(p id.Session, lasts time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(c.suspects, func(_ id.Session, s suspect) bool { return now.After(s.until) })
	s := c.suspects[p]
	if until := now.Add(lasts); until.After(s.until) {
		s.until = until
	}
	c.suspects[p] = s
}

// cutOff notes that an executor is not reached for longer: it gets no tasks for a while, and what it holds is made
// elsewhere.
func (c *Coordinator) cutOff(p id.Session) {
	c.suspect(p, detour)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.suspects[p]
	s.cut = s.until
	c.suspects[p] = s
}

func (c *Coordinator) suspected(p id.Session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !time.Now().After(c.suspects[p].until)
}

// share is the part of a round that goes to one executor.
type share struct {
	peer  job.Peer
	parts []int
	// restore has, by index of stage.states, the partitions that the executor restores from the checkpoint.
	restore [][]int
	result  *job.LaunchResult
	err     error
	all     bool // it has all the room that there is for answers
}

// round launches the shares side by side and sorts the results. It returns the partitions for the next round.
func (s *stage) round(ctx context.Context, shares []*share) (again []int, err error) {
	launches := make([]*job.Launch, len(shares))
	for i, x := range shares {
		launches[i] = s.launch(x)
		x.all = len(shares) == 1
		launches[i].Collect = s.collects(len(shares))
	}
	s.launchAll(ctx, shares, launches)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.advanced, s.patient, s.waiting = false, false, ""
	var lost *lostWork
	for _, x := range shares {
		for i, part := range x.parts {
			res := job.TaskResult{Part: part, Err: &job.TaskError{Fault: job.LostFault}}
			if x.err != nil {
				res.Err.Text = x.err.Error()
			} else {
				res = x.result.Tasks[i]
			}
			if res.Err == nil {
				s.keptState(part, x.peer.Session)
				s.done(res, x.peer)
				s.advanced = true
				continue
			}
			again = append(again, part)
			switch res.Err.Fault {
			case job.LostFault, job.StateFault, job.SizeFault:
			default:
				s.patient = true
			}
			if e := s.fault(x, res); err == nil && !errors.As(e, &lost) {
				err = e
			}
		}
	}
	if err == nil && lost != nil {
		err = lost
	}
	return again, err
}

// launchAll sends one launch per share and waits for all. A launch ends early when the session of its executor does:
// silence is not waited for (rule 3).
func (c *Coordinator) launchAll(ctx context.Context, shares []*share, what []*job.Launch) {
	var running sync.WaitGroup
	over, stop := context.WithCancel(ctx)
	var launches sync.WaitGroup
	cancels := map[id.Session]context.CancelCauseFunc{}
	for i, x := range shares {
		ctx, cancel := context.WithCancelCause(ctx)
		cancels[x.peer.Session] = cancel
		launches.Go(func() {
			defer cancel(nil)
			x.result, x.err = c.cfg.Executors.Launch(ctx, x.peer, what[i])
			if ctx.Err() != nil {
				x.err = context.Cause(ctx)
			}
			if x.err == nil {
				x.err = fits(x)
			}
		})
	}
	running.Go(func() { c.watch(over, cancels) })
	launches.Wait()
	stop()
	running.Wait()
}

// watch cancels the launches of executors whose sessions leave the table.
func (c *Coordinator) watch(ctx context.Context, cancels map[id.Session]context.CancelCauseFunc) {
	for {
		table, changed := c.cfg.Peers()
		for session, cancel := range cancels {
			if !open(table, session) {
				cancel(fmt.Errorf("session %d is over", session))
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// fits checks that an answer is one of the launch.
func fits(x *share) error {
	if x.result == nil || len(x.result.Tasks) != len(x.parts) {
		return fmt.Errorf("executor %s did not answer for every one of %d tasks", x.peer.Name, len(x.parts))
	}
	for i, t := range x.result.Tasks {
		if t.Part != x.parts[i] {
			return fmt.Errorf("executor %s answered for partition %d in place of %d", x.peer.Name, t.Part, x.parts[i])
		}
	}
	return nil
}

func (s *stage) launch(x *share) *job.Launch {
	l := &job.Launch{
		Authority: s.order.Authority, App: s.order.App, Time: s.order.Time,
		Kind: s.key.kind, Dataset: s.of.ID(), Output: s.output, Root: s.at,
		Parts: x.parts, Try: s.rounds,
		Inputs: s.inputs.of(s.leaves), MapOutputs: s.reads, States: s.bases(x), Lineage: s.lineage,
	}
	if s.shuffle != nil {
		l.Shuffle = s.shuffle.ID()
	}
	return l
}

// fault draws the conclusion from one failed task: an error ends the stage, nil lets the task run again.
func (s *stage) fault(x *share, res job.TaskResult) error {
	peer, e := x.peer, res.Err
	switch e.Fault {
	case job.UserFault:
		s.faults[res.Part]++
		n := s.faults[res.Part]
		if n >= MaxTries {
			return failed("%s, partition %d failed %d times, the last time on %s: %v", s.name, res.Part, n, peer.Name, e)
		}
		s.tries = max(s.tries, n)
		s.waiting = fmt.Sprintf("%s, partition %d failed on %s: %v", s.name, res.Part, peer.Name, e)
	case job.FetchFault:
		s.forget(e)
		s.broken(peer, e)
		return &lostWork{text: fmt.Sprintf("%s, partition %d on %s: %v", s.name, res.Part, peer.Name, e)}
	case job.MissingFault:
		s.missed[res.Part]++
		s.lostState(res.Part, x, e)
		s.waiting = fmt.Sprintf("input is missing: %v", e)
	case job.FencedFault:
		return fmt.Errorf("%w: %s: %v", errFenced, peer.Name, e)
	case job.MismatchFault:
		return failed("%s, partition %d: executor %s refuses: %v", s.name, res.Part, peer.Name, e)
	case job.StateFault:
		s.lostState(res.Part, x, e)
		s.waiting = fmt.Sprintf("%s, partition %d: %s does not hold its state: %v", s.name, res.Part, peer.Name, e)
	case job.SizeFault:
		if x.all {
			return &oversize{e.Text}
		}
		s.alone = true
	default: // LostFault, and what a newer executor may answer
		s.suspect(peer.Session, suspicion)
		s.lostState(res.Part, x, e)
		s.waiting = fmt.Sprintf("executor %s is lost: %v", peer.Name, e)
	}
	return nil
}

// forget takes buckets for lost, unless they have been made again elsewhere meanwhile.
func (s *stage) forget(e *job.TaskError) {
	m := s.shuffles[e.Shuffle]
	if m == nil {
		return
	}
	for _, p := range e.MapParts {
		if p >= 0 && p < len(m.holders) && (m.holders[p] == e.Holder || e.Holder == 0) {
			m.holders[p] = 0
		}
	}
}

// mapOutputs lists where the buckets are that the stage reads: those of the shuffles below its narrow chain.
func (s *stage) mapOutputs() (all []job.MapOutput) {
	seen := map[dataset.ID]bool{}
	var visit func(d dataset.Dataset)
	visit = func(d dataset.Dataset) {
		if seen[d.ID()] {
			return
		}
		seen[d.ID()] = true
		for _, dep := range d.Deps() {
			if dep.Shuffle == nil {
				visit(dep.On)
				continue
			}
			m := s.mapped(dep)
			all = append(all, job.MapOutput{Shuffle: dep.Shuffle.ID(), Holders: append([]id.Session(nil), m.holders...)})
		}
	}
	visit(s.of)
	return all
}
