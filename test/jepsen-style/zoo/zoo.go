// Package zoo owns bugs that are planted to prove that the tests would see them: each is an edit of one file of the
// engine, laid over a build (go build -overlay), with the test that must fail then and what it must say. It promises
// that a bug counts as caught only if that test passes without the edit, compiles with it, and fails for the reason
// expected. It must not know the engine beyond the text that it edits: the engine holds no planted bug.
package zoo

import (
	"encoding/json"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Layer is where a bug is caught: the lower, the faster and the more repeatable.
type Layer int

const (
	// Packages are tests of one package or of a few, most of them state machines driven by random commands.
	Packages Layer = iota
	// Simulation is the whole control plane in one process, in virtual time.
	Simulation
	// Processes are real processes on loopback.
	Processes
	// Machines are real processes with disks, links and clocks that fail; they need root.
	Machines
)

// String names the layer as docs and schedules do.
func (l Layer) String() string { return fmt.Sprintf("L%d", int(l)) }

// Bug is one planted bug.
type Bug struct {
	Name string
	// Does says what the engine does wrong then; Origin where such a bug was seen, empty for one of our own.
	Does, Origin string
	// Rules are the rules of section 10 of docs/architecture.md that it breaks.
	Rules []int

	File string // of the module, with slashes
	Old  string // occurs in File exactly once
	New  string // instead of it
	// Import is a package of the standard library that New needs besides those that File imports, empty for none.
	Import string

	Layer Layer
	Catch Test
	// Expect is in the output of the test that fails: it fails for this reason and for no other.
	Expect string
}

// Test is a test that catches bugs.
type Test struct {
	Package string // directory of the module, with slashes
	Run     string // as of go test -run
	Args    string // flags of the test binary, separated by spaces
}

// String gives the command that runs the test.
func (t Test) String() string {
	s := fmt.Sprintf("go test ./%s -run '%s'", t.Package, t.Run)
	if t.Args != "" {
		s += " " + t.Args
	}
	return s
}

// Bugs are all that are planted. One that must be caught at two layers is there twice.
func Bugs() []Bug {
	low := slices.Concat(ledgerBugs, diskBugs, leaderBugs, executorBugs, checkerBugs)
	return slices.Concat(low, simulationBugs, seen(Simulation, simulated, inSimulation, low),
		seen(Simulation, simulatedLong, inSimulationRarely, low), seen(Processes, killed, onProcesses, low),
		machineBugs, seen(Machines, powered, onMachines, low),
		seen(Machines, unsynced, onFailedSync, low))
}

// String gives the bug's name and the layer at which it is to be caught.
func (b *Bug) String() string { return fmt.Sprintf("%s at %v", b.Name, b.Layer) }

// clause is a file's package clause.
var clause = regexp.MustCompile(`(?m)^package \w+$`)

// Edited gives the text of the bug's file with its edit. An error says why the edit does not fit the code any more.
func (b *Bug) Edited(root string) ([]byte, error) {
	name := filepath.Join(root, filepath.FromSlash(b.File))
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("bug %s: the code moved: mend the bug's edit: %w", b.Name, err)
	}
	if n := strings.Count(string(src), b.Old); n != 1 {
		return nil, fmt.Errorf("bug %s: the code moved: mend the bug's edit: %s holds the text %d times, expected once:\n%s",
			b.Name, b.File, n, b.Old)
	}
	edited := []byte(strings.Replace(string(src), b.Old, b.New, 1))
	if b.Import != "" {
		edited = clause.ReplaceAll(edited, fmt.Appendf(nil, "$0\nimport %q\n", b.Import))
	}
	if _, err := parser.ParseFile(token.NewFileSet(), b.File, edited, parser.SkipObjectResolution); err != nil {
		return nil, fmt.Errorf("bug %s: the edited file does not parse: %w", b.Name, err)
	}
	if string(edited) == string(src) {
		return nil, fmt.Errorf("bug %s: the edit changes nothing", b.Name)
	}
	out, err := format.Source(edited)
	if err != nil {
		return nil, fmt.Errorf("bug %s: %w", b.Name, err)
	}
	return out, nil
}

// Overlay writes the edited file and an overlay that puts it in place of the one in root, both into dir. It gives the
// overlay's name, for go build -overlay.
func (b *Bug) Overlay(root, dir string) (string, error) {
	src, err := b.Edited(root)
	if err != nil {
		return "", err
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return "", err
	}
	edited, overlay := filepath.Join(dir, "edited.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(edited, src, 0o644); err != nil {
		return "", err
	}
	place := map[string]map[string]string{"Replace": {filepath.Join(root, filepath.FromSlash(b.File)): edited}}
	text, err := json.Marshal(place)
	if err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, text, 0o644)
}
