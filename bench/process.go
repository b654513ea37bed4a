package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const mebibyte = 1 << 20

// size is what a stripped binary and an idle node take.
func size(ctx context.Context, o options) ([]row, error) {
	info, err := os.Stat(o.node)
	if err != nil {
		return nil, err
	}
	mb := float64(info.Size()) / mebibyte
	rows := []row{{what: "stripped binary", value: fmt.Sprintf("%.1f MiB", mb), target: "under 45 MB", met: judge(info.Size() < 45e6)}}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c, err := startNodes(o.node, filepath.Join(o.dir, "size"), 3)
	if err != nil {
		return rows, err
	}
	defer c.stop()
	if err := c.ready(ctx); err != nil {
		return rows, err
	}
	select { // what an idle node takes shows after a while
	case <-ctx.Done():
		return rows, ctx.Err()
	case <-time.After(20 * time.Second):
	}
	var most float64
	for _, n := range c.all {
		rss, err := resident(n.proc.Pid())
		if err != nil {
			return rows, err
		}
		most = max(most, rss)
	}
	return append(rows, row{
		what: "idle node, resident", value: fmt.Sprintf("%.0f MB", most/1e6), target: "under 80 MB", met: judge(most < 80e6),
		note: "largest of three nodes after 20 s",
	}), nil
}

// resident gives the bytes of memory that a process has.
func resident(pid int) (float64, error) {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	kb, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	return kb * 1024, err
}

// start is how long three nodes take from their start to the first completed batch.
func start(ctx context.Context, o options) ([]row, error) {
	var took []float64
	for round := range o.rounds {
		d, err := startOnce(ctx, o, filepath.Join(o.dir, fmt.Sprintf("start%d", round)))
		if err != nil {
			return nil, err
		}
		took = append(took, d.Seconds())
	}
	worst := percentile(took, 100)
	return []row{{
		what: "start of three nodes to the first completed batch", value: spread(took, "s"), target: "at most 5 s", met: atMost(worst, 5),
		note: fmt.Sprintf("batches of 1 s, submitted as soon as anybody leads, %d rounds, judged by the slowest", o.rounds),
	}}, nil
}

func startOnce(ctx context.Context, o options, dir string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	c, err := startNodes(o.node, dir, 3)
	if err != nil {
		return 0, err
	}
	defer c.stop()
	if err := c.submit(ctx, "wc", time.Second, map[string]string{"source": "ingest"}); err != nil {
		return 0, err
	}
	err = poll(ctx, "the first batch", func() (bool, error) {
		done, err := c.completed(ctx, "wc", 10)
		return len(done) > 0, err
	})
	return time.Since(began), err
}

// emptyBatch is how long after its time a batch without records is completed.
func emptyBatch(ctx context.Context, o options) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c, err := startNodes(o.node, filepath.Join(o.dir, "batch"), 3)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	if err := c.submit(ctx, "wc", 100*time.Millisecond, map[string]string{"source": "ingest"}); err != nil {
		return nil, err
	}
	const count = 200
	var delays []float64
	err = poll(ctx, "200 batches", func() (bool, error) {
		done, err := c.completed(ctx, "wc", count)
		delays = nil
		for _, b := range done {
			delays = append(delays, float64(b.GetTotalDelayMs()))
		}
		return len(delays) >= count-1, err
	})
	if err != nil {
		return nil, err
	}
	return []row{{
		what:  "empty batch of three nodes, tick to completion proposed, its allocation's commit included",
		value: spread(delays, "ms"), target: "at most 10 ms at the median beyond its commits", met: atMost(median(delays), 10),
		note: fmt.Sprintf("%d batches of 100 ms, to the millisecond", len(delays)),
	}}, nil
}

// needless counts elections while every core is busy and writers write.
func needless(ctx context.Context, o options) ([]row, error) {
	limit := time.Duration(o.load)*time.Second + 2*time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := startNodes(o.node, filepath.Join(o.dir, "needless"), 3)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	if err := c.ready(ctx); err != nil {
		return nil, err
	}
	if err := c.submit(ctx, "wc", 100*time.Millisecond, map[string]string{"source": "ingest"}); err != nil {
		return nil, err
	}
	_, before, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	loaded, unload := context.WithTimeout(ctx, time.Duration(o.load)*time.Second)
	defer unload()
	var all sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		all.Go(func() { spin(loaded) })
	}
	sent := make([]int, 4)
	for w := range sent {
		all.Go(func() { sent[w] = c.write(loaded, fmt.Sprintf("writer%d", w)) })
	}
	all.Wait()
	_, after, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	total := 0
	for _, n := range sent {
		total += n
	}
	return []row{{
		what: fmt.Sprintf("needless elections in %d s of full load", o.load), value: strconv.FormatUint(after-before, 10), target: "0",
		met: judge(after == before), note: fmt.Sprintf("%d busy loops, 4 writers, %d lines sent", 2*runtime.NumCPU(), total),
	}}, nil
}

// spin keeps a core busy.
func spin(ctx context.Context) {
	x := uint64(1)
	for ctx.Err() == nil {
		for range 1 << 20 {
			x = x*6364136223846793005 + 1
		}
	}
	runtime.KeepAlive(x)
}
