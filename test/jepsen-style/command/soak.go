package command

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/suite"
)

// soakFlags are those of soak.
type soakFlags struct {
	common
	nodes          []int
	runs, parallel int
	rate           int
	length         time.Duration
	each, every    time.Duration
	seed           uint64
	kinds          []string
	strict         bool
}

func soakCommand() *cobra.Command {
	var f soakFlags
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Run random schedules one after the other, and sum up",
		Long: "Draws schedules, sizes of clusters and workloads from consecutive seeds and runs them until the time is over. Folders of runs\n" +
			"that are not green stay. Exit status 1 if a run was violated or gave no verdict. One in which a planned fault did not take\n" +
			"effect, or something could not be checked, is counted as incomplete, and told; with --strict it gives exit status 1 too.",
		Example: "  raftstream chaos soak --for 1h --node build --strict --dir tmp/store\n  raftstream chaos soak --runs 1 --seed 8412",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.flags(cmd)
	flags := cmd.Flags()
	flags.IntSliceVar(&f.nodes, "nodes", []int{3}, "sizes of clusters to draw from")
	flags.DurationVar(&f.length, "for", 10*time.Minute, "how long to begin new runs")
	flags.IntVar(&f.runs, "runs", 0, "runs at most (default: as many as there is time for)")
	flags.IntVar(&f.parallel, "parallel", 1, "clusters at a time")
	flags.DurationVar(&f.each, "time", suite.DefaultTime, "how long the schedule of one run goes on")
	flags.IntVar(&f.rate, "rate", suite.DefaultRate, "records a second that the clients of one run aim at")
	flags.DurationVar(&f.every, "every", 0, "mean time between faults")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the first run (default: from the clock)")
	flags.BoolVar(&f.strict, "strict", false, "exit status 1 also if a run was incomplete: for machines with nothing else to do, where faults take effect")
	flags.StringSliceVar(&f.kinds, "kinds", nil, "kinds of faults to draw from (default: all that can be brought about here)")
	return cmd
}

func (f *soakFlags) run(cmd *cobra.Command) error {
	for _, n := range f.nodes {
		if n < 1 || n > 7 {
			return usagef("flag --nodes: %d, expected 1 to 7", n)
		}
	}
	if f.parallel < 1 {
		return usagef("flag --parallel: %d, expected at least 1", f.parallel)
	}
	dir, temporary, err := f.folder()
	if err != nil {
		return err
	}
	say := speaker(cmd.ErrOrStderr())
	node, err := f.prepareNode(cmd.Context(), dir+"-node", say)
	if err != nil {
		return err
	}
	specs, err := f.specs(node, nil, say)
	if err != nil {
		return err
	}
	var kinds []schedule.Kind
	for _, k := range f.kinds {
		kinds = append(kinds, schedule.Kind(k))
	}
	seed := seedOf(cmd, f.seed)
	say("first seed %d", seed)
	sum, err := suite.Many(cmd.Context(), suite.ManyOptions{
		Each: suite.Options{
			Layer: f.layer, Node: node, Kinds: kinds, Every: f.every, Time: f.each, Rate: f.rate, Say: say, Replay: replayArgs(&f.common, node),
		},
		Workloads: specs, Nodes: f.nodes, Seed: seed, For: f.length, Runs: f.runs, Parallel: f.parallel, Dir: dir, Keep: f.keep,
	})
	if asJSON(cmd) {
		if err := printJSON(cmd.OutOrStdout(), sum); err != nil {
			return err
		}
	} else {
		fmt.Fprint(cmd.OutOrStdout(), sum.Text())
	}
	switch {
	case err != nil:
		return failed(cmd.Context(), err)
	case f.fails(&sum):
		return errSaid
	case temporary && !f.keep && sum.Green == sum.Runs:
		return os.RemoveAll(dir)
	}
	return nil
}

// fails reports whether what runs came to gives exit status 1.
func (f *soakFlags) fails(sum *suite.Summary) bool {
	return sum.Runs == 0 || sum.Violated > 0 || f.strict && sum.Incomplete > 0
}
