// Command bench measures what raftstream promises and prints a table in Markdown: the measure, what was measured, the
// target, and what it was compared with. Runs of the things that are compared with each other alternate, so that a slow
// moment of the machine hits both. It owns no load of its own beyond that: real processes of the node's binary, and the
// benchmarks of the packages. It must not know how a measure is reached.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// options say what to measure and how often.
type options struct {
	node   string // the node's binary
	dir    string // of the processes' files
	only   string
	rounds int
	kills  int
	load   int // seconds of full load
}

// measure is one group of rows, from experiments that belong together.
type measure struct {
	name string
	run  func(ctx context.Context, o options) ([]row, error)
}

var measures = []measure{
	{"size", size},
	{"start", start},
	{"commit", groupCommit},
	{"tasks", tasks},
	{"batch", emptyBatch},
	{"words", words},
	{"fused", fused},
	{"windows", windows},
	{"keyed", keyed},
	{"codec", codecs},
	{"election", election},
	{"failover", failover},
	{"needless", needless},
	{"state", stateDeath},
	{"ingest", ingestRate},
	{"endtoend", endToEnd},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == raftProcess {
		if err := serveRaft(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.node, "node", "bin/raftstream", "binary of the node")
	flag.StringVar(&o.only, "only", "", "measures to run, separated by commas; all if empty: "+names())
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of what is compared")
	flag.IntVar(&o.kills, "kills", 60, "kills of a leader: at rest, as many without the election watch, and as many under load")
	flag.IntVar(&o.load, "load", 60, "seconds of full load")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names() string {
	all := make([]string, len(measures))
	for i, m := range measures {
		all[i] = m.name
	}
	return strings.Join(all, ", ")
}

// run measures and prints. A measure that fails has a row that says so, and the others go on.
func run(ctx context.Context, o options) error {
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp("", "raftstream-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	var rows []row
	var failed error
	for _, m := range chosen {
		fmt.Fprintln(os.Stderr, "measuring:", m.name)
		got, err := m.run(ctx, o)
		rows = append(rows, got...)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", m.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Print(table(rows))
	return failed
}

func choose(only string) ([]measure, error) {
	if only == "" {
		return measures, nil
	}
	var chosen []measure
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(measures, func(m measure) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no measure %q, expected some of %s", name, names())
		}
		chosen = append(chosen, measures[i])
	}
	return chosen, nil
}
