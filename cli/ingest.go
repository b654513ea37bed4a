package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftstream/raftstream/client"
)

// maxLine bounds a line of input: what is longer is no text.
const maxLine = 1 << 20

// ingestFlags are the flags of ingest.
type ingestFlags struct {
	stream   int32
	producer string
}

func (e *env) ingestCommand(g *globals) *cobra.Command {
	var f ingestFlags
	cmd := &cobra.Command{
		Use:   "ingest NAME",
		Short: "Send lines from standard input to an application",
		Long: "Sends the lines of standard input to an application's ingest stream and returns when all of them are acknowledged:\n" +
			"synced on several nodes and committed. Sending the same lines again with the same producer id is safe: lines that\n" +
			"were taken are not taken again. --timeout is how long there may be no progress.",
		Example: "  raftstream ingest wc --producer import-7 < lines.txt",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("stream") && f.stream < 0 {
				return usagef("flag --stream: %d, expected the number of an input stream", f.stream)
			}
			return e.ingest(cmd.Context(), g, args[0], &f)
		},
	}
	cmd.Flags().Int32Var(&f.stream, "stream", -1, "number of the input stream (default: the application's only one)")
	cmd.Flags().StringVar(&f.producer, "producer", "", "who sends: needed to repeat safely (default: random)")
	return cmd
}

// ingest sends every line of the input.
func (e *env) ingest(ctx context.Context, g *globals, app string, f *ingestFlags) error {
	if f.producer == "" {
		f.producer = "cli-" + randomID()
	}
	options := client.IngestOptions{Producer: f.producer}
	if f.stream >= 0 {
		options.Stream = &f.stream
	}
	return e.dial(ctx, g, func(ctx context.Context, c *client.Client) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		opening := time.AfterFunc(g.timeout, func() { cancel(context.DeadlineExceeded) })
		ingester, err := c.Ingest(ctx, app, options)
		if err != nil {
			return fmt.Errorf("ingest into %s: %w", app, err)
		}
		opening.Stop()
		s := &sender{ingester: ingester}
		watched := s.watch(g.timeout, cancel)
		err = s.send(ctx, e.in)
		watched()
		lines := s.offered.Load()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("ingest into %s: %d lines of producer %s are acknowledged: %w", app, ingester.Acked(), f.producer, err)
		}
		if g.output == "json" {
			return printJSON(e.out, struct {
				Lines     uint64 `json:"lines"`
				Producer  string `json:"producer"`
				RaftIndex uint64 `json:"raft_index"`
			}{lines, f.producer, ingester.Index()})
		}
		_, err = fmt.Fprintf(e.err, "%s lines acknowledged\n", grouped(int64(lines)))
		return err
	})
}

// sender sends lines and watches that they are acknowledged.
type sender struct {
	ingester *client.Ingester
	offered  atomic.Uint64 // lines given to the ingester: their numbers start at 1
}

// send sends the lines of in and returns when all are acknowledged.
func (s *sender) send(ctx context.Context, in io.Reader) error {
	portions := make(chan portion)
	// A read of a terminal or pipe cannot be interrupted: after ctx this goroutine is left to the end of the process.
	go readPortions(ctx, in, portions)
	for {
		select {
		case p, more := <-portions:
			if !more {
				return s.ingester.Close(ctx)
			}
			s.offered.Add(uint64(len(p.lines)))
			if err := s.ingester.Send(ctx, p.lines...); err != nil {
				return err
			}
			if p.err != nil {
				return errors.Join(p.err, s.ingester.Close(ctx))
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// portion is some lines that were read together, or why no more can be read.
type portion struct {
	lines []string
	err   error
}

// portionLines bounds the lines of a portion.
const portionLines = 1000

// readPortions reads lines and hands them on as soon as no more are at hand, so that a slow writer's lines do not wait.
// It closes out at the end of the input.
func readPortions(ctx context.Context, in io.Reader, out chan<- portion) {
	defer close(out)
	r := bufio.NewReaderSize(in, 256<<10)
	var p portion
	count := 0
	for p.err == nil {
		line, err := readLine(r)
		ended := errors.Is(err, io.EOF)
		if err == nil || ended && line != "" {
			p.lines = append(p.lines, line)
			count++
		}
		if err != nil && !ended {
			p.err = fmt.Errorf("read line %d: %w", count+1, err)
		}
		if err == nil && r.Buffered() > 0 && len(p.lines) < portionLines {
			continue
		}
		if len(p.lines) > 0 || p.err != nil {
			select {
			case out <- p:
			case <-ctx.Done():
				return
			}
		}
		if ended {
			return
		}
		p.lines = nil
	}
}

// readLine reads one line, without its end. io.EOF comes with what follows the last end of line.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return "", fmt.Errorf("longer than %d bytes", maxLine)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err == nil {
			line = line[:len(line)-1]
		}
		return string(line), err
	}
}

// watch cancels when lines wait for their acknowledgement and none comes for the limit. The function returned ends it.
func (s *sender) watch(limit time.Duration, cancel context.CancelCauseFunc) (stop func()) {
	ctx, done := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		acked, since := s.ingester.Acked(), time.Now()
		for wait(ctx, min(limit, 100*time.Millisecond)) == nil {
			now := s.ingester.Acked()
			if now != acked || now >= s.offered.Load() {
				acked, since = now, time.Now()
			}
			if time.Since(since) >= limit {
				cancel(fmt.Errorf("%w: no acknowledgement for %v", client.ErrUnreachable, limit))
				return
			}
		}
	})
	return func() {
		done()
		work.Wait()
	}
}
