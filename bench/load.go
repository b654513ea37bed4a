package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

const lineBytes = 100

// textLines gives lines of about lineBytes with words from a vocabulary of vocabulary words.
func textLines(count, vocabulary int) []string {
	lines := make([]string, count)
	word := 0
	for i := range lines {
		var b strings.Builder
		for b.Len() < lineBytes {
			word = (word*1103515245 + 12345) & (1<<31 - 1)
			fmt.Fprintf(&b, "word%d ", (word>>8)%vocabulary)
		}
		lines[i] = strings.TrimSpace(b.String())
	}
	return lines
}

// ingestRate is what three nodes acknowledge, each running the receiver of an application of its own: every line is then
// on the disks of two nodes and known to the ledger.
func ingestRate(ctx context.Context, o options) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	c, err := startNodes(o.node, filepath.Join(o.dir, "ingest"), 3)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	const per = 1_000_000
	lines := textLines(10_000, 5000)
	var apps []string
	for i := range c.all {
		name := fmt.Sprintf("wc%d", i)
		apps = append(apps, name)
		if err := c.submit(ctx, name, time.Second, map[string]string{"source": "ingest"}); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	errs := make([]error, len(apps))
	var all sync.WaitGroup
	for i, name := range apps {
		all.Go(func() { errs[i] = c.push(ctx, name, "rate", lines, per) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	rate := float64(len(apps)*per) / time.Since(began).Seconds()
	return []row{{
		what:  "lines acknowledged by three nodes, three ingest streams of word counts, factor 2",
		value: fmt.Sprintf("%.0f lines/s, %.0f MB/s", rate, rate*bytesPerLine(lines)/1e6),
		note:  fmt.Sprintf("%d lines of %.0f bytes each, first to last acknowledged", per, bytesPerLine(lines)),
	}}, nil
}

// endToEnd is how fast one word count takes in and counts lines, from the first line sent to the completion of the
// batch that has the last one.
func endToEnd(ctx context.Context, o options) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	c, err := startNodes(o.node, filepath.Join(o.dir, "endtoend"), 3)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	if err := c.submit(ctx, "wc", time.Second, map[string]string{"source": "ingest"}); err != nil {
		return nil, err
	}
	const count = 2_000_000
	lines := textLines(10_000, 5000)
	began := time.Now()
	if err := c.push(ctx, "wc", "all", lines, count); err != nil {
		return nil, err
	}
	if err := c.processed(ctx, "wc", count); err != nil {
		return nil, err
	}
	rate := count / time.Since(began).Seconds()
	return []row{{
		what:  "word count end to end on three nodes, one ingest stream",
		value: fmt.Sprintf("%.0f lines/s, %.0f MB/s", rate, rate*bytesPerLine(lines)/1e6),
		note:  fmt.Sprintf("%d lines, batches of 1 s, first line sent to last line counted", count),
	}}, nil
}

// stateDeath compares the batches after the death of a node with the usual ones, under running totals of a million keys:
// once with every total written in every batch, once where a batch writes nothing and costs what its few words cost.
func stateDeath(ctx context.Context, o options) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	usual, after, times, err := stateDeaths(ctx, o, "state", map[string]string{"out": filepath.Join(o.dir, "totals")})
	if err != nil {
		return nil, err
	}
	rows := []row{{
		what:  "running totals of 1,000,000 keys, all written in every batch: the slowest of five batches after a node's death against the usual one",
		value: fmt.Sprintf("%.1f times", percentile(times, 100)), target: "at most 10 times", met: atMost(percentile(times, 100), 10),
		note: fmt.Sprintf("usual %.0f ms from a batch's time to its end, after it %s; every node killed once, judged by the worst", median(usual), spread(after, "ms")),
	}}
	if usual, after, _, err = stateDeaths(ctx, o, "state-only", nil); err != nil {
		return rows, err
	}
	return append(rows, row{
		what:  "the same with nothing written: the slowest of five batches after a node's death",
		value: spread(after, "ms"), note: fmt.Sprintf("usual %.0f ms", median(usual)),
	}), nil
}

// stateDeaths kills every node of a cluster once. It gives the usual time of a batch, the longest after each death, both
// in ms, and how many times the usual that is.
func stateDeaths(ctx context.Context, o options, name string, params map[string]string) (usual, after, times []float64, err error) {
	c, err := startNodes(o.node, filepath.Join(o.dir, name), 3)
	if err != nil {
		return nil, nil, nil, err
	}
	defer c.stop()
	all := map[string]string{"source": "ingest", "running": "true"}
	maps.Copy(all, params)
	if err := c.submit(ctx, "wc", time.Second, all); err != nil {
		return nil, nil, nil, err
	}
	lines := keyLines(1_000_000, 50)
	if err := c.push(ctx, "wc", "keys", lines, len(lines)); err != nil {
		return nil, nil, nil, err
	}
	if err := c.processed(ctx, "wc", int64(len(lines))); err != nil {
		return nil, nil, nil, err
	}
	feeding, stop := context.WithCancel(ctx)
	fed := make(chan int, 1)
	go func() { fed <- c.write(feeding, "feeder") }()
	defer func() { stop(); <-fed }()
	for _, n := range c.all {
		before, slowest, err := c.killUnderState(ctx, n)
		if err != nil {
			return nil, nil, nil, err
		}
		usual, after, times = append(usual, before), append(after, slowest), append(times, slowest/before)
	}
	return usual, after, times, nil
}

// keyLines gives lines that have each of some keys once.
func keyLines(keys, perLine int) []string {
	lines := make([]string, keys/perLine)
	for i := range lines {
		var b strings.Builder
		for k := range perLine {
			fmt.Fprintf(&b, "key-%08d ", i*perLine+k)
		}
		lines[i] = b.String()
	}
	return lines
}

// killUnderState kills a node while the application works, and gives the median delay of the batches before it and the
// longest of the five after it, in ms. Then it brings the node back.
func (c *nodes) killUnderState(ctx context.Context, n *node) (usual, slowest float64, err error) {
	if err := c.ready(ctx); err != nil {
		return 0, 0, err
	}
	if err := c.working(ctx); err != nil {
		return 0, 0, err
	}
	before, err := c.workOf(ctx, time.Now(), 5)
	if err != nil {
		return 0, 0, err
	}
	killed := time.Now()
	if err := n.proc.Kill(); err != nil {
		return 0, 0, err
	}
	after, err := c.workOf(ctx, killed, 5)
	return median(before), percentile(after, 100), errors.Join(err, c.start(n))
}

// workOf waits for some batches that are completed after a moment and gives their total delays, in ms.
func (c *nodes) workOf(ctx context.Context, since time.Time, count int) (took []float64, err error) {
	err = poll(ctx, fmt.Sprintf("%d completed batches", count), func() (bool, error) {
		done, err := c.completed(ctx, "wc", 50)
		took = nil
		for _, b := range done {
			if time.UnixMilli(b.GetTimeMs() + b.GetTotalDelayMs()).After(since) {
				took = append(took, max(float64(b.GetTotalDelayMs()), 1))
			}
		}
		return len(took) >= count, err
	})
	return took, err
}

// push sends count lines, the given ones again and again, and returns when all are acknowledged.
func (c *nodes) push(ctx context.Context, app, producer string, lines []string, count int) error {
	in, err := c.client.Ingest(ctx, app, client.IngestOptions{Producer: producer})
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	const portion = 100
	for sent := 0; sent < count; sent += portion {
		from := sent % len(lines)
		if err := in.Send(ctx, lines[from:min(from+portion, len(lines))]...); err != nil {
			return errors.Join(fmt.Errorf("ingest: %w", err), in.Close(ctx))
		}
	}
	if err := in.Close(ctx); err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	return nil
}

// processed waits until an application has counted so many records.
func (c *nodes) processed(ctx context.Context, app string, count int64) error {
	return poll(ctx, fmt.Sprintf("%d processed records of %s", count, app), func() (bool, error) {
		a, err := c.client.GetApp(ctx, &raftstreamv1.GetAppRequest{Name: app})
		return a.GetApp().GetRecordsProcessed() >= count, err
	})
}

func bytesPerLine(lines []string) float64 {
	total := 0
	for _, l := range lines {
		total += len(l)
	}
	return float64(total) / float64(len(lines))
}
