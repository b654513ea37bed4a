// Package command owns raftstream chaos: the command line over schedules of faults and the suite that judges what they did.
// It promises that a run that was not checked, or whose faults did not happen, never ends with status 0, many such runs only
// where nobody asked to be strict, and that what a green run could not be held against is said; it must not know how faults are made or what must hold.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftstream/raftstream/test/jepsen-style/suite"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// Exit statuses, those of the other commands.
const (
	statusFailed = 1
	statusUsage  = 2
)

// statusError is an error with the exit status of the process.
type statusError struct {
	err    error
	status int
}

// Error says why, nothing where it was said.
func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap gives the cause.
func (e *statusError) Unwrap() error { return e.err }

// ExitStatus is what the process ends with.
func (e *statusError) ExitStatus() int { return e.status }

func usagef(format string, args ...any) error {
	return &statusError{fmt.Errorf(format, args...), statusUsage}
}

// errSaid is a failure that the command has printed.
var errSaid error = &statusError{status: statusFailed}

// Chaos makes the command.
func Chaos() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break a local cluster on purpose, and see that nothing is lost",
		Long: "Starts clusters of real processes on this machine, lets clients work, brings about faults as a schedule says, and checks\n" +
			"afterwards that nothing that was acknowledged is lost, counted twice or made up. Every fault must prove that it took effect:\n" +
			"a run whose faults did not happen is not green.\n\n" +
			"With root, nodes live in network namespaces and on disks of their own, so that links and disks fail too. Without, kinds of\n" +
			"faults that need it are left out, and the verdict says which.",
		Example: "  raftstream chaos run --time 60s\n  raftstream chaos run --schedule 'at 5s kill leader for 2s' --assert 'gap<2s,lost=0'\n  raftstream chaos soak --for 10m --seed 1",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(runCommand(), replayCommand(), shrinkCommand(), soakCommand())
	return cmd
}

// common are the flags of every subcommand.
type common struct {
	node      string
	layer     int
	dir       string
	keep      bool
	workloads []string
	asserts   string
}

func (c *common) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.node, "node", "", "binary of the nodes, or build: one with all applications of the workloads, failpoints and clocks that can be skewed, which takes the sources (default: this binary)")
	f.IntVar(&c.layer, "layer", 0, "2: processes on loopback; 3: in network namespaces, on disks of their own, which takes root (default: the highest that works)")
	f.StringVar(&c.dir, "dir", "", "folder of what the run leaves, new or empty (default: a temporary one)")
	f.BoolVar(&c.keep, "keep", false, "leave the folder of a green run there too")
	f.StringSliceVar(&c.workloads, "workloads", nil, "what clients do: "+strings.Join(known(), ", "))
}

// assertFlag is for those commands whose runs may have limits of their own.
func (c *common) assertFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.asserts, "assert", "", "what else must hold: gap, lost, duplicated, phantom, unexplained or acknowledged compared with a limit, as gap<2s,lost=0")
}

func known() []string {
	var all []string
	for _, s := range workload.All() {
		all = append(all, s.Name)
	}
	return all
}

// folder gives the folder to work in, and whether it is a temporary one.
func (c *common) folder() (dir string, temporary bool, err error) {
	if c.dir != "" {
		return c.dir, false, nil
	}
	dir, err = os.MkdirTemp("", "raftstream-chaos-")
	return dir, true, err
}

// prepareNode gives the binary that the nodes run.
func (c *common) prepareNode(ctx context.Context, dir string, say func(string, ...any)) (suite.Node, error) {
	switch c.node {
	case "":
		path, err := os.Executable()
		return suite.Stock(path), err
	case "build":
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return suite.Node{}, err
		}
		path, err := filepath.Abs(filepath.Join(dir, "node"))
		if err != nil {
			return suite.Node{}, err
		}
		say("building the node")
		return suite.BuildNode(ctx, path, say)
	}
	path, err := filepath.Abs(c.node)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return suite.Node{}, usagef("flag --node: %w", err)
	}
	return suite.Stock(path), nil
}

// specs gives the workloads asked for, by default all that the node has the applications for.
func (c *common) specs(node suite.Node, planned []string, say func(string, ...any)) ([]workload.Spec, error) {
	names := c.workloads
	if len(names) == 0 {
		names = planned
	}
	if len(names) == 0 {
		runs, lacking := node.Runs(workload.All())
		for _, s := range lacking {
			say("LEFT OUT: workload %s: this node does not have %s; --node build has it", s.Name, strings.Join(s.Programs, ", "))
		}
		return runs, nil
	}
	found, err := workload.Named(names...)
	if err != nil {
		return nil, usagef("%w", err)
	}
	if _, lacking := node.Runs(found); len(lacking) > 0 {
		return nil, usagef("workload %s needs %s, which this node does not have; give --node build", lacking[0].Name, strings.Join(lacking[0].Programs, ", "))
	}
	return found, nil
}

func made(specs []workload.Spec) []workload.Workload {
	var all []workload.Workload
	for _, s := range specs {
		all = append(all, s.New())
	}
	return all
}

// speaker tells people how things go on, on w.
func speaker(w io.Writer) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
}

// asJSON reports whether the global flag --output asks for JSON.
func asJSON(cmd *cobra.Command) bool {
	f := cmd.Flag("output")
	return f != nil && f.Value.String() == "json"
}

func printJSON(w io.Writer, value any) error {
	b, err := json.Marshal(value)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", b)
	}
	return err
}

// conclude prints a verdict and gives the error that ends the command: none for a green one whose assertions hold.
func conclude(cmd *cobra.Command, v suite.Verdict, asserts []assertion, c *common, temporary bool) error {
	broken := check(asserts, v)
	if asJSON(cmd) {
		if err := printJSON(cmd.OutOrStdout(), struct {
			suite.Verdict
			Asserts []string `json:"failed_assertions,omitempty"`
		}{v, broken}); err != nil {
			return err
		}
	} else {
		tell(cmd.OutOrStdout(), v, broken)
	}
	if v.Outcome != suite.Green || len(broken) > 0 {
		return errSaid
	}
	if temporary && !c.keep {
		return os.RemoveAll(v.Dir)
	}
	return nil
}

// tell prints a verdict for people.
func tell(w io.Writer, v suite.Verdict, broken []string) {
	fmt.Fprintln(w, v.Line())
	if len(v.Gaps) > 0 {
		fmt.Fprintf(w, "leader hit until the next batch allocated: %s\n", suite.SpreadOf(v.Gaps))
	}
	fmt.Fprint(w, suite.LeftOutText(v.LeftOut))
	if len(v.Trimmed) > 0 {
		fmt.Fprintf(w, "NOT JUDGED: %s: drivers removed what their snapshots hold\n", strings.Join(v.Trimmed, ", "))
	}
	for _, r := range v.Reasons {
		fmt.Fprintf(w, "NOT GREEN: %s\n", r)
	}
	for _, b := range broken {
		fmt.Fprintf(w, "ASSERTION FAILED: %s\n", b)
	}
	if v.Outcome != suite.Green {
		fmt.Fprintf(w, "see %s; repeat by its repeat.sh\n", v.Dir)
	}
}

// seedOf takes one from the clock where none is given.
func seedOf(cmd *cobra.Command, seed uint64) uint64 {
	if cmd.Flags().Changed("seed") {
		return seed
	}
	return uint64(time.Now().UnixNano()) % 1_000_000_000
}

// failed makes an error of the suite that of a command: cancelled ones say so.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &statusError{errors.New("chaos: interrupted"), statusFailed}
	}
	return fmt.Errorf("chaos: %w", err)
}
