// Command erroralerts looks for errors in log lines and tells a service outside about each of them, exactly once: the
// service is given a key with every alert, the same one when a batch is run again.
package main

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

type params struct {
	URL string `json:"url"` // POSTed to: the alert as text, its key in the header Idempotency-Key
}

func failures(lines *dstream.DStream[string]) *dstream.DStream[string] {
	return lines.Filter(func(line string) bool { return strings.Contains(line, "ERROR") })
}

// send posts the alerts of a partition. An error makes the task run again: alerts that the service has by then it knows
// by their keys.
func send(client *http.Client, url string) func(context.Context, dstream.Partition, iter.Seq[string]) error {
	return func(ctx context.Context, p dstream.Partition, alerts iter.Seq[string]) error {
		n := 0
		for alert := range alerts {
			key := fmt.Sprintf("%s/%d/%d/%d", p.Output, p.Time.UnixMilli(), p.Index, n)
			if err := post(ctx, client, url, key, alert); err != nil {
				return err
			}
			n++
		}
		return nil
	}
}

func post(ctx context.Context, client *http.Client, url, key, alert string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewBufferString(alert))
	if err != nil {
		return err
	}
	req.Header.Set("Idempotency-Key", key)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("alert %s: %s", key, resp.Status)
	}
	return nil
}

func program(c *dstream.Context, p params) error {
	client := &http.Client{Timeout: 10 * time.Second}
	dstream.ForeachPartition(failures(ingest.TextStream(c)), send(client, p.URL))
	return nil
}

func main() {
	dstream.Register("erroralerts", program)
	cli.Main()
}
