package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// planOf reads a schedule as the command does that is given the flags.
func planOf(t *testing.T, text string, args ...string) (nodes int, took time.Duration, err error) {
	t.Helper()
	f := runFlags{text: text}
	cmd := &cobra.Command{}
	cmd.Flags().IntVar(&f.nodes, "nodes", 3, "")
	cmd.Flags().DurationVar(&f.time, "time", time.Minute, "")
	cmd.Flags().IntVar(&f.rate, "rate", 500, "")
	cmd.Flags().Uint64Var(&f.seed, "seed", 7, "")
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	s, _, err := f.plan(cmd)
	if err != nil {
		return 0, 0, err
	}
	return s.Nodes, time.Duration(s.TimeMS) * time.Millisecond, nil
}

// Flags give the run where the schedule does not, be it a text or a file, with comments or without.
func TestEitherTheScheduleGivesTheRunOrTheFlags(t *testing.T) {
	const storm = "at 1s kill n5 for 1s"
	path := filepath.Join(t.TempDir(), "storm.txt")
	if err := os.WriteFile(path, []byte("# a storm\n"+storm+"; at 2s kill n1 for 1s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{storm, "# a storm\n" + storm, "@" + path} {
		nodes, took, err := planOf(t, text, "--nodes", "5", "--time", "20s")
		if err != nil || nodes != 5 || took != 20*time.Second {
			t.Errorf("%q: %d nodes for %v, %v, expected 5 for 20s", text, nodes, took, err)
		}
	}
	headed := "nodes=5 time=20s;" + storm
	if nodes, took, err := planOf(t, headed); err != nil || nodes != 5 || took != 20*time.Second {
		t.Errorf("%q: %d nodes for %v, %v, expected 5 for 20s", headed, nodes, took, err)
	}
	for _, flag := range []string{"--nodes=5", "--time=20s", "--rate=100"} {
		name, _, _ := strings.Cut(flag, "=")
		if _, _, err := planOf(t, headed, flag); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s beside a schedule that gives the run: %v", flag, err)
		}
	}
}
