package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

// nodes are nodes that only run or do not.
type nodes struct {
	dirs map[string]string

	mu      sync.Mutex
	exited  map[string]chan struct{}
	refuse  map[string]int // starts after which the node ends at once
	status  int            // with which it does
	journal []string
}

func newNodes(dirs map[string]string) *nodes {
	n := &nodes{dirs: dirs, exited: map[string]chan struct{}{}, refuse: map[string]int{}, status: chaos.ExitRefused}
	for name := range dirs {
		n.exited[name] = make(chan struct{})
	}
	return n
}

func (n *nodes) note(what string) { n.journal = append(n.journal, what) }

func (n *nodes) Kill(name string) error {
	if ended(n, name) {
		return errors.New("it has ended")
	}
	n.end(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note("kill " + name)
	return nil
}

func (n *nodes) end(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.exited[name])
}

func (n *nodes) Start(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note("start " + name)
	n.exited[name] = make(chan struct{})
	if n.refuse[name] > 0 {
		n.refuse[name]--
		close(n.exited[name])
	}
	return nil
}

func (n *nodes) Dir(name string) string { return n.dirs[name] }

func (n *nodes) Exited(name string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.exited[name]
}

func (n *nodes) Status(name string) int {
	if !ended(n, name) {
		return -1
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

func (n *nodes) did() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.journal)
	return strings.Join(n.journal, ", ")
}

// dataDir gives a data directory with a file of each part.
func dataDir(t *testing.T, dir string) string {
	t.Helper()
	for _, name := range []string{"raft/raft.db", "raft/snapshots/1-9-1/state.bin", "wal/0000000000000001.wal"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		put(t, filepath.Join(dir, name), strings.Repeat(name, 1000), true)
	}
	return dir
}

func inject(t *testing.T, c Config, e schedule.Event, during func(), targets ...string) chaos.Proof {
	t.Helper()
	i, ok := Injectors(c)[e.Kind]
	if !ok {
		t.Fatalf("no injector of %s", e.Kind)
	}
	f, err := i.Inject(t.Context(), e, targets)
	must(t, err)
	if during != nil {
		during()
	}
	p, err := f.Heal(t.Context())
	must(t, err)
	return p
}

