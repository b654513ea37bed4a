package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

// demoFlags are the flags of demo.
type demoFlags struct {
	nodes, lines int
	dir, text    string
	batch, feed  time.Duration
	noKill, keep bool
}

// demoName is the name of the application that the demo submits.
const demoName = "demo"

func (e *env) demoCommand(g *globals) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a cluster that loses its leader and nothing else",
		Long: "Starts a cluster of real processes on loopback, counts the words of real text with it, kills the leading node while\n" +
			"it runs, takes that node back, and holds the totals against a count of its own. Exit status 1 if a word is lost or\n" +
			"counted twice.",
		Example: "  raftstream demo\n  raftstream demo --nodes 5 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.nodes < 1 || f.nodes > 9 {
				return usagef("flag --nodes: %d, expected 1 to 9", f.nodes)
			}
			if f.nodes < 3 && !f.noKill {
				return usagef("flag --nodes: %d, expected at least 3 so that a majority survives, or --no-kill", f.nodes)
			}
			if f.lines < 1 {
				return usagef("flag --lines: %d, expected at least 1", f.lines)
			}
			return e.demo(cmd.Context(), g, &f)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.nodes, "nodes", 3, "nodes to start")
	flags.StringVar(&f.dir, "dir", "", "directory for data, logs and results (default: a temporary one)")
	flags.BoolVar(&f.noKill, "no-kill", false, "kill no node")
	flags.BoolVar(&f.keep, "keep", false, "leave the directory there")
	flags.IntVar(&f.lines, "lines", 300_000, "lines of text to send, at most")
	flags.DurationVar(&f.feed, "feed", 15*time.Second, "over how long to send them, at least")
	flags.DurationVar(&f.batch, "batch", 500*time.Millisecond, "batch interval")
	flags.StringVar(&f.text, "text", "", "directory with .go, .md or .txt files to count (default: the sources of the Go installation)")
	return cmd
}

// demo is one run of the demo: what its steps share.
type demo struct {
	flags   *demoFlags
	screen  *screen
	dir     string
	lines   []string
	want    map[string]int64
	cluster *demoNodes
	client  *client.Client
	feeder  *demoFeeder
	verdict verdict
}

func (e *env) demo(ctx context.Context, g *globals, f *demoFlags) (err error) {
	people := e.out
	if g.output == "json" {
		people = e.err
	}
	d := &demo{flags: f, screen: newScreen(people, e.getenv)}
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"prepare", func(ctx context.Context) error { return d.prepare(ctx, e.getenv) }},
		{"start the nodes", d.startNodes},
		{"submit word count", d.submit},
		{"count under fire", d.run},
		{"stop word count", d.stop},
		{"compare", d.compare},
	}
	defer func() { d.close(err != nil && ctx.Err() == nil) }()
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			d.screen.wipe()
			if ctx.Err() != nil {
				return errInterrupted
			}
			return fmt.Errorf("demo: %s: %w", s.what, err)
		}
	}
	return e.demoVerdict(g, d)
}

// prepare finds the text, counts it and makes the directory.
func (d *demo) prepare(ctx context.Context, getenv func(string) (string, bool)) error {
	from := d.flags.text
	if from == "" {
		var err error
		if from, err = textDir(ctx, getenv); err != nil {
			return err
		}
	}
	var err error
	if d.lines, err = readText(from, d.flags.lines); err != nil {
		return err
	}
	d.want, d.verdict.Sent = countWords(d.lines)
	d.verdict.Lines = int64(len(d.lines))
	if d.flags.dir == "" {
		d.dir, err = os.MkdirTemp("", "raftstream-demo-")
	} else if d.dir, err = filepath.Abs(d.flags.dir); err == nil {
		err = emptyDir(d.dir)
	}
	if err != nil {
		return err
	}
	d.screen.event("%s lines of %s, %s words, %s different ones", grouped(d.verdict.Lines), from, grouped(d.verdict.Sent), grouped(int64(len(d.want))))
	return nil
}

// emptyDir makes sure that dir is there and has nothing in it: results of an earlier run must not be counted.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("directory %s is not empty, expected an empty or a new one", dir)
	}
	return err
}

// clusterTime bounds how long the nodes may take to form a cluster.
const clusterTime = 30 * time.Second

// startNodes starts the processes and waits until all of them belong to a cluster with a leader.
func (d *demo) startNodes(ctx context.Context) error {
	var err error
	if d.cluster, err = newDemoNodes(d.dir, d.flags.nodes); err != nil {
		return err
	}
	var seeds []string
	for _, n := range d.cluster.nodes {
		if err := d.cluster.start(n); err != nil {
			return err
		}
		seeds = append(seeds, n.addr())
		d.screen.event("%s started: process %d, rpc %s, log %s", n.name, n.cmd.Process.Pid, n.addr(), n.log)
	}
	if d.client, err = client.Dial(seeds); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, clusterTime)
	defer cancel()
	var members *raftstreamv1.ListMembersReply
	err = d.until(ctx, func(ctx context.Context) bool {
		members, err = d.client.ListMembers(ctx, &raftstreamv1.ListMembersRequest{})
		return err == nil && members.GetLeader() != "" && alive(members) == len(d.cluster.nodes)
	})
	if err != nil {
		return fmt.Errorf("no cluster of %d nodes with a leader: %w", len(d.cluster.nodes), err)
	}
	d.screen.event("cluster of %d nodes, %s leads in term %d", len(members.GetMembers()), members.GetLeader(), members.GetTerm())
	return nil
}

