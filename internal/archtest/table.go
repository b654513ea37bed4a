package archtest

// Rule says what of this module the packages of a directory may import. It is the import table of docs/architecture.md,
// section 2; both change together.
type Rule struct {
	// Dir is a package's directory, or with "/..." at its end every package below it. The first rule that fits holds.
	Dir string
	// Allow lists directories, with "/..." for all below too.
	Allow []string
	// Reason is said when the rule is broken.
	Reason string
}

// ground is the floors 0 and 1 that executors and drivers may build on.
var ground = []string{
	"connector", "internal/id", "internal/vfs", "internal/plan", "internal/dataset", "internal/failpoint", "executor/job",
}

// Table is the import table, from the lowest floor up.
var Table = []Rule{
	{"internal/id", nil, "ids are below everything"},
	{"internal/vfs/...", []string{"internal/vfs"}, "files know nothing of what is stored in them"},
	{"internal/failpoint", nil, "a place to fail knows nothing of what fails"},
	{"internal/ledgerpb", nil, "wire formats are below everything"},
	{"api/...", []string{"api/..."}, "the public stubs are used outside and drag nothing in"},
	{"connector", nil, "a connector is written against this package alone"},

	{"tracker", []string{"internal/id"}, "the tracker is pure state of its own; blocktracker and fsm are its neighbours"},
	{"blocktracker", []string{"internal/id", "connector"}, "the blocktracker is pure state of its own"},
	{"statetracker", []string{"internal/id"}, "the statetracker is pure state of its own"},
	{"wal", []string{"internal/vfs", "internal/failpoint"}, "the log of blocks knows files only"},
	{"internal/bucket", []string{"internal/vfs"}, "a bucket keeps objects and knows nothing of what is in them"},
	{"internal/ratecontrol", nil, "rate control is arithmetic"},
	{"internal/datadir", []string{"internal/vfs", "internal/id"}, "the data directory knows files only"},
	{"internal/plan", []string{"internal/id"}, "the graph as data knows no user types and no engine"},
	{"internal/dataset", []string{"internal/id", "internal/plan", "connector"}, "the seam knows neither side of it"},
	{"internal/codec", nil, "the record codec knows no operators and no engine"},
	{"internal/table", []string{"internal/codec"}, "the table of combiners knows no operators and no engine"},
	{"internal/lineage", []string{
		"internal/id", "internal/plan", "internal/dataset", "internal/codec", "internal/table", "connector",
	}, "typed operators stand on the seam and must not know the engine"},
	{"internal/lineage/lineagetest", []string{
		"internal/id", "internal/plan", "internal/dataset", "internal/lineage", "connector",
	}, "the small engine of lineage's tests knows the seam only"},

	{
		"fsm",
		[]string{"internal/id", "internal/ledgerpb", "connector", "tracker", "blocktracker", "statetracker"},
		"the ledger is pure: whoever runs it is above it",
	},

	{"executor/job", []string{"internal/id", "internal/plan", "internal/dataset", "connector"}, "messages cross every border"},
	{"executor/blocks", append([]string{"wal"}, ground...), "parts of the executor share only executor/job"},
	{"executor", append([]string{"wal", "executor/..."}, ground...), "executors know no ledger, no raft and no grpc"},
	{"executor/...", ground, "parts of the executor share only executor/job"},
	{
		"jobgen",
		[]string{"internal/id", "fsm", "tracker", "blocktracker", "statetracker"},
		"the planner is pure and generates batches; the coordinator generates their jobs",
	},

	{"internal/driver", driverAllow(), "the driver decides over the ledger; how it is replicated and carried is not its business"},
	{"internal/driver/...", append([]string{"internal/driver"}, driverAllow()...), "a duty knows no other duty"},
	{
		"internal/raftnode",
		[]string{"internal/id", "internal/vfs", "internal/failpoint", "fsm"},
		"raft carries entries; what they are for is above it",
	},
	{"internal/gossip", []string{"internal/id"}, "gossip says who is there and nothing else"},
	{"internal/electionwatch", []string{"internal/id"}, "the watch says whose process is over; what follows is above it"},
	{"internal/rpc", append([]string{
		"api/...", "internal/rpc/...", "fsm", "tracker", "blocktracker", "statetracker",
	}, ground...), "rpc turns messages into structs and calls interfaces of its own"},
	{"internal/rpc/...", nil, "generated wire formats are below everything"},
	{"internal/httpd", nil, "health needs an interface of its own only"},

	{"dstream/streamtest", []string{
		"dstream/...", "connector", "internal/...", "fsm", "tracker", "blocktracker", "statetracker", "jobgen", "wal", "executor/...",
	}, "streamtest alone of the public packages wires the engine, and above floor 3 only the pure functions of internal/driver"},
	{"dstream/...", append([]string{
		"dstream/rdd", "internal/lineage", "internal/codec", "internal/table",
	}, "connector", "internal/id", "internal/plan", "internal/dataset", "internal/failpoint"), "user graphs must not know the engine"},
	{"connector/...", []string{"connector", "dstream"}, "a stock connector is written as a user would write it"},
	{"client", []string{"api/..."}, "the client is used outside and drags nothing in"},

	{"apps", []string{"dstream", "dstream/rdd", "connector/..."}, "stock applications are written as a user would write them"},
	{"examples/...", []string{"dstream/...", "connector/...", "cli"}, "examples are written as a user would write them"},
	{"cmd/node", []string{"apps", "cli", "test/jepsen-style/command"}, "main registers applications and more commands, and calls cli.Main"},
	{"cli", []string{
		"client", "connector", "dstream", "executor/...", "fsm", "internal/...", "jobgen", "wal", "tracker", "blocktracker", "statetracker", "api/...",
	}, "cli wires a node; applications are registered by main"},

	{"internal/archtest", nil, "checks read source text and import nothing of it"},
	{"chaos/schedule", nil, "schedules are pure data"},
	{"chaos/...", []string{"client", "chaos/..."}, "fault injectors know no engine internals"},
	{"test/cluster/model", []string{"dstream", "dstream/rdd", "connector/..."}, "the application of a test is written as a user would write it"},
	{"test/cluster/model/node", []string{"test/cluster/model", "dstream", "cli"}, "main registers the application and calls cli.Main"},
	{"test/jepsen-style/programs", []string{"dstream", "dstream/rdd", "connector/..."}, "the applications of a test are written as a user would write them"},
	{"test/jepsen-style/node", []string{"test/jepsen-style/...", "apps", "dstream", "cli"}, "main registers the applications and calls cli.Main"},
	{"test/jepsen-style/workload", []string{
		"client", "api/...", "chaos/...", "test/...", "dstream",
	}, "workloads talk through client, and read what applications saved by dstream"},
	{"test/simulation/...", []string{"..."}, "the simulation wires the engine, over disks, links and clocks of its own"},
	{"test/...", []string{"client", "api/...", "chaos/...", "test/..."}, "black-box tests talk through client"},
	{"bench/...", []string{"..."}, "benchmarks measure anything"},
}

