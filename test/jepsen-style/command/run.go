package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/suite"
)

// runFlags are those of run.
type runFlags struct {
	common
	nodes, rate int
	time, every time.Duration
	seed        uint64
	text        string
	kinds       []string
}

func runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run one schedule of faults against a local cluster, and give a verdict",
		Long: "Runs one schedule: that of --schedule, in the grammar of docs/cli.md, or one that is drawn from --seed. The folder of the run\n" +
			"holds the schedule, the history, the logs, the ledgers and the verdict. Exit status 1 if anything is not as it must be.",
		Example: "  raftstream chaos run --nodes 5 --time 2m --seed 8412\n" +
			"  raftstream chaos run --schedule 'at 5s kill leader for 0s..3s; every 4s..8s pause any for 1s..3s'\n" +
			"  raftstream chaos run --schedule @storm.txt --assert 'gap<2s,lost=0,duplicated=0' -o json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.flags(cmd)
	flags := cmd.Flags()
	flags.IntVar(&f.nodes, "nodes", suite.DefaultNodes, "nodes of the cluster, 1 to 7; from the sixth on they compute only")
	flags.DurationVar(&f.time, "time", time.Minute, "how long the schedule goes on")
	flags.IntVar(&f.rate, "rate", suite.DefaultRate, "records a second that clients aim at, all together")
	flags.Uint64Var(&f.seed, "seed", 0, "what is left to chance (default: from the clock; the verdict names it)")
	flags.StringVar(&f.text, "schedule", "", "schedule as text, lines apart by ; or line ends, or @FILE")
	flags.StringSliceVar(&f.kinds, "kinds", nil, "kinds of faults to draw from (default: all that can be brought about here)")
	flags.DurationVar(&f.every, "every", 0, "mean time between faults of a schedule that is drawn")
	f.assertFlag(cmd)
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command) error {
	asserts, err := parseAsserts(f.asserts)
	if err != nil {
		return err
	}
	f.seed = seedOf(cmd, f.seed)
	plan, planned, err := f.plan(cmd)
	if err != nil {
		return err
	}
	var kinds []schedule.Kind
	for _, k := range f.kinds {
		kinds = append(kinds, schedule.Kind(k))
	}
	return execute(cmd, &f.common, asserts, planned, suite.Options{
		WholeLogs: slices.ContainsFunc(asserts, func(a assertion) bool { return a.what == gap }), // they are measured by logs
		Nodes:     f.nodes, Layer: f.layer, Schedule: plan, Seed: f.seed, Kinds: kinds, Every: f.every, Time: f.time, Rate: f.rate,
	})
}

// plan reads the schedule of the flag, nil without one.
func (f *runFlags) plan(cmd *cobra.Command) (*schedule.Schedule, []string, error) {
	if f.text == "" {
		return nil, nil, nil
	}
	text := f.text
	if path, ok := strings.CutPrefix(f.text, "@"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, usagef("flag --schedule: %w", err)
		}
		text = string(b)
	}
	if !schedule.Headed(text) {
		text = fmt.Sprintf("seed=%d nodes=%d rate=%d time=%v;", f.seed, f.nodes, f.rate, f.time) + text // lines keep their numbers
	} else {
		for _, name := range []string{"nodes", "rate", "time"} {
			if cmd.Flags().Changed(name) {
				return nil, nil, usagef("flag --%s: the schedule says itself what the run is, expected one of them", name)
			}
		}
	}
	p, err := schedule.Parse(text)
	if err != nil {
		return nil, nil, usagef("flag --schedule: %w", err)
	}
	if cmd.Flags().Changed("seed") {
		p.Seed = f.seed
	}
	s := p.Expand()
	return &s, s.Workloads, nil
}

// execute does one run and prints its verdict.
func execute(cmd *cobra.Command, c *common, asserts []assertion, planned []string, o suite.Options) error {
	dir, temporary, err := c.folder()
	if err != nil {
		return err
	}
	o.Say, o.Dir = speaker(cmd.ErrOrStderr()), filepath.Join(dir, "run")
	if !temporary {
		o.Dir = dir
	}
	if o.Node, err = c.prepareNode(cmd.Context(), dir+"-node", o.Say); err != nil {
		return err
	}
	specs, err := c.specs(o.Node, planned, o.Say)
	if err != nil {
		return err
	}
	o.Workloads = made(specs)
	o.Replay = replayArgs(c, o.Node)
	v, err := suite.Run(cmd.Context(), o)
	if err != nil {
		return failed(cmd.Context(), err)
	}
	return conclude(cmd, v, asserts, c, temporary)
}

// replayArgs is the command that runs the schedule of a folder again as it was run here.
func replayArgs(c *common, node suite.Node) []string {
	args := []string{node.Path, "chaos", "replay"}
	if exe, err := os.Executable(); err == nil {
		args[0] = exe
	}
	if c.node != "" {
		args = append(args, "--node", c.node)
	}
	if c.layer != 0 {
		args = append(args, "--layer", fmt.Sprint(c.layer))
	}
	return args
}

func replayCommand() *cobra.Command {
	var c common
	cmd := &cobra.Command{
		Use:     "replay DIR|FILE",
		Short:   "Run the schedule of an earlier run again",
		Long:    "Runs a concrete schedule again: that of the folder of a run, or a file such as schedule.json or min-schedule.json.",
		Example: "  raftstream chaos replay tmp/store/seed8412\n  raftstream chaos replay min-schedule.json --keep --dir again",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asserts, err := parseAsserts(c.asserts)
			if err != nil {
				return err
			}
			s, err := readSchedule(args[0])
			if err != nil {
				return err
			}
			return execute(cmd, &c, asserts, s.Workloads, suite.Options{Layer: c.layer, Schedule: &s})
		},
	}
	c.flags(cmd)
	c.assertFlag(cmd)
	return cmd
}

// readSchedule reads a concrete schedule from a run's folder or from a file.
func readSchedule(path string) (s schedule.Schedule, err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "schedule.json")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return s, usagef("schedule: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, usagef("schedule %s: %w", path, err)
	}
	if err := s.Check(); err != nil {
		return s, usagef("schedule %s: %w", path, err)
	}
	return s, nil
}
