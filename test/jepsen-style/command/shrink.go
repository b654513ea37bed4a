package command

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/suite"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// shrinkFlags are those of shrink.
type shrinkFlags struct {
	common
	runs int
	out  string
}

func shrinkCommand() *cobra.Command {
	var f shrinkFlags
	cmd := &cobra.Command{
		Use:   "shrink DIR|FILE",
		Short: "Find the least schedule that still fails",
		Long: "Runs parts of a schedule again and again, to leave out what a violation does not need: events, time, then their length.\n" +
			"A part counts as failing when one of --runs runs is violated. Writes the least one found, which replay takes.",
		Example: "  raftstream chaos shrink tmp/store/seed8412 --runs 3",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	f.flags(cmd)
	cmd.Flags().IntVar(&f.runs, "runs", 3, "runs of each candidate; more where the violation is rare")
	cmd.Flags().StringVar(&f.out, "out", "min-schedule.json", "file for the result")
	return cmd
}

func (f *shrinkFlags) run(cmd *cobra.Command, path string) error {
	if f.runs < 1 {
		return usagef("flag --runs: %d, expected at least 1", f.runs)
	}
	s, err := readSchedule(path)
	if err != nil {
		return err
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
	specs, err := f.specs(node, s.Workloads, say)
	if err != nil {
		return err
	}
	h := &shrinking{runs: f.runs, dir: dir, say: say, specs: specs, options: suite.Options{Layer: f.layer, Node: node}}
	least, err := schedule.Shrink(cmd.Context(), s, h.fails)
	if err != nil {
		return failed(cmd.Context(), err)
	}
	b, err := json.MarshalIndent(least, "", "  ")
	if err == nil {
		err = os.WriteFile(f.out, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("chaos: shrink: %w", err)
	}
	if temporary && !f.keep {
		err = os.RemoveAll(dir)
	}
	if asJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]any{"events_before": len(s.Events), "events": len(least.Events), "runs": h.number, "violated": h.violated, "file": f.out})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d of %d events are left after %d runs, %d of them violated; see %s\n", len(least.Events), len(s.Events), h.number, h.violated, f.out)
	return err
}

// shrinking runs candidates.
type shrinking struct {
	options          suite.Options
	specs            []workload.Spec
	runs             int
	dir              string
	say              func(string, ...any)
	number, violated int
}

// fails reports whether one of some runs of a schedule is violated.
func (h *shrinking) fails(ctx context.Context, s schedule.Schedule) (bool, error) {
	for range h.runs {
		h.number++
		o := h.options
		o.Schedule, o.Workloads, o.Dir = &s, made(h.specs), filepath.Join(h.dir, fmt.Sprintf("run%d", h.number))
		v, err := suite.Run(ctx, o)
		if err != nil {
			return false, err
		}
		h.say("%d events, run %d: %s", len(s.Events), h.number, v.Outcome)
		if err := os.RemoveAll(o.Dir); err != nil {
			return false, err
		}
		if v.Outcome == suite.Violated {
			h.violated++
			return true, nil
		}
	}
	return false, nil
}
