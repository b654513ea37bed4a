package zoo

// powered is a run of real processes whose power is cut, judged by the suite: see the schedules in verdict_test.go.
var powered = Test{Package: "test/jepsen-style/zoo", Run: "^TestRunIsGreen$", Args: "-schedule powercut-all"}

// killed is such a run on loopback: all processes are killed at once.
var killed = Test{Package: "test/jepsen-style/zoo", Run: "^TestRunIsGreen$", Args: "-schedule kill-all"}

// onProcesses are bugs that clients and the logs of real nodes show.
var onProcesses = map[string]string{
	"ledger-reads-the-clock": "the same log gave different states",
}

// machineBugs are those that nothing but real disks shows.
var machineBugs = []Bug{
	{
		Name:   "raft-log-is-not-synced",
		Does:   "Raft's log is written and not synced: what a majority acknowledged is gone when the power is",
		Origin: "NATS JetStream 2.12.1; bbolt's option NoSync",
		File:   "internal/raftnode/boltstore.go",
		Old:    "Timeout: lockWait, NoFreelistSync: true,",
		New:    "Timeout: lockWait, NoSync: true, NoFreelistSync: true,",
		Layer:  Machines,
		Catch:  powered, Expect: "exactly-once is invalid",
	},
}

// unsynced is such a run in which one sync of received blocks fails: the node must end.
var unsynced = Test{Package: "test/jepsen-style/zoo", Run: "^TestRunIsGreen$", Args: "-schedule failed-sync"}

// onFailedSync are bugs that a failed sync shows.
var onFailedSync = map[string]string{"failed-sync-is-tried-again": "went on after 1 failed syncs"}

// onMachines are bugs that a power cut shows too.
var onMachines = map[string]string{"acknowledged-before-the-sync": "exactly-once is invalid"}
