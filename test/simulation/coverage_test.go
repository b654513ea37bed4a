package simulation_test

import (
	"github.com/raftstream/raftstream/executor/job"
)

// Rare states that a long run must have come by.
const (
	leaderChangedWithPending = "leader changed with a batch pending"
	officeMovedWithPending   = "office moved with a batch pending"
	snapshotInstalled        = "snapshot installed on a running node"
	staleRefused             = "command of another term refused"
	lateReport               = "report of a batch refused"
	stateRestored            = "state restored from a checkpoint"
	stateAgain               = "state computed again"
	blockCopied              = "blocks copied again"
	unknownOutcome           = "answer lost after its request took effect"
	receiverReplay           = "receiver began before what was given"
	tornTail                 = "torn tail cut off"
	outputRepeated           = "output made again"
	nodeReplaced             = "node with empty disks replaced one"
	diskFailed               = "disk failed"
	blocksRefused            = "report of a block refused"
	checkpointed             = "state checkpointed"
)

// rare leaves out what is counted and was never seen: refusals of commands of another term, and of late reports.
var rare = []string{
	leaderChangedWithPending, officeMovedWithPending, snapshotInstalled, stateRestored, stateAgain, blockCopied, unknownOutcome,
	receiverReplay, tornTail, outputRepeated, nodeReplaced, diskFailed, checkpointed,
}

// coverage counts what was come by.
type coverage map[string]int

func (s *sim) seen(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

func (s *sim) hurt(kind string) { s.seen("fault: " + kind) }

// seenRequest looks at what a driver answered.
func (s *sim) seenRequest(r job.ToDriver, reply job.Reply, err error) {
	if err != nil {
		return
	}
	switch r.(type) {
	case *job.BatchReport:
		if reply.Outcome == job.Refused {
			s.seen(lateReport)
		}
	case *job.BlocksCopied:
		s.seen(blockCopied)
	case *job.CheckpointReport:
		if reply.Outcome == job.Done {
			s.seen(checkpointed)
		}
	case *job.BlocksReport:
		for _, b := range reply.Blocks {
			if b.Outcome == job.Refused {
				s.seen(blocksRefused)
			}
		}
	}
}

// seenOrder looks at what a driver ordered.
func (s *sim) seenOrder(job.ToExecutor) {}

// seenLaunch looks at what a coordinator launched.
func (s *sim) seenLaunch(l *job.Launch) {
	for _, b := range l.States {
		if len(b.Chain) > 0 {
			s.seen(stateRestored)
		}
		if b.Makes.Time < l.Time {
			s.seen(stateAgain)
		}
	}
}
