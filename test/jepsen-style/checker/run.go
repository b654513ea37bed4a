package checker

import "github.com/raftstream/raftstream/test/jepsen-style/history"

// Run is what the runner has gathered of a run, for checkers: the folder and what its files say.
type Run struct {
	Dir     string
	Events  []history.Event   // of the whole run, in order
	Nodes   []string          // names of nodes that were part of the cluster at some time
	Logs    map[string]string // node -> path of its log
	Ledgers map[string]string // node -> path of its log entries as JSON lines (raftstream ledger log); drivers only
}
