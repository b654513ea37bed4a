package zoo

// powered is a run of real processes whose power is cut, judged by the suite: see the schedules in verdict_test.go.
var powered = Test{Package: "test/jepsen-style/zoo", Run: "^TestRunIsGreen$", Args: "-schedule powercut-all"}

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

// onMachines are bugs that a power cut shows too.
var onMachines = map[string]string{"acknowledged-before-the-sync": "exactly-once is invalid"}
