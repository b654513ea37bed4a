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
	submittedAgain           = "application submitted again under its name"
	resumed                  = "failed application resumed"
	lossAccepted             = "loss of input accepted"
	inputLost                = "input given up that nobody held"
	discardedAtOnce          = "input discarded by a stop at once"
)

// rare says in how many runs each state must have come about. It leaves out what is counted and was never seen: refusals
// of commands of another term. Late reports are those of an attempt that was replaced, or of a batch that was given up:
// one of a batch that another coordinator has completed comes from a session that is over, and is not proposed.
var rare = map[string]uint64{
	leaderChangedWithPending: 300, officeMovedWithPending: 300, snapshotInstalled: 300, lateReport: 300, stateRestored: 300,
	stateAgain: 300, blockCopied: 300, unknownOutcome: 300, receiverReplay: 300, tornTail: 300, outputRepeated: 300,
	nodeReplaced: 300, diskFailed: 300, blocksRefused: 300, checkpointed: 300, submittedAgain: 300, resumed: 300,
	lossAccepted: 300, inputLost: 1000, discardedAtOnce: 300,
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
