package cli

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"
)

// logFlags are those of ledger log.
type logFlags struct {
	data        string
	after, upTo uint64
	last        int
}

func (e *env) ledgerLogCommand(g *globals) *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "log --data DIR",
		Short: "Print the log of a node that does not run",
		Long: "Reads the ledger's log in the data directory of a node that is stopped or dead, and prints its commands in order, with\n" +
			"what became of each. Nothing on disk is changed, and the node cannot start meanwhile. The last line is the applied index\n" +
			"and the state's hash, as 'raftstream ledger' shows them of a node that runs.\n\n" +
			"Entries at the end may not be committed: a node does not keep on disk which are, and the cluster may replace them. With\n" +
			"a snapshot, entries before it may be missing, and those before its end have no result unless the log goes back to 1.",
		Example: "  raftstream ledger log --data /var/lib/raftstream --last 50\n  raftstream ledger log --data /var/lib/raftstream -o json | jq 'select(.kind==\"BlocksAdded\")'",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if f.data == "" {
				return usagef("flag --data is missing: the data directory of a node that does not run")
			}
			if f.last < 0 {
				return usagef("flag --last: %d, expected 0 or more", f.last)
			}
			return e.ledgerLog(g, f)
		},
	}
	cmd.Flags().StringVar(&f.data, "data", "", "data directory of a node that does not run")
	cmd.Flags().Uint64Var(&f.after, "after", 0, "print only commands of later entries than this index")
	cmd.Flags().Uint64Var(&f.upTo, "up-to", math.MaxUint64, "end with this index: the hash is that of the state then")
	cmd.Flags().IntVar(&f.last, "last", 0, "print only the last N commands of those")
	return cmd
}

// logPrinter prints the lines that flags ask for; the last ones are known at the end only.
type logPrinter struct {
	last  int
	held  []func() error // at most last
	next  int            // of held, in a ring
	print func(*logged) (func() error, error)
}

func (p *logPrinter) add(s *logged) error {
	line, err := p.print(s)
	switch {
	case err != nil:
		return err
	case p.last == 0:
		return line()
	case len(p.held) < p.last:
		p.held = append(p.held, line)
	default:
		p.held[p.next] = line
		p.next = (p.next + 1) % p.last
	}
	return nil
}

func (p *logPrinter) flush() error {
	for i := range p.held {
		if err := p.held[(p.next+i)%len(p.held)](); err != nil {
			return err
		}
	}
	return nil
}

// ledgerLog prints also what comes before damage that it finds.
func (e *env) ledgerLog(g *globals, f logFlags) (err error) {
	r, err := openReplay(f.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := e.logHead(g, r); err != nil {
		return err
	}
	p := &logPrinter{last: f.last, print: func(s *logged) (func() error, error) { return e.logLine(g, r, s) }}
	err = r.run(f.upTo, func(s *logged) error {
		if s.entry.Index <= f.after {
			return nil
		}
		return p.add(s)
	})
	if err := errors.Join(p.flush(), err); err != nil {
		return err
	}
	return e.logEnd(g, r)
}

// logColumns are as wide as most cells: a log may be too long to be lined up.
const logColumns = "%-9s %-5s %-12s  %-21s  %-14s  %s\n"

var oneLine = strings.NewReplacer("\n", " ", "\t", " ", "\r", " ")

func wroteOutput(err error) error {
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func (e *env) logHead(g *globals, r *replay) error {
	j := r.headJSON()
	if g.output == "json" {
		return printJSON(e.out, j)
	}
	has := "no snapshot"
	if j.SnapshotIndex > 0 {
		has = fmt.Sprintf("a snapshot of %d", j.SnapshotIndex)
	}
	_, err := fmt.Fprintf(e.out, "%s (%s) in term %d: entries %d to %d, %s\n\n"+logColumns, j.Node, j.NodeID, j.Term,
		j.FirstIndex, j.LastIndex, has, "INDEX", "TERM", "TIME", "KIND", "APP", "TEXT")
	return wroteOutput(err)
}

// logLine prepares a line while the state is that of its entry.
func (e *env) logLine(g *globals, r *replay, s *logged) (func() error, error) {
	if g.output == "json" {
		j, err := r.lineJSON(s)
		return func() error { return printJSON(e.out, j) }, err
	}
	at, app := "-", "-"
	if !s.entry.Appended.IsZero() {
		at = s.entry.Appended.Local().Format("15:04:05.000")
	}
	if s.n > 0 {
		if n := appIDOf(s); n != 0 {
			if app = appName(s, n); app == "" {
				app = fmt.Sprint(n)
			}
		}
	}
	line := fmt.Sprintf(logColumns, fmt.Sprint(s.entry.Index), fmt.Sprint(s.entry.Term), at, kindOf(s), app, oneLine.Replace(r.text(s)))
	return func() error {
		_, err := fmt.Fprintln(e.out, strings.TrimRight(line, " \n"))
		return wroteOutput(err)
	}, nil
}

func (e *env) logEnd(g *globals, r *replay) error {
	v := r.machine.View()
	j := ledgerJSON{r.dir.Name(), v.Index(), fmt.Sprintf("%x", v.Hash())}
	if g.output == "json" {
		return printJSON(e.out, j)
	}
	if _, err := fmt.Fprintln(e.out); err != nil {
		return wroteOutput(err)
	}
	t := newTable(e.out, "NODE", "APPLIED INDEX", "STATE HASH")
	t.row(j.Node, j.AppliedIndex, j.StateHash)
	return t.flush()
}
