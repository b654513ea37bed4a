package suite

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raftstream/raftstream/chaos/nemesis"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/report"
)

// Outcome is what a run came to.
type Outcome string

// Outcomes. Green says that everything planned happened and everything that must hold was checked and holds, but for what
// Verdict.Trimmed names; Violated that
// something does not hold; Incomplete that nothing is known to be wrong, and that something planned did not happen or
// something could not be checked.
const (
	Green      Outcome = "green"
	Violated   Outcome = "violated"
	Incomplete Outcome = "incomplete"
)

// Count is how often faults of a kind were planned and took effect, and what they did.
type Count struct {
	Planned  int    `json:"planned"`
	Injected int    `json:"injected"`
	Bites    int64  `json:"bites"`
	What     string `json:"what,omitempty"`
}

// Verdict is what is known after a run.
type Verdict struct {
	Outcome Outcome  `json:"outcome"`
	Reasons []string `json:"reasons,omitempty"` // why it is not green
	Dir     string   `json:"dir"`
	Seed    uint64   `json:"seed"`
	Nodes   int      `json:"nodes"`
	Layer   int      `json:"layer"`
	TookMS  int64    `json:"took_ms"`

	Acknowledged int64 `json:"acknowledged"`
	Lost         int64 `json:"lost"`
	Duplicated   int64 `json:"duplicated"`
	Phantom      int64 `json:"phantom"`
	Unexplained  int64 `json:"unexplained"`

	Faults      map[schedule.Kind]Count  `json:"faults"`
	NotInjected []nemesis.Outcome        `json:"not_injected,omitempty"`
	LeftOut     map[schedule.Kind]string `json:"left_out,omitempty"`
	Gaps        []Gap                    `json:"gaps,omitempty"`
	Results     []checker.Result         `json:"results"`
	// Trimmed names the results that there are not, as drivers removed what their snapshots hold.
	Trimmed []string `json:"trimmed,omitempty"`
}

// acknowledged is the name under which results count what clients were told is safe.
const acknowledged = "acknowledged"

// judge makes the verdict of what was found.
func (v *Verdict) judge(outcomes []nemesis.Outcome) {
	v.Faults = make(map[schedule.Kind]Count)
	v.Outcome = Green
	for _, o := range outcomes {
		c := v.Faults[o.Event.Kind]
		c.Planned++
		if o.Injected {
			c.Injected++
			c.Bites += o.Proof.Bites
			c.What = o.Proof.What
		} else {
			v.NotInjected = append(v.NotInjected, o)
			v.less(Incomplete, "event %d (%s of %s at %d ms) was not injected: %s", o.Event.ID, o.Event.Kind, strings.Join(o.Event.Targets, ","), o.Event.AtMS, o.Reason)
		}
		v.Faults[o.Event.Kind] = c
		if o.Broken != "" {
			v.less(Violated, "event %d (%s of %v) could not be healed: %s", o.Event.ID, o.Event.Kind, o.Targets, o.Broken)
		}
	}
	v.Acknowledged = acknowledgedOf(v.Results)
	for _, r := range v.Results {
		v.Lost += r.Lost
		v.Duplicated += r.Duplicated
		v.Phantom += r.Phantom
		v.Unexplained += r.Unexplained
		if n, counted := r.Counts[acknowledged]; counted && n == 0 {
			v.less(Incomplete, "%s has nothing that was acknowledged", cmp.Or(r.Workload, r.Checker))
		}
		if r.Verdict == checker.Valid {
			continue
		}
		worst := Violated
		if r.Verdict == checker.Unknown {
			worst = Incomplete
		}
		v.less(worst, "%s", describe(r))
	}
	if len(v.Results) == 0 {
		v.less(Incomplete, "nothing was checked")
	}
}

// leaveTrimmed leaves out results that could not be had because drivers removed entries, as they were to.
func (v *Verdict) leaveTrimmed() {
	v.Results = slices.DeleteFunc(v.Results, func(r checker.Result) bool {
		if r.Trimmed {
			v.Trimmed = append(v.Trimmed, r.Name())
		}
		return r.Trimmed
	})
}

