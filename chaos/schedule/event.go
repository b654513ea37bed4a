// Package schedule owns what goes wrong and when: events of faults, the grammar that describes them, their expansion from
// a seed to a concrete list that can be replayed, and the shrinking of a list that makes a run fail. It is pure: it must
// not know processes, files or clocks.
package schedule

// Kind is a kind of fault.
type Kind string

// Kinds of faults.
const (
	// Of processes.
	Kill      Kind = "kill"      // SIGKILL, started again after For
	Pause     Kind = "pause"     // SIGSTOP, SIGCONT after For
	Terminate Kind = "terminate" // SIGTERM, started again after For
	Exit      Kind = "exit"      // the process ends itself at failpoint Point when it comes there for the Hit-th time
	Memory    Kind = "memory"    // Bytes of memory, no more
	CPU       Kind = "cpu"       // Percent of one core
	// Of links.
	Cut       Kind = "cut"       // nothing passes
	Delay     Kind = "delay"     // DelayMS, give or take JitterMS, which reorders
	Loss      Kind = "loss"      // Percent of the frames
	Duplicate Kind = "duplicate" // Percent of the frames come twice
	Reorder   Kind = "reorder"   // Percent of the frames come DelayMS late
	Rate      Kind = "rate"      // Bytes per second
	Reset     Kind = "reset"     // connections are reset
	// Of disks.
	PowerCut  Kind = "powercut"   // what was not synced is gone; started again after For
	SyncError Kind = "sync-error" // the next sync fails
	Full      Kind = "full"       // no space is left
	TornWrite Kind = "torn-write" // the next write is done in part, then fails
	SlowSync  Kind = "slow-sync"  // every sync takes DelayMS longer
	BitFlip   Kind = "bit-flip"   // Count bits of File are flipped while the process is down
	Truncate  Kind = "truncate"   // File loses Bytes at its end while the process is down
	Wipe      Kind = "wipe"       // the whole data directory is gone; started again empty
	// Of wall clocks.
	ClockJump   Kind = "clock-jump"   // by OffsetMS at once, back after For
	ClockDrift  Kind = "clock-drift"  // by OffsetMS over For, little by little
	ClockStrobe Kind = "clock-strobe" // to and fro by OffsetMS, 20 times a second
	// Of the quorum.
	Transfer Kind = "transfer" // leadership is handed over
	Roll     Kind = "roll"     // every node leaves in order and is started again, one after the other
)

// Plane is what kind of traffic a fault of a link is about.
type Plane string

// Planes. Raft, the election watch and gRPC share a port, but not a connection.
const (
	AllPlanes Plane = "all"
	Raft      Plane = "raft"
	Gossip    Plane = "gossip"
	RPC       Plane = "rpc" // clients, control streams and the data of executors
	Watch     Plane = "watch"
)

// Event is one fault that is planned. Times are of the schedule, from its start.
type Event struct {
	ID    int   `json:"id"`
	AtMS  int64 `json:"at_ms"`
	ForMS int64 `json:"for_ms"`
	Kind  Kind  `json:"kind"`
	// Targets are names of nodes, or roles, which are resolved when the event begins: leader, followers, coordinator,
	// receiver (the node that runs one).
	Targets []string `json:"targets"`
	// Peers are the other ends of links; none: all others. Both: frames from peers to targets suffer too.
	Peers []string `json:"peers,omitempty"`
	Both  bool     `json:"both,omitempty"`
	Plane Plane    `json:"plane,omitempty"`

	DelayMS  int64   `json:"delay_ms,omitempty"`
	JitterMS int64   `json:"jitter_ms,omitempty"`
	OffsetMS int64   `json:"offset_ms,omitempty"`
	Percent  float64 `json:"percent,omitempty"`
	Bytes    int64   `json:"bytes,omitempty"`
	Count    int     `json:"count,omitempty"`
	File     string  `json:"file,omitempty"` // raft, wal or snapshots: which part of the data directory
	Point    string  `json:"point,omitempty"`
	Hit      int     `json:"hit,omitempty"`
}

// Schedule is a whole run, concrete: replaying it needs nothing else.
type Schedule struct {
	Seed      uint64   `json:"seed"`
	Nodes     int      `json:"nodes"`
	Workloads []string `json:"workloads"`
	Rate      int      `json:"rate"` // records a second, of all workloads together
	TimeMS    int64    `json:"time_ms"`
	// Trim lets drivers remove entries of the ledger's log that snapshots hold, so that who was away is sent one.
	Trim   bool    `json:"trim,omitempty"`
	Events []Event `json:"events"`
}
