package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// text gives at least count lines of real text: the sources of the Go installation.
func text(t *testing.T, count int) []string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	var lines []string
	stop := fmt.Errorf("enough")
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			lines = append(lines, strings.TrimRight(line, "\r\n"))
		}
		if len(lines) >= count {
			return stop
		}
		return nil
	})
	if err != stop {
		t.Fatalf("text under %s: %d lines, expected %d: %v", root, len(lines), count, err)
	}
	return lines[:count]
}

// feeder sends lines to an application's ingest stream at a steady pace, by the command line.
type feeder struct {
	cmd  *exec.Cmd
	done chan error
	err  *strings.Builder
}

// feed starts to send lines over the given time.
func (c *cluster) feed(app, producer string, lines []string, over time.Duration) *feeder {
	c.t.Helper()
	cmd := exec.Command(binary, "--addr", c.addrs(), "--timeout", "120s", "ingest", app, "--producer", producer)
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	f := &feeder{cmd: cmd, done: make(chan error, 1), err: &strings.Builder{}}
	cmd.Stderr = f.err
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cmd.Process.Kill() })
	go func() {
		pace(in, lines, over)
		f.done <- cmd.Wait()
	}()
	return f
}

// pace writes lines evenly over the time, a portion every 20 ms.
func pace(in io.WriteCloser, lines []string, over time.Duration) {
	defer in.Close()
	w := bufio.NewWriter(in)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for sent := 0; sent < len(lines); <-tick.C {
		due := min(len(lines), int(float64(len(lines))*float64(time.Since(start))/float64(over))+1)
		for ; sent < due; sent++ {
			if _, err := fmt.Fprintln(w, lines[sent]); err != nil {
				return // the command has ended; its status tells why
			}
		}
		if w.Flush() != nil {
			return
		}
	}
}

// wait waits until every line is acknowledged.
func (f *feeder) wait(t *testing.T, limit time.Duration) {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-f.done:
		if err != nil {
			t.Fatalf("ingest: %v\n%s", err, f.err)
		}
	case <-timer.C:
		t.Fatalf("ingest did not end within %v", limit)
	}
}

// oracle counts words independently of the engine.
func oracle(lines []string) map[string]int64 {
	want := map[string]int64{}
	for _, line := range lines {
		for _, w := range strings.Fields(line) {
			want[w]++
		}
	}
	return want
}

// total sums the complete batch directories of a prefix.
func total(t *testing.T, prefix string) map[string]int64 {
	t.Helper()
	dirs, err := filepath.Glob(prefix + "-*")
	if err != nil {
		t.Fatal(err)
	}
	return sumOf(t, dirs...)
}

// sumOf sums batch directories, which must be complete.
func sumOf(t *testing.T, dirs ...string) map[string]int64 {
	t.Helper()
	sum := map[string]int64{}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "_SUCCESS")); err != nil {
			t.Errorf("batch directory %s is not complete: %v", dir, err)
			continue
		}
		parts, err := filepath.Glob(filepath.Join(dir, "part-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			addPart(t, sum, part)
		}
	}
	return sum
}

func addPart(t *testing.T, sum map[string]int64, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		word, count, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		n, err := strconv.ParseInt(count, 10, 64)
		if !ok || err != nil {
			t.Fatalf("%s: line %q: expected a word, a tab and a count", path, line)
		}
		sum[word] += n
	}
}

// sameTotals compares per word and says what is lost and what is doubled.
func sameTotals(t *testing.T, got, want map[string]int64) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	var lost, more int64
	var shown []string
	words := map[string]bool{}
	for w := range want {
		words[w] = true
	}
	for w := range got {
		words[w] = true
	}
	for _, w := range slices.Sorted(maps.Keys(words)) {
		d := got[w] - want[w]
		if d < 0 {
			lost -= d
		} else {
			more += d
		}
		if d != 0 && len(shown) < 10 {
			shown = append(shown, fmt.Sprintf("%q: %d instead of %d", w, got[w], want[w]))
		}
	}
	t.Errorf("%d words lost, %d too many: %s", lost, more, strings.Join(shown, ", "))
}

// sameState waits until every driver that runs has applied the same index and compares the hashes of their states.
func (c *cluster) sameState() {
	c.t.Helper()
	type ledger struct {
		Applied uint64 `json:"applied_index"`
		Hash    string `json:"state_hash"`
	}
	var last []ledger
	var who []string
	await(c.t, 30*time.Second, "equal applied index on every node", func() bool {
		last, who = nil, nil
		for _, n := range c.nodes {
			if !n.votes() || n.ended() {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			r := command(ctx, nil, "--addr", n.addr(), "-o", "json", "ledger")
			cancel()
			var l ledger
			if r.status != 0 || json.Unmarshal([]byte(r.stdout), &l) != nil {
				return false
			}
			last, who = append(last, l), append(who, n.name)
		}
		return !slices.ContainsFunc(last, func(l ledger) bool { return l.Applied != last[0].Applied })
	})
	for i, l := range last {
		if l.Hash != last[0].Hash || l.Hash == "" {
			c.t.Errorf("state of %s at index %d: hash %q, that of %s is %q", who[i], l.Applied, l.Hash, who[0], last[0].Hash)
		}
	}
}

func init() {
	if runtime.GOOS != "linux" {
		panic("the tests of real processes use signals as Linux has them")
	}
}