// acknowledgedOf sums up what clients were told is safe. Several results of a workload may count the same records.
func acknowledgedOf(results []checker.Result) (n int64) {
	of := make(map[string]int64)
	for _, r := range results {
		of[r.Workload] = max(of[r.Workload], r.Counts[acknowledged])
	}
	for _, most := range of {
		n += most
	}
	return n
}

func describe(r checker.Result) string {
	text := fmt.Sprintf("%s is %s", r.Name(), r.Verdict)
	if r.Lost+r.Duplicated+r.Phantom+r.Unexplained > 0 {
		text += fmt.Sprintf(" (lost %d, duplicated %d, phantom %d, unexplained %d)", r.Lost, r.Duplicated, r.Phantom, r.Unexplained)
	}
	if len(r.Details) > 0 {
		text += ": " + strings.Join(r.Details[:min(3, len(r.Details))], "; ")
	}
	return text
}

// less makes the verdict no better than o, and says why.
func (v *Verdict) less(o Outcome, format string, args ...any) {
	if o == Violated || v.Outcome == Green {
		v.Outcome = o
	}
	v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...))
}

func (v *Verdict) title() string {
	return fmt.Sprintf("seed %d, %d nodes, layer %d", v.Seed, v.Nodes, v.Layer)
}

// facts are what a report tells beside results.
func (v *Verdict) facts(workloads []string) []report.Fact {
	facts := []report.Fact{{Name: "workloads", Value: strings.Join(workloads, ", ")}}
	for _, k := range schedule.Kinds() {
		if c, ok := v.Faults[k]; ok {
			facts = append(facts, report.Fact{Name: string(k), Value: fmt.Sprintf("%d of %d took effect: %d %s", c.Injected, c.Planned, c.Bites, c.What)})
		}
	}
	if len(v.Gaps) > 0 {
		facts = append(facts, report.Fact{Name: "leader hit until the next batch allocated", Value: SpreadOf(v.Gaps).String()})
	}
	if len(v.Trimmed) > 0 {
		facts = append(facts, report.Fact{Name: "not judged, as drivers removed what their snapshots hold", Value: strings.Join(v.Trimmed, ", ")})
	}
	if left := LeftOutText(v.LeftOut); left != "" {
		facts = append(facts, report.Fact{Name: "left out", Value: left})
	}
	return facts
}

// Line is the verdict on one line.
func (v *Verdict) Line() string {
	var faults []string
	for _, k := range schedule.Kinds() {
		if c, ok := v.Faults[k]; ok {
			faults = append(faults, fmt.Sprintf("%s %d/%d", k, c.Injected, c.Planned))
		}
	}
	line := fmt.Sprintf("seed %d: %s in %v, %d nodes, layer %d, acknowledged %d, lost %d, duplicated %d, phantom %d, unexplained %d",
		v.Seed, v.Outcome, (time.Duration(v.TookMS) * time.Millisecond).Round(time.Second), v.Nodes, v.Layer, v.Acknowledged, v.Lost, v.Duplicated, v.Phantom, v.Unexplained)
	if len(v.Gaps) > 0 {
		line += fmt.Sprintf(", %d failovers (slowest %d ms)", len(v.Gaps), slices.MaxFunc(v.Gaps, func(a, b Gap) int { return int(a.MS - b.MS) }).MS)
	}
	if len(faults) > 0 {
		line += "; faults injected of planned: " + strings.Join(faults, ", ")
	}
	return line
}

// writeJSON writes a file of the run's folder.
func writeJSON(dir, name string, value any) error {
	b, err := json.MarshalIndent(value, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// LeftOutText says which kinds of faults could not be brought about, and why, one line for each reason.
func LeftOutText(leftOut map[schedule.Kind]string) string {
	var reasons []string
	kinds := make(map[string][]string)
	for _, k := range schedule.Kinds() {
		why := leftOut[k]
		if why != "" && kinds[why] == nil {
			reasons = append(reasons, why)
		}
		kinds[why] = append(kinds[why], string(k))
	}
	var b strings.Builder
	for _, why := range reasons {
		fmt.Fprintf(&b, "LEFT OUT: %s: %s\n", strings.Join(kinds[why], ", "), why)
	}
	return b.String()
}
