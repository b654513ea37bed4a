package command

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

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
			"A part counts as failing when one of --runs runs is violated, or breaks an assertion of --assert by what was measured: a limit of\n" +
			"gap says nothing of a part without a failover. Writes the least one found, which replay takes.",
		Example: "  raftstream chaos shrink tmp/store/seed8412 --runs 3\n  raftstream chaos shrink tmp/store/seed8412 --assert 'gap<2s'",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	f.flags(cmd)
	f.assertFlag(cmd)
	cmd.Flags().IntVar(&f.runs, "runs", 3, "runs of each candidate; more where the violation is rare")
	cmd.Flags().StringVar(&f.out, "out", "min-schedule.json", "file for the result")
	return cmd
}

func (f *shrinkFlags) run(cmd *cobra.Command, path string) error {
	if f.runs < 1 {
		return usagef("flag --runs: %d, expected at least 1", f.runs)
	}
	asserts, err := parseAsserts(f.asserts)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(asserts, func(a assertion) bool { return a.what == acknowledged }); i >= 0 {
		return usagef("flag --assert: %q: shorter runs acknowledge less, expected something that they do not break by themselves", asserts[i].text)
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
	h := &shrinking{runs: f.runs, asserts: asserts, dir: dir, say: say, specs: specs, options: suite.Options{Layer: f.layer, Node: node}}
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
		return printJSON(cmd.OutOrStdout(), map[string]any{"events_before": len(s.Events), "events": len(least.Events), "runs": h.number, "failed": h.failed, "file": f.out})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d of %d events are left after %d runs, %d of them failed; see %s\n", len(least.Events), len(s.Events), h.number, h.failed, f.out)
	return err
}

// shrinking runs candidates.
type shrinking struct {
	options        suite.Options
	specs          []workload.Spec
	asserts        []assertion
	runs           int
	dir            string
	say            func(string, ...any)
	number, failed int
}

// fails reports whether one of some runs of a schedule fails.
func (h *shrinking) fails(ctx context.Context, s schedule.Schedule) (bool, error) {
	for range h.runs {
		h.number++
		o := h.options
		o.Schedule, o.Workloads, o.Dir = &s, made(h.specs), filepath.Join(h.dir, fmt.Sprintf("run%d", h.number))
		v, err := suite.Run(ctx, o)
		if err != nil {
			return false, err
		}
		why := failure(v, h.asserts)
		h.say("%d events, run %d: %s", len(s.Events), h.number, cmp.Or(why, string(v.Outcome)))
		if err := os.RemoveAll(o.Dir); err != nil {
			return false, err
		}
		if why != "" {
			h.failed++
			return true, nil
		}
	}
	return false, nil
}

// failure says why a run fails, "" if it does not: it is violated, or breaks an assertion by what was measured. What was not
// measured is no failure, or the least schedule would be one without any event.
func failure(v suite.Verdict, asserts []assertion) string {
	if v.Outcome == suite.Violated {
		return string(v.Outcome)
	}
	for _, a := range asserts {
		if why, measured := a.broken(&v); why != "" && measured {
			return why
		}
	}
	return ""
}
