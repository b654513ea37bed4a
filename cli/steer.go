package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

// changedJSON answers stop and resume.
type changedJSON struct {
	Name      string `json:"name"`
	ID        uint64 `json:"id"`
	RaftIndex uint64 `json:"raft_index"`
	Message   string `json:"message"`
}

func (e *env) stopCommand(g *globals) *cobra.Command {
	var now, wait bool
	cmd := &cobra.Command{
		Use:   "stop NAME",
		Short: "Stop an application",
		Long: "Stops an application: no more records are taken, and all that were received are processed. It waits, within\n" +
			"--timeout, until the application has stopped, and prints the state that it has come to; with --wait=false it\n" +
			"returns when the stop is committed. With --now the application ends after the running batch, and the number of\n" +
			"acknowledged records that this discards is printed.",
		Example: "  raftstream stop wc\n  raftstream stop wc --now",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.stop(cmd.Context(), g, args[0], now, wait)
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "do not process what was received")
	cmd.Flags().BoolVar(&wait, "wait", true, "return when the application has stopped, or --timeout is over")
	return cmd
}

func (e *env) stop(ctx context.Context, g *globals, name string, now, wait bool) error {
	return e.call(ctx, g, func(ctx context.Context, c *client.Client) error {
		reply, err := c.Stop(ctx, &raftstreamv1.StopRequest{Name: name, Now: now})
		if err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
		message := "stopping, goes on to its end without being waited for"
		if wait {
			switch err := awaitStopped(ctx, c, reply.GetId()); {
			case err == nil:
				message = "stopped"
			case ctx.Err() == nil:
				return fmt.Errorf("stop %s: %w", name, err)
			}
		}
		if reply.GetMessage() != "" {
			message += ": " + reply.GetMessage()
		}
		return e.printChange(g, changedJSON{Name: name, ID: reply.GetId(), RaftIndex: reply.GetRaftIndex(), Message: message})
	})
}

// stoppedPoll is how often a stopping application is looked at.
const stoppedPoll = 100 * time.Millisecond

// awaitStopped waits until an application has stopped, or ctx ends: the stop stands all the same. That the application
// failed instead is an error.
func awaitStopped(ctx context.Context, c *client.Client, id uint64) error {
	for {
		reply, err := c.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: id})
		if err != nil {
			return err
		}
		switch app := reply.GetApp(); app.GetState() {
		case raftstreamv1.AppState_APP_STATE_STOPPED:
			return nil
		case raftstreamv1.AppState_APP_STATE_FAILED:
			return fmt.Errorf("failed: %s", app.GetError())
		}
		if err := wait(ctx, stoppedPoll); err != nil {
			return err
		}
	}
}

func (e *env) resumeCommand(g *globals) *cobra.Command {
	var acceptLoss bool
	cmd := &cobra.Command{
		Use:   "resume NAME",
		Short: "Let a failed application run its failed batch again and go on",
		Long: "Runs the failed batch of a failed application again and goes on. With --accept-loss it runs without input that no\n" +
			"node holds any more; how many records that were is recorded with the batch.",
		Example: "  raftstream resume wc\n  raftstream resume wc --accept-loss",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.call(cmd.Context(), g, func(ctx context.Context, c *client.Client) error {
				reply, err := c.Resume(ctx, &raftstreamv1.ResumeRequest{Name: args[0], AcceptLoss: acceptLoss})
				if err != nil {
					return fmt.Errorf("resume %s: %w", args[0], err)
				}
				return e.printChange(g, changedJSON{Name: args[0], ID: reply.GetId(), RaftIndex: reply.GetRaftIndex(), Message: "resumed"})
			})
		},
	}
	cmd.Flags().BoolVar(&acceptLoss, "accept-loss", false, "go on without input that no node holds any more")
	return cmd
}

func (e *env) printChange(g *globals, c changedJSON) error {
	if g.output == "json" {
		return printJSON(e.out, c)
	}
	_, err := fmt.Fprintf(e.out, "%s: %s\n", c.Name, c.Message)
	return err
}
