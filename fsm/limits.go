package fsm

// Limits that Apply keeps (rule 10); those of blocks and positions are in package blocktracker, that of sessions in
// package tracker. They are part of the state machine: a change needs a new entry version.
const (
	// MaxPending bounds an application's batches that are allocated and not completed.
	MaxPending = 1024
	// MaxKeptBatches is how many completed batches of an application are kept for display.
	MaxKeptBatches = 1000
	// MaxKeptEnded is the same for an application that has ended.
	MaxKeptEnded = 100
	// MaxApps bounds the applications; the oldest one that has ended makes room for a new one.
	MaxApps = 1000
	// MaxRequests is how many request ids are remembered; the oldest one makes room for a new one.
	MaxRequests = 10_000
	// MaxInputs bounds the input streams of an application.
	MaxInputs = 1000
	// MaxStates bounds the streams with keyed state of an application.
	MaxStates = 100
	// MaxStatePartitions bounds the partitions of all streams with keyed state of an application together: a checkpoint
	// names each of them, and is one command.
	MaxStatePartitions = 16_384
	// MaxUncheckpointed bounds the batches of an application with keyed state that a rebuild would compute again: those
	// after its checkpoint.
	MaxUncheckpointed = 10_000
	// MaxStateRound bounds the batches from one time that all streams with keyed state have to the next: a checkpoint is
	// taken at such a time, and one may fail before MaxUncheckpointed is reached.
	MaxStateRound = MaxUncheckpointed / 2
	// UncheckpointedMS is how long after the last completion one more batch is allocated at that limit: a checkpoint is
	// tried after a batch, and without any batch the application would wait for ever.
	UncheckpointedMS = 60_000
	// MaxRate bounds the records per second of a receiver.
	MaxRate = 1 << 40
	// MaxRemembered bounds the batches that an application remembers: its remember duration in batch intervals.
	MaxRemembered = 100_000
	// MaxPartitions bounds the default partition count of shuffles.
	MaxPartitions = 65_536
	// MaxURL bounds a checkpoint URL in bytes.
	MaxURL = 1024
	// MaxFactor bounds the copies of a block.
	MaxFactor = 16
	// MaxParams bounds an application's parameters in bytes.
	MaxParams = 1 << 20
	// MaxName bounds names and ids in bytes.
	MaxName = 256
	// MaxText bounds an error's or reason's text in bytes; what is beyond is cut off before it is proposed.
	MaxText = 4096
	// MaxInventoryPart bounds the blocks that one part of an inventory names.
	MaxInventoryPart = 100_000

	// MinIntervalMS is the shortest batch interval and block interval.
	MinIntervalMS = 10
	// MaxBatchMS is the longest batch interval: a day.
	MaxBatchMS = 24 * 60 * 60 * 1000
)
