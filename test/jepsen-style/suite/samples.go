package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
	"github.com/raftstream/raftstream/test/jepsen-style/report"
)

// What processes hold, and how much more of it they may get.
const (
	samplesFile = "samples.jsonl"
	sampleEvery = 2 * time.Second
	// judgedLife is how long samples of a process must go on, after the third in which it gets warm, for its growth to be
	// judged: caches fill and collections of garbage come and go within minutes. A run of half an hour has as much.
	judgedLife = 15 * time.Minute
)

// growth is what a leak of something for each record or each connection exceeds, and noise does not: 150 bytes of each record
// at the default rate, or a file in a minute, where producers alone come with a new connection every few seconds.
var growth = checker.Growth{Memory: 256 << 20, Files: 60}

// pids knows the processes of nodes.
type pids interface {
	Names() []string
	Pid(node string) int
}

// sampler notes what the processes of nodes hold. Where there is no /proc it notes nothing.
type sampler struct {
	nodes pids
	log   *history.Log
	file  *os.File
	start map[string]int // of each node: how many processes it has had
	pid   map[string]int
	end   context.CancelFunc
	work  sync.WaitGroup
	err   error // of writing
}

func startSampler(nodes pids, log *history.Log, path string) (*sampler, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("samples: %w", err)
	}
	ctx, end := context.WithCancel(context.Background())
	s := &sampler{nodes: nodes, log: log, file: f, start: make(map[string]int), pid: make(map[string]int), end: end}
	s.work.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			s.take()
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return s, nil
}

// take samples every process that runs.
func (s *sampler) take() {
	for _, node := range s.nodes.Names() {
		pid := s.nodes.Pid(node)
		if pid != s.pid[node] {
			s.pid[node] = pid
			s.start[node]++
		}
		memory, files, err := held(pid)
		if err != nil {
			continue // it has ended, or this is no place that tells
		}
		seconds := time.Duration(s.log.Since(time.Now())).Seconds()
		sample := checker.Sample{Node: node, Start: s.start[node], Seconds: seconds, Memory: memory, Files: files}
		if err := json.NewEncoder(s.file).Encode(sample); err != nil && s.err == nil {
			s.err = fmt.Errorf("samples: %w", err)
		}
	}
}

// close ends the samples. It may be called again.
func (s *sampler) close() error {
	if s.end == nil {
		return nil
	}
	s.end()
	s.work.Wait()
	s.end = nil
	return errors.Join(s.err, s.file.Close())
}

// held gives the bytes of memory that a process has for itself, without the pages of files, and how many files it has open.
func held(pid int) (memory, files int64, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := bytes.Cut(status, []byte("\nRssAnon:"))
	if _, err := fmt.Sscanf(string(rest), "%d kB", &memory); err != nil {
		return 0, 0, fmt.Errorf("status of process %d: %w", pid, err)
	}
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	return memory << 10, int64(len(open)), err
}

// leaks judges what a run's processes held. Where none lived long enough, as in a short run or under many faults, there is no
// result, and a fact says so.
func leaks(dir string) ([]checker.Result, []report.Fact) {
	samples, err := checker.LoadSamples(filepath.Join(dir, samplesFile))
	if err != nil {
		return []checker.Result{{Checker: "leaks", Verdict: checker.Unknown, Details: []string{err.Error()}}}, nil
	}
	r := checker.Leaks(samples, judgedLife, growth)
	if short := r.Counts["too short"]; r.Counts["slopes"] == 0 {
		return nil, []report.Fact{{Name: "leaks", Value: fmt.Sprintf("not judged: %d processes lived too short for it", short)}}
	}
	return []checker.Result{r}, nil
}
