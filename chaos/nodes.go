package chaos

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
}
