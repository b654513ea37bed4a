package chaos

// Exit statuses that faults have to do with.
const (
	// ExitRefused is that of a node which refused what it found on its disk, or whose disk failed.
	ExitRefused = 1
	// ExitFailpoint is that of a process which ended at a failpoint.
	ExitFailpoint = 86
)

// Nodes are the nodes of a cluster under test, as injectors need them that end nodes and start them again. Its methods may
// be called from several goroutines.
type Nodes interface {
	// Kill ends a node by SIGKILL and returns when it is gone. It is an error if it has ended before.
	Kill(name string) error
	// Start starts a node that has ended, over what its data directory holds. It is no error if it runs.
	Start(name string) error
	// Dir is the node's data directory. It need not be there.
	Dir(name string) string
	// Exited is closed when the node's process, as it was last started, has ended.
	Exited(name string) <-chan struct{}
	// Status is the exit status of that process: -1 while it runs, and where a signal ended it.
	Status(name string) int
}
