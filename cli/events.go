package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

// eventJSON is one line of events.
type eventJSON struct {
	Index   uint64 `json:"index"`
	TimeMS  int64  `json:"time_ms"`
	App     string `json:"app"`
	AppID   uint64 `json:"app_id"`
	Kind    string `json:"kind"`
	Text    string `json:"text"`
	Warning bool   `json:"warning"`
}

func eventOf(v *raftstreamv1.Event) eventJSON {
	return eventJSON{
		Index: v.GetRaftIndex(), TimeMS: v.GetTimeMs(), App: v.GetApp(), AppID: v.GetAppId(), Kind: v.GetKind(), Text: v.GetText(),
		Warning: v.GetWarning(),
	}
}

// Widths of the columns of events: a table that goes on cannot be lined up afterwards.
const eventColumns = "%-23s  %-10s  %-16s  %-26s  %s\n"

func (e *env) eventsCommand(g *globals) *cobra.Command {
	r := &raftstreamv1.EventsRequest{}
	cmd := &cobra.Command{
		Use:   "events [NAME]",
		Short: "Show what happened, and with --follow what happens",
		Long: "Shows the last events of one application, or of all and of the cluster, in the order of the ledger: sessions,\n" +
			"receivers, coordinators, failures, checkpoints and the like, not every batch. A node keeps the last 10,000 since its\n" +
			"last start. With --follow it goes on, also when the leader changes, until it is interrupted. INDEX of one run is\n" +
			"--after of the next. With -o json every event is one line.",
		Example: "  raftstream events wc\n  raftstream events --follow -o json --after 1200",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.Name = args[0]
			}
			return e.dial(cmd.Context(), g, func(ctx context.Context, c *client.Client) error { return e.events(ctx, g, c, r) })
		},
	}
	cmd.Flags().BoolVar(&r.Follow, "follow", false, "go on with what happens next")
	cmd.Flags().Uint64Var(&r.After, "after", 0, "only events of later log entries than this index")
	cmd.Flags().BoolVar(&r.Stale, "stale", false, staleUsage)
	return cmd
}

// errNoAnswer ends a call when no node has answered for --timeout.
var errNoAnswer = errors.New("no answer within --timeout")

// events prints events as they come. Being interrupted while it follows is its proper end.
func (e *env) events(ctx context.Context, g *globals, c *client.Client, r *raftstreamv1.EventsRequest) error {
	answered, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	limit := time.AfterFunc(g.timeout, func() { giveUp(errNoAnswer) })
	defer limit.Stop()
	headed := g.output == "json"
	err := c.Events(answered, r, func(reply *raftstreamv1.EventsReply) error {
		limit.Stop()
		if !headed {
			headed = true
			if _, err := fmt.Fprintf(e.out, eventColumns, "TIME", "INDEX", "APP", "KIND", "TEXT"); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
		}
		for _, v := range reply.GetEvents() {
			if err := e.printEvent(g, eventOf(v)); err != nil {
				return err
			}
		}
		limit.Reset(g.timeout)
		return nil
	})
	if r.GetFollow() && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	return nil
}

func (e *env) printEvent(g *globals, j eventJSON) error {
	if g.output == "json" {
		return printJSON(e.out, j)
	}
	app, kind := j.App, j.Kind
	if app == "" {
		app = "-"
	}
	if j.Warning {
		kind = "! " + kind
	}
	oneLine := strings.NewReplacer("\n", " ", "\t", " ")
	if _, err := fmt.Fprintf(e.out, eventColumns, clock(j.TimeMS), fmt.Sprint(j.Index), app, kind, oneLine.Replace(j.Text)); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
