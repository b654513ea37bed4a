// Package checker owns what must hold of a run: it reads histories, outputs and the ledgers of nodes, and says what was
// lost, doubled, made up or left open. It reads the folder of a run and nothing else, so that a run can be judged again.
package checker

// Verdict is what a checker came to.
type Verdict string

// Verdicts. Unknown is a failure to check, never a pass.
const (
	Valid   Verdict = "valid"
	Invalid Verdict = "invalid"
	Unknown Verdict = "unknown"
)

// Result is what one checker found of one workload, or of the cluster.
type Result struct {
	Checker  string  `json:"checker"`
	Workload string  `json:"workload,omitempty"`
	Verdict  Verdict `json:"verdict"`

	// Trimmed says that the verdict is Unknown for no other reason than that the ledgers of all nodes together do not go back
	// far enough: entries that snapshots hold were removed.
	Trimmed bool `json:"trimmed,omitempty"`

	Lost        int64 `json:"lost"`        // acknowledged, and not in the output
	Duplicated  int64 `json:"duplicated"`  // in the output more than once
	Phantom     int64 `json:"phantom"`     // in the output, and never sent
	Unexplained int64 `json:"unexplained"` // operations whose outcome stayed unknown without a fault that explains it

	Counts  map[string]int64 `json:"counts,omitempty"`  // what was checked: a checker that has seen nothing is Unknown
	Details []string         `json:"details,omitempty"` // for people, the first few violations, with where to look
}

// Name is the checker's, behind that of the workload where it judges one.
func (r *Result) Name() string {
	if r.Workload == "" {
		return r.Checker
	}
	return r.Workload + ": " + r.Checker
}