func TestDamageIsDoneWhileTheNodeIsDown(t *testing.T) {
	for _, tt := range []struct {
		event  schedule.Event
		file   string // that changes
		refuse int
		want   string
		proof  chaos.Proof
	}{
		{schedule.Event{Kind: schedule.BitFlip, File: "raft", Count: 3}, "raft/raft.db", 1, "kill a, start a, start a", chaos.Proof{Bites: 3, What: "bits flipped, refused, disk replaced", Replaced: 1}},
		{schedule.Event{Kind: schedule.Truncate, File: "wal", Bytes: 7}, "wal/0000000000000001.wal", 1, "kill a, start a, start a", chaos.Proof{Bites: 7, What: "bytes cut, refused, disk replaced", Replaced: 1}},
		{schedule.Event{Kind: schedule.Wipe}, "wal", 0, "kill a, start a", chaos.Proof{Bites: 3, What: "files removed"}},
	} {
		t.Run(string(tt.event.Kind), func(t *testing.T) {
			dir := dataDir(t, t.TempDir())
			n := newNodes(map[string]string{"a": dir})
			n.refuse["a"] = tt.refuse
			before, _ := os.ReadFile(filepath.Join(dir, tt.file))
			p := inject(t, Config{Nodes: n}, tt.event, func() {
				if !ended(n, "a") {
					t.Error("the node runs")
				}
				if now, _ := os.ReadFile(filepath.Join(dir, tt.file)); tt.refuse > 0 && string(now) == string(before) {
					t.Errorf("%s did not change", tt.file)
				}
			}, "a")
			if p != tt.proof || n.did() != tt.want {
				t.Errorf("proof %+v, done %q; expected %+v, %q", p, n.did(), tt.proof, tt.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("the disk was not replaced: %v", left)
			}
		})
	}
}

// A node refuses what is damaged in one way only; another end over damaged files is no refusal, and no disk is replaced for it.
func TestAnotherEndOverDamagedFilesIsAViolation(t *testing.T) {
	for status, violation := range map[int]bool{2: true, -1: true, chaos.ExitFailpoint: false} {
		dir := dataDir(t, t.TempDir())
		n := newNodes(map[string]string{"a": dir})
		n.refuse["a"], n.status = 1, status
		p := inject(t, Config{Nodes: n}, schedule.Event{Kind: schedule.BitFlip, Count: 1}, nil, "a")
		if (p.Violation != "") != violation || p.Bites != 1 || p.Replaced != 0 || n.did() != "kill a, start a, start a" {
			t.Errorf("status %d: proof %+v, done %q", status, p, n.did())
		}
		if left, _ := os.ReadDir(dir); len(left) == 0 {
			t.Errorf("status %d: the disk was replaced", status)
		}
	}
}

func TestNothingIsKilledForDamageThatCannotBeDone(t *testing.T) {
	n := newNodes(map[string]string{"a": t.TempDir()})
	for _, file := range []string{"raft", "wal", "snapshots", "else"} {
		f, err := Injectors(Config{Nodes: n})[schedule.BitFlip].Inject(t.Context(), schedule.Event{Kind: schedule.BitFlip, File: file}, []string{"a"})
		if err == nil || f != nil {
			t.Errorf("%s of an empty directory: %v, %v; expected an error", file, f, err)
		}
	}
	if n.did() != "" {
		t.Errorf("done %q, expected nothing", n.did())
	}
}

// What fails at one of several nodes is undone at the others.
func TestFaultOfAllOrNone(t *testing.T) {
	n := newNodes(map[string]string{"a": dataDir(t, t.TempDir()), "b": t.TempDir()})
	_, err := Injectors(Config{Nodes: n})[schedule.Truncate].Inject(short(t), schedule.Event{Kind: schedule.Truncate, File: "wal"}, []string{"a", "b"})
	if err == nil || !strings.Contains(err.Error(), "truncate at b") || ended(n, "a") {
		t.Errorf("%v, expected an error about b, and a running", err)
	}
}

func TestPowerOfAllIsCutAtOnce(t *testing.T) {
	a, b := volume(t, 16<<20), volume(t, 16<<20)
	volumes := map[string]*Volume{"a": a, "b": b}
	n := newNodes(map[string]string{"a": a.Dir(), "b": b.Dir()})
	c := Config{Nodes: n, Volume: func(node string) *Volume { return volumes[node] }}
	put(t, filepath.Join(a.Dir(), "unsynced"), "x", false)
	put(t, filepath.Join(b.Dir(), "synced"), "x", true)
	syncDir(t, b.Dir())
	p := inject(t, c, schedule.Event{Kind: schedule.PowerCut}, func() {
		if !ended(n, "a") || !ended(n, "b") {
			t.Error("a node runs")
		}
	}, "a", "b")
	if want := (chaos.Proof{Bites: 2, What: "power cuts"}); p != want || n.did() != "kill a, kill b, start a, start b" {
		t.Errorf("proof %+v, done %q", p, n.did())
	}
	if _, err := os.Stat(filepath.Join(a.Dir(), "unsynced")); err == nil {
		t.Error("what was not synced is still there")
	}
	holds(t, filepath.Join(b.Dir(), "synced"), "x")
}

func TestVolumeIsFullUntilHealed(t *testing.T) {
	v := volume(t, 16<<20)
	n := newNodes(map[string]string{"a": v.Dir()})
	said := int64(3) // before
	c := Config{Nodes: n, Volume: func(string) *Volume { return v }, Refusals: func(string) (int64, error) { return said, nil }}
	more := filepath.Join(v.Dir(), "more")
	p := inject(t, c, schedule.Event{Kind: schedule.Full}, func() {
		if err := os.WriteFile(more, make([]byte, 1<<20), 0o644); err == nil {
			t.Error("a file was written, expected ENOSPC")
		}
		must(t, os.Remove(more))
		said += 2
		n.end("a")
	}, "a")
	if p.Bites != 2 || n.did() != "start a" {
		t.Errorf("proof %+v, done %q", p, n.did())
	}
	must(t, os.WriteFile(more, make([]byte, 1<<20), 0o644))
	if p := inject(t, c, schedule.Event{Kind: schedule.Full}, nil, "a"); p.Bites != 0 {
		t.Errorf("proof %+v, and the node met no full disk", p)
	}
}

func TestFailingFileSystemIsHealed(t *testing.T) {
	for _, tt := range []struct {
		event schedule.Event
		write bool // fails
		ends  bool // by itself
		want  string
		proof chaos.Proof
	}{
		{schedule.Event{Kind: schedule.SyncError}, true, true, "start a", chaos.Proof{Bites: 1, What: "syncs failed"}},
		{schedule.Event{Kind: schedule.SyncError, File: "wal"}, false, false, "", chaos.Proof{What: "syncs failed"}},
		{schedule.Event{Kind: schedule.TornWrite, File: "raft"}, true, true, "start a", chaos.Proof{Bites: 1, What: "writes torn"}},
		{schedule.Event{Kind: schedule.Full}, true, true, "start a", chaos.Proof{Bites: 1, What: "answers that no space is left"}},
		{schedule.Event{Kind: schedule.SlowSync, DelayMS: 1}, false, false, "", chaos.Proof{Bites: 1, What: "slow syncs"}},
	} {
		t.Run(string(tt.event.Kind)+tt.event.File, func(t *testing.T) {
			f := faultFS(t)
			n := newNodes(map[string]string{"a": dataDir(t, f.Dir())})
			c := Config{Nodes: n, Faults: func(string) *FaultFS { return f }}
			p := inject(t, c, tt.event, func() {
				file, err := os.OpenFile(filepath.Join(f.Dir(), "raft/raft.db"), os.O_RDWR|os.O_APPEND, 0)
				must(t, err)
				_, err = file.WriteString("more")
				if err == nil {
					err = file.Sync()
				}
				if (err != nil) != tt.write {
					t.Errorf("write and sync: %v", err)
				}
				_ = file.Close()
				if tt.ends {
					n.end("a")
				}
			}, "a")
			if p != tt.proof || n.did() != tt.want {
				t.Errorf("proof %+v, done %q; expected %+v, %q", p, n.did(), tt.proof, tt.want)
			}
		})
	}
}

// short is over at once: nobody waits for what will not happen.
func short(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A node that does not end after a sync failed must not profit from it, and is told of; but not for what is only scratch.
func TestNodeThatGoesOnAfterAFailedSyncIsKilled(t *testing.T) {
	for _, tt := range []struct {
		file   string
		during error // what ends the wait early
		want   string
	}{
		{"wal/0000000000000001.wal", nil, "a went on after 1 failed syncs of files that must be durable"},
		{"wal/0000000000000001.wal", context.Canceled, ""}, // it had no time to end
		{"kept/1", nil, ""},
	} {
		f := faultFS(t)
		n := newNodes(map[string]string{"a": dataDir(t, filepath.Join(f.Dir(), "node"))})
		path := filepath.Join(f.Dir(), "node", tt.file)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		put(t, path, "before", true)
		part, _, _ := strings.Cut(tt.file, "/")
		if part == scratch {
			part = ""
		}
		c := Config{Nodes: n, Faults: func(string) *FaultFS { return f }, EndsWithin: 10 * time.Millisecond}
		x, err := Injectors(c)[schedule.SyncError].Inject(t.Context(), schedule.Event{Kind: schedule.SyncError, File: part}, []string{"a"})
		must(t, err)
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		_, err = file.WriteString("more")
		must(t, err)
		if err := file.Sync(); err == nil {
			t.Errorf("%s: the sync is good", tt.file)
		}
		must(t, errors.Join(file.Sync(), file.Close())) // tried again
		ctx := t.Context()
		if tt.during != nil {
			ctx = short(t)
		}
		p, err := x.Heal(ctx)
		must(t, err)
		if p.Bites != 1 || !strings.Contains(p.What, "went on") || p.Violation != tt.want || n.did() != "kill a, start a" {
			t.Errorf("%s, %v: proof %+v, done %q", tt.file, tt.during, p, n.did())
		}
		holds(t, path, "before\x00\x00\x00\x00") // the second sync made the file longer
	}
}
