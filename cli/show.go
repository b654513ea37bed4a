package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

const staleUsage = "answer from the node that is asked, though its copy may be old"

func (e *env) appsCommand(g *globals) *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:     "apps",
		Short:   "List applications",
		Example: "  raftstream apps -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.call(cmd.Context(), g, func(ctx context.Context, c *client.Client) error {
				reply, err := c.ListApps(ctx, &raftstreamv1.ListAppsRequest{Stale: stale})
				if err != nil {
					return fmt.Errorf("list applications: %w", err)
				}
				if g.output == "json" {
					return printJSON(e.out, appsJSON{each(reply.GetApps(), appOf)})
				}
				t := newTable(e.out, "NAME", "APP", "STATE", "BATCH", "LAST COMPLETED", "PENDING", "RECEIVED", "PROCESSED", "COORDINATOR")
				for _, a := range reply.GetApps() {
					j := appOf(a)
					t.row(j.Name, j.App, j.State, millis(j.BatchMS), clock(j.LastCompletedMS), j.PendingBatches, grouped(j.RecordsReceived), grouped(j.RecordsProcessed), j.Coordinator)
				}
				return t.flush()
			})
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, staleUsage)
	return cmd
}

func (e *env) appCommand(g *globals) *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:     "app NAME",
		Short:   "Show one application",
		Example: "  raftstream app wc",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.call(cmd.Context(), g, func(ctx context.Context, c *client.Client) error {
				reply, err := c.GetApp(ctx, &raftstreamv1.GetAppRequest{Name: args[0], Stale: stale})
				if err != nil {
					return fmt.Errorf("show %s: %w", args[0], err)
				}
				j := oneAppJSON{appOf(reply.GetApp()), reply.GetApp().GetUnderReplicated()}
				if g.output == "json" {
					return printJSON(e.out, j)
				}
				return e.printApp(&j)
			})
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, staleUsage)
	return cmd
}

func (e *env) printApp(j *oneAppJSON) error {
	t := newTable(e.out, "name", j.Name)
	t.row("application", j.App)
	t.row("id", j.ID)
	t.row("state", j.State)
	if j.Error != "" {
		t.row("error", j.Error)
	}
	t.row("parameters", string(j.Params))
	t.row("batch interval", millis(j.BatchMS))
	t.row("block interval", millis(j.BlockMS))
	t.row("partitions", j.Partitions)
	t.row("copies of a block", j.Replication)
	t.row("submitted", clock(j.SubmittedMS))
	if j.StoppedMS != 0 {
		t.row("stopped", clock(j.StoppedMS))
	}
	t.row("last batch allocated", clock(j.LastAllocatedMS))
	t.row("last batch completed", clock(j.LastCompletedMS))
	t.row("pending batches", j.PendingBatches)
	t.row("records received", grouped(j.RecordsReceived))
	t.row("records queued", grouped(j.RecordsQueued))
	t.row("records processed", grouped(j.RecordsProcessed))
	t.row("records discarded", grouped(j.RecordsDiscarded))
	t.row("blocks with too few copies", j.UnderReplicated)
	if j.CheckpointURL != "" {
		t.row("checkpoints of state in", j.CheckpointURL)
	}
	if j.CheckpointTimeMS != 0 {
		t.row("last checkpoint of state", fmt.Sprintf("%s, %s bytes", clock(j.CheckpointTimeMS), grouped(j.CheckpointBytes)))
	}
	t.row("coordinator", j.Coordinator)
	t.row("fingerprint", j.Fingerprint)
	return t.flush()
}

func (e *env) batchesCommand(g *globals) *cobra.Command {
	var stale bool
	var last int32
	cmd := &cobra.Command{
		Use:     "batches NAME",
		Short:   "List the newest batches of an application",
		Example: "  raftstream batches wc --last 20",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if last < 1 {
				return usagef("flag --last: %d, expected at least 1", last)
			}
			return e.call(cmd.Context(), g, func(ctx context.Context, c *client.Client) error {
				reply, err := c.ListBatches(ctx, &raftstreamv1.ListBatchesRequest{Name: args[0], Last: last, Stale: stale})
				if err != nil {
					return fmt.Errorf("list batches of %s: %w", args[0], err)
				}
				if g.output == "json" {
					return printJSON(e.out, batchesJSON{each(reply.GetBatches(), batchOf)})
				}
				t := newTable(e.out, "TIME", "STATE", "RECORDS", "DELAY", "PROCESSING", "TOTAL", "ATTEMPTS", "ERROR")
				for _, b := range reply.GetBatches() {
					j := batchOf(b)
					t.row(clock(j.TimeMS), j.State, grouped(j.Records), millis(j.SchedulingDelayMS), millis(j.ProcessingMS), millis(j.TotalDelayMS), j.Attempts, j.Error)
				}
				return t.flush()
			})
		},
	}
	cmd.Flags().Int32Var(&last, "last", 100, "at most this many")
	cmd.Flags().BoolVar(&stale, "stale", false, staleUsage)
	return cmd
}

func (e *env) receiversCommand(g *globals) *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:   "receivers [NAME]",
		Short: "List input streams and where their receivers run",
		Long: "Lists input streams. A stream of kind receiver is fed by a receiver on the node shown. One of kind direct is read by the\n" +
			"tasks of each batch; what its source has up to MARK is in batches that nothing reads again, and may be removed there.",
		Example: "  raftstream receivers wc",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := &raftstreamv1.ListReceiversRequest{Stale: stale}
			if len(args) == 1 {
				request.Name = args[0]
			}
			return e.call(cmd.Context(), g, func(ctx context.Context, c *client.Client) error {
				reply, err := c.ListReceivers(ctx, request)
				if err != nil {
					return fmt.Errorf("list receivers: %w", err)
				}
				if g.output == "json" {
					return printJSON(e.out, receiversJSON{each(reply.GetReceivers(), receiverOf)})
				}
				t := newTable(e.out, "APP", "STREAM", "KIND", "SOURCE", "STATE", "NODE", "INSTANCE", "SINCE", "RATE", "POSITIONS", "MARK", "ERRORS", "LAST ERROR")
				for _, r := range reply.GetReceivers() {
					j := receiverOf(r)
					if j.Warning != "" {
						j.LastError = strings.TrimSuffix("warning: "+j.Warning+"; "+j.LastError, "; ")
					}
					t.row(j.App, j.Stream, j.Kind, j.Source, j.State, j.Node, j.Instance, clock(j.SinceMS), perSecond(j.Rate), j.Positions, j.Mark, j.Errors, j.LastError)
				}
				return t.flush()
			})
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, staleUsage)
	return cmd
}
