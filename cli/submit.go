package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

// submitFlags are the flags of submit.
type submitFlags struct {
	name, paramsFile, requestID string
	checkpointURL               string
	batch, block                time.Duration
	params                      []string
	partitions, replication     int32
	follow                      bool
}

func (e *env) submitCommand(g *globals) *cobra.Command {
	var f submitFlags
	cmd := &cobra.Command{
		Use:   "submit APP",
		Short: "Submit a registered application",
		Long: "Submits an application that is registered in the nodes' binary and prints its name.\n" +
			"Repeating a request id does not submit twice.",
		Example: "  raftstream submit wordcount --name wc --batch 1s --param source=ingest --param out=/shared/wc",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return e.submit(cmd.Context(), g, args[0], &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name of the application (default: that of its program)")
	flags.DurationVar(&f.batch, "batch", time.Second, "batch interval, at least 10ms")
	flags.DurationVar(&f.block, "block", 200*time.Millisecond, "block interval, at least 10ms")
	flags.StringArrayVar(&f.params, "param", nil, "parameter k=v, decoded by the type of its field; may be repeated")
	flags.StringVar(&f.paramsFile, "params", "", "file with parameters as a JSON object; --param overrides it")
	flags.StringVar(&f.requestID, "request-id", "", "id of this submission, to repeat it safely (default: random)")
	flags.Int32Var(&f.partitions, "partitions", 0, "partitions of a shuffle (default: the executors' slots)")
	flags.Int32Var(&f.replication, "replication", 0, "copies of each received block (default 2)")
	flags.StringVar(&f.checkpointURL, "checkpoint-url", "", "bucket for checkpoints of keyed state, file:///DIR or s3://BUCKET/PREFIX (default: on executors)")
	flags.BoolVar(&f.follow, "follow", false, "print batches as they complete, until the application has stopped")
	return cmd
}

func (f *submitFlags) request(program string) (*raftstreamv1.SubmitRequest, error) {
	r := &raftstreamv1.SubmitRequest{
		RequestId: f.requestID, Program: program, Name: f.name, Params: make(map[string]string),
		Partitions: f.partitions, Replication: f.replication, CheckpointUrl: f.checkpointURL,
	}
	if r.RequestId == "" {
		r.RequestId = randomID()
	}
	for _, d := range []struct {
		name string
		from time.Duration
		to   *int64
	}{{"--batch", f.batch, &r.BatchMs}, {"--block", f.block, &r.BlockMs}} {
		if d.from <= 0 || d.from%time.Millisecond != 0 {
			return nil, usagef("flag %s: %v, expected whole milliseconds", d.name, d.from)
		}
		*d.to = d.from.Milliseconds()
	}
	if f.partitions < 0 || f.replication < 0 {
		return nil, usagef("flags --partitions and --replication: %d and %d, expected at least 1", f.partitions, f.replication)
	}
	for _, p := range f.params {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, usagef("flag --param: %q, expected NAME=VALUE", p)
		}
		if _, twice := r.Params[k]; twice {
			return nil, usagef("flag --param: parameter %q is given twice", k)
		}
		r.Params[k] = v
	}
	if f.paramsFile != "" {
		text, err := os.ReadFile(f.paramsFile)
		if err != nil {
			return nil, usagef("flag --params: %w", err)
		}
		r.ParamsJson = string(text)
	}
	return r, nil
}

func randomID() string {
	var b [12]byte
	rand.Read(b[:]) // never fails: crypto/rand stops the process where it cannot read
	return hex.EncodeToString(b[:])
}

func (e *env) submit(ctx context.Context, g *globals, program string, f *submitFlags) error {
	request, err := f.request(program)
	if err != nil {
		return err
	}
	var reply *raftstreamv1.SubmitReply
	err = e.call(ctx, g, func(ctx context.Context, c *client.Client) error {
		reply, err = c.Submit(ctx, request)
		return err
	})
	if err != nil {
		return fmt.Errorf("submit %s: %w", program, err)
	}
	if g.output == "json" {
		err = printJSON(e.out, submittedJSON{Name: reply.GetName(), ID: reply.GetId(), RaftIndex: reply.GetRaftIndex()})
	} else {
		_, err = fmt.Fprintln(e.out, reply.GetName())
	}
	if err != nil || !f.follow {
		return err
	}
	return e.follow(ctx, g, reply.GetId())
}

type submittedJSON struct {
	Name      string `json:"name"`
	ID        uint64 `json:"id"`
	RaftIndex uint64 `json:"raft_index"`
}

// follow prints every batch of an application once it is completed, until the application is over. It is a failure
// when that ends as failed.
func (e *env) follow(ctx context.Context, g *globals, id uint64) error {
	return e.dial(ctx, g, func(ctx context.Context, c *client.Client) error {
		var shown int64
		for {
			app, batches, err := look(ctx, g, c, id)
			if err != nil {
				return err
			}
			for _, b := range batches {
				if b.GetTimeMs() <= shown || b.GetState() != raftstreamv1.BatchState_BATCH_STATE_COMPLETED {
					continue
				}
				shown = b.GetTimeMs()
				if err := e.printBatch(g, b); err != nil {
					return err
				}
			}
			switch app.GetState() {
			case raftstreamv1.AppState_APP_STATE_STOPPED:
				return nil
			case raftstreamv1.AppState_APP_STATE_FAILED:
				return fmt.Errorf("application %s failed: %s", app.GetName(), app.GetError())
			}
			if err := wait(ctx, time.Duration(app.GetBatchMs())*time.Millisecond); err != nil {
				return nil // interrupted: the application goes on
			}
		}
	})
}

// look reads an application and its newest batches.
func look(ctx context.Context, g *globals, c *client.Client, id uint64) (*raftstreamv1.App, []*raftstreamv1.Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	app, err := c.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: id})
	if err != nil {
		return nil, nil, err
	}
	batches, err := c.ListBatches(ctx, &raftstreamv1.ListBatchesRequest{Id: id, Last: 1000})
	if err != nil {
		return nil, nil, err
	}
	return app.GetApp(), batches.GetBatches(), nil
}

func (e *env) printBatch(g *globals, b *raftstreamv1.Batch) error {
	if g.output == "json" {
		return printJSON(e.out, batchOf(b))
	}
	_, err := fmt.Fprintf(e.out, "%s  %s records, %s\n", clock(b.GetTimeMs()), grouped(b.GetRecords()), millis(b.GetTotalDelayMs()))
	return err
}

// wait waits, unless ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