func alive(members *raftstreamv1.ListMembersReply) int {
	n := 0
	for _, m := range members.GetMembers() {
		if m.GetStatus() == raftstreamv1.MemberStatus_MEMBER_STATUS_ALIVE && m.GetRaft() != raftstreamv1.RaftRole_RAFT_ROLE_NONE {
			n++
		}
	}
	return n
}

// Times of looking at the cluster.
const (
	lookEvery = 10 * time.Millisecond
	lookLimit = 5 * time.Second // of one call
)

// until looks again and again until ok, ctx ends or a node has ended by itself.
func (d *demo) until(ctx context.Context, ok func(context.Context) bool) error {
	for {
		if err := d.cluster.failedBut(nil); err != nil {
			return err
		}
		call, cancel := context.WithTimeout(ctx, lookLimit)
		done := ok(call)
		cancel()
		if done {
			return nil
		}
		if err := wait(ctx, lookEvery); err != nil {
			return err
		}
	}
}

func (d *demo) prefix() string { return filepath.Join(d.dir, "out", "words") }

func (d *demo) submit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTime)
	defer cancel()
	_, err := d.client.Submit(ctx, &raftstreamv1.SubmitRequest{
		RequestId: randomID(), Program: "wordcount", Name: demoName, BatchMs: d.flags.batch.Milliseconds(),
		Params: map[string]string{"source": "ingest", "out": d.prefix()},
	})
	if err != nil {
		return err
	}
	d.screen.event("wordcount submitted: a batch every %v, results in %s-*", d.flags.batch, d.prefix())
	return nil
}

// stopTime bounds how long the application may take to process what it has received.
const stopTime = 30 * time.Second

// stop lets the application process everything and waits until it has.
func (d *demo) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	reply, err := d.client.Stop(ctx, &raftstreamv1.StopRequest{Name: demoName})
	if err != nil {
		return err
	}
	if err := awaitStopped(ctx, d.client, reply.GetId()); err != nil {
		return err
	}
	app, err := d.client.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: reply.GetId()})
	if err != nil {
		return err
	}
	a := app.GetApp()
	if a.GetBatchMs() > 0 {
		d.verdict.Batches = (a.GetLastCompletedMs() - a.GetZeroTimeMs()) / a.GetBatchMs()
	}
	d.screen.event("wordcount stopped: %s records processed in %d batches", grouped(a.GetRecordsProcessed()), d.verdict.Batches)
	return nil
}

func (d *demo) compare(context.Context) error {
	got, err := sumBatches(d.prefix())
	if err != nil {
		return err
	}
	d.verdict.compare(d.want, got)
	return nil
}

// errInterrupted ends a demo that was told to end.
var errInterrupted = errors.New("demo: interrupted")

// errWrongCount is the demo's own failure: its reason is the verdict, which is printed.
var errWrongCount = errors.New("words were lost or counted twice")

func (e *env) demoVerdict(g *globals, d *demo) error {
	v := &d.verdict
	color := seqGreen
	if !v.good() {
		color = seqRed
	}
	for _, example := range v.examples {
		d.screen.event("%s", example)
	}
	d.screen.event("%s", d.screen.color(color, fmt.Sprintf("sent %s words, counted %s: lost %s, duplicated %s",
		grouped(v.Sent), grouped(v.Counted), grouped(v.Lost), grouped(v.Duplicated))))
	if g.output == "json" {
		if err := printJSON(e.out, v); err != nil {
			return err
		}
	}
	if !v.good() {
		return &saidError{errWrongCount}
	}
	return nil
}

// close ends what is left of the demo. The directory stays when that is asked for, or when it shows why the demo failed.
func (d *demo) close(failed bool) {
	if d.feeder != nil {
		d.feeder.cancel()
	}
	if d.client != nil {
		_ = d.client.Close() // nothing is left to be sent on it
	}
	if d.cluster != nil {
		d.cluster.stopAll(context.Background())
	}
	switch {
	case d.dir == "":
	case d.flags.keep || failed || !d.verdict.good(): // what it shows is worth a look
		d.screen.event("data, logs and results are in %s", d.dir)
	default:
		if err := os.RemoveAll(d.dir); err != nil {
			d.screen.event("remove %s: %v", d.dir, err)
		}
	}
}