func driverAllow() []string {
	return append([]string{"fsm", "tracker", "blocktracker", "statetracker", "jobgen", "internal/ratecontrol"}, ground...)
}

// External says which packages may import a module from outside; tests may import any of them.
type External struct {
	Path   string // import path, with everything below it
	Only   []string
	Reason string
}

// Externals lists the modules whose use is confined.
var Externals = []External{
	{"github.com/hashicorp/raft", []string{"internal/raftnode"}, "raftnode alone knows which raft it is"},
	{"github.com/hashicorp/raft-boltdb", []string{"internal/raftnode"}, "raftnode alone knows its stores"},
	{"github.com/hashicorp/go-hclog", []string{"internal/raftnode"}, "log/slog is our logger"},
	{"github.com/hashicorp/go-msgpack", []string{"internal/raftnode"}, "raftnode alone encodes raft's entries"},
	{"go.etcd.io/bbolt", []string{"internal/raftnode"}, "raftnode alone knows its stores"},
	{"github.com/hashicorp/memberlist", []string{"internal/gossip"}, "gossip alone knows memberlist"},
	{"google.golang.org/grpc", []string{"api/...", "internal/rpc/...", "client"}, "gRPC stays at the border"},
	{"google.golang.org/protobuf", []string{
		"api/...", "internal/ledgerpb", "fsm", "internal/rpc/...", "client", "internal/codec",
	}, "protobuf meets plain structs at the border only, and in the codec of users' messages"},
	{"github.com/tidwall/btree", []string{"fsm", "tracker", "blocktracker", "statetracker"}, "copy-on-write maps are the ledger's"},
	{"github.com/spf13/cobra", []string{"cli", "test/jepsen-style/command"}, "commands live in cli"},
	{"go.yaml.in/yaml", []string{"cli"}, "configuration is read in cli"},
	{"golang.org/x/term", []string{"cli"}, "the terminal belongs to cli"},
	{"gocloud.dev", []string{"internal/bucket"}, "internal/bucket alone knows the services that keep objects"},
	{"github.com/aws", nil, "internal/bucket reaches S3 through gocloud.dev"},
	{"github.com/hanwen/go-fuse", []string{"chaos/disk"}, "a file system that fails is for tests of disks"},
	{"github.com/anishathalye/porcupine", []string{"test/jepsen-style/checker"}, "linearizability is a checker's"},
	{"golang.org/x/tools", nil, "no tool is part of the product"},
	{"go.uber.org/goleak", nil, "leak checks are for tests"},
	{"pgregory.net/rapid", nil, "random tests are for tests"},
	{"github.com/google/go-cmp", nil, "comparisons in detail are for tests"},
	{"github.com/rogpeppe/go-internal", nil, "test scripts are for tests"},
}

// Pure lists the packages that compute only: no clocks, randomness, I/O, goroutines, locks or logging.
var Pure = []string{"fsm", "tracker", "blocktracker", "statetracker", "jobgen", "internal/ratecontrol"}

// impureImports may not be imported by pure packages, nor anything below them.
var impureImports = []string{"context", "crypto/rand", "io/fs", "log", "math/rand", "net", "os", "sync", "syscall"}

// impureTime is what of package time reads or waits for a clock.
var impureTime = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
