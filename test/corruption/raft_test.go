package corruption

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos/disk"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/raftnode"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openNode opens a cluster of one node over dir/raft.
func openNode(dir string, with func(*raftnode.Config)) (*raftnode.Node, error) {
	const fast = 25 * time.Millisecond
	c := raftnode.Config{
		Dir: filepath.Join(dir, "raft"), ID: "node-one", Name: "n1", Addr: "n1:1", Expect: 1,
		Stream:           raftnode.NewMemoryNetwork().Stream("n1:1"),
		HeartbeatTimeout: fast, ElectionTimeout: fast, LeaseTimeout: fast,
		Fatal: func(err error) { fatal(err) },
	}
	if with != nil {
		with(&c)
	}
	return raftnode.Open(c)
}

// lead waits until the node leads and has applied everything that it has.
func lead(ctx context.Context, n *raftnode.Node) (term uint64, err error) {
	for {
		select {
		case l := <-n.Leadership():
			if !l.Leader {
				continue
			}
			if err := n.Barrier(ctx); err == nil {
				return l.Term, nil
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("the node does not lead: %w", ctx.Err())
		}
	}
}

// writer proposes commands to a node.
type writer struct {
	t    *testing.T
	n    *raftnode.Node
	term uint64
}

func (w *writer) propose(c fsm.Command) id.App {
	w.t.Helper()
	r, err := w.n.Propose(w.t.Context(), w.term, c)
	if err != nil || r.Outcome != fsm.Done {
		w.t.Fatalf("%T: %+v, %v", c, r, err)
	}
	return id.App(r.Index)
}

// ledger runs an application through hundreds of entries: blocks, batches, some of them complete, some cleaned.
func ledger(t *testing.T, dir string, with func(*raftnode.Config), entries int) *writer {
	t.Helper()
	fatal = func(err error) { t.Error("fatal:", err) }
	n, err := openNode(dir, with)
	must(t, err)
	t.Cleanup(func() { _ = n.Close() })
	must(t, n.Bootstrap(t.Context()))
	w := &writer{t: t, n: n}
	w.term, err = lead(t.Context(), n)
	must(t, err)
	w.propose(&fsm.Epoch{Term: w.term, Leader: "node-one", Name: "n1", Addr: "n1:1"})
	a := id.Session(w.propose(&fsm.SessionOpened{Store: "A", Generation: 1, Name: "a", Addr: "a:1", Slots: 1, Build: "b"}))
	w.propose(&fsm.SessionOpened{Store: "B", Generation: 1, Name: "b", Addr: "b:1", Slots: 1, Build: "b"})
	app := w.propose(&fsm.ApplicationSubmitted{
		Name: "wc", Program: "wordcount", Params: []byte(`{}`), BatchMS: 1000, BlockMS: 200, Partitions: 4, Factor: 2,
		Fingerprint: "f", Build: "b", RememberMS: 1000, NowMS: 10_400,
		Inputs: []fsm.InputStream{{Stream: 0, Source: "ingest", Receiver: true, Pushed: true}},
	})
	instance := id.Instance(w.propose(&fsm.ReceiverScheduled{App: app, Session: a}))
	w.propose(&fsm.ReceiverRegistered{App: app, Session: a, Instance: instance})
	office := id.Office(w.propose(&fsm.CoordinatorAssigned{App: app, Session: a}))
	at := id.Time(10_000)
	for i := range entries {
		number := uint64(i + 1)
		w.propose(&fsm.BlocksAdded{Session: a, NowMS: 1, Blocks: []fsm.AddedBlock{{
			ID: id.Block{App: app, Instance: instance, Number: number}, Records: 10, Bytes: 1000, CRC: uint32(i), Stores: []id.Store{"A", "B"},
			Ranges: []connector.Range{{Partition: fmt.Sprint("producer-", i%5), First: uint64(i/5) + 1, Last: uint64(i/5) + 1}},
		}}})
		if i%10 == 9 {
			at += 1000
			w.propose(&fsm.BlocksAllocated{App: app, From: at, To: at})
		}
		if i%10 == 9 && i > entries/2 {
			first := at - id.Time(entries/2/10)*1000
			w.propose(&fsm.BatchCompleted{App: app, Time: first, Office: office, Attempt: w.n.View().Attempt(app, first)})
		}
	}
	return w
}

// shot copies what is on disk while nothing is written, as a crash leaves it, and notes what it holds.
func (w *writer) shot(dir, file, facts string) {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, file))
	must(w.t, err)
	to := filepath.Join(facts, file)
	must(w.t, os.MkdirAll(filepath.Dir(to), 0o755))
	must(w.t, os.WriteFile(to, b, 0o600))
}

// buildLog makes a log of some hundred entries, and the one before it.
func buildLog(t *testing.T, dir string) {
	live := t.TempDir()
	w := ledger(t, live, nil, 300)
	const file = "raft/raft.db"
	w.shot(live, file, dir)
	must(t, os.Rename(filepath.Join(dir, file), before(filepath.Join(dir, file))))
	note(t, dir, "before", w.n)
	w.propose(&fsm.SessionOpened{Store: "C", Generation: 1, Name: "c", Addr: "c:1", Slots: 1, Build: "b"})
	w.shot(live, file, dir)
	note(t, dir, "now", w.n)
	must(t, w.n.Close())
	onDisk(t, dir, "now")
	past := t.TempDir()
	b, err := os.ReadFile(before(filepath.Join(dir, file)))
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(past, "raft"), 0o755))
	must(t, os.WriteFile(filepath.Join(past, file), b, 0o600))
	log, err := readLog(past)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "before.log"), []byte(log), 0o600))
}

// buildSnapshot makes a snapshot of some hundred entries, without which the log cannot be read, and a log behind it.
func buildSnapshot(t *testing.T, dir string) {
	live := t.TempDir()
	w := ledger(t, live, func(c *raftnode.Config) {
		c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs = 100, 20*time.Millisecond, 8
	}, 300)
	await(t, "a snapshot without which the log is of no use", func() bool {
		found, err := filepath.Glob(filepath.Join(live, "raft/snapshots/*/state.bin"))
		must(t, err)
		return len(found) > 0
	})
	must(t, w.n.Close())
	must(t, os.CopyFS(dir, os.DirFS(live)))
	n, err := openNode(live, nil)
	must(t, err)
	_, err = lead(t.Context(), n)
	must(t, err)
	note(t, dir, "now", n)
	must(t, n.Close())
	onDisk(t, dir, "now")
	s, err := raftnode.OpenStopped(filepath.Join(dir, "raft"))
	must(t, err)
	if s.SnapshotIndex == 0 || s.First < 2 {
		t.Fatalf("snapshot of %d, the log begins with %d", s.SnapshotIndex, s.First)
	}
	must(t, s.Close())
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(late) {
			t.Fatalf("there is not %s within 30 s", what)
		}
		<-tick.C
	}
}

// note keeps the hash of the state that a node has.
func note(t *testing.T, dir, name string, n *raftnode.Node) {
	t.Helper()
	h := n.View().Hash()
	must(t, os.WriteFile(filepath.Join(dir, name+".hash"), []byte(hex.EncodeToString(h[:])), 0o600))
}

// onDisk keeps the digest of what is on disk.
func onDisk(t *testing.T, dir, name string) {
	t.Helper()
	log, err := readLog(dir)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, name+".log"), []byte(log), 0o600))
}

// known are the facts of a directory: of now, and where a write was torn of before.
func known(dir, kind string, c caseOf) (facts []string, err error) {
	names := []string{"now"}
	if c.Damage == "torn write" {
		names = append(names, "before")
	}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n+kind))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		facts = append(facts, string(b))
	}
	return facts, nil
}

// newestSnapshot is its state and, less often, its meta data.
func newestSnapshot(dir string) (map[string]int, error) {
	s, err := raftnode.OpenStopped(filepath.Join(dir, "raft"))
	if err != nil {
		return nil, err
	}
	index := s.SnapshotIndex
	if err := s.Close(); err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(dir, "raft/snapshots", fmt.Sprintf("*-%d-*", index)))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("snapshots of %d: %v, %v", index, found, err)
	}
	return map[string]int{filepath.Join(found[0], "state.bin"): 4, filepath.Join(found[0], "meta.json"): 1}, nil
}

// readLog reads what a stopped node has, as `raftstream ledger log` does, and gives a digest of it.
func readLog(dir string) (_ string, err error) {
	s, err := raftnode.OpenStopped(filepath.Join(dir, "raft"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	sum := sha256.New()
	fmt.Fprintln(sum, s.Owner, s.Term, s.First, s.Last, s.SnapshotIndex, s.SnapshotTerm)
	if s.SnapshotIndex > 0 {
		r, err := s.Snapshot()
		if err != nil {
			return "", err
		}
		if _, err := io.Copy(sum, r); err != nil {
			return "", errors.Join(err, r.Close())
		}
		if err := r.Close(); err != nil {
			return "", err
		}
	}
	for e, err := range s.Entries() {
		if err != nil {
			return "", err
		}
		e.Appended = time.Time{} // has no checksum: it is for people
		fmt.Fprintf(sum, "%d %d %s %x %v\n", e.Index, e.Term, e.Kind, e.Data, e.Servers)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// readRaft reads the directory of a node that does not run, and then starts the node and lets it apply everything.
func readRaft(dir string, c caseOf, d disk.Damage) error {
	offline := func() error {
		want, err := known(dir, ".log", c)
		if err != nil {
			return err
		}
		got, err := readLog(dir)
		if err != nil {
			return refusedRaft(err)
		}
		if !slices.Contains(want, got) {
			return fmt.Errorf("the log of the stopped node reads %s, expected one of %v", got, want)
		}
		return nil
	}()
	online := runRaft(dir, c)
	no := (*refusal)(nil)
	if offline != nil && !errors.As(offline, &no) {
		return offline
	}
	return online
}

func refusedRaft(err error) error {
	if !errors.Is(err, raftnode.ErrDamaged) {
		return fmt.Errorf("the error is no damage: %w", err)
	}
	return refused(err, "raft.db", "snapshots/")
}

func runRaft(dir string, c caseOf) error {
	want, err := known(dir, ".hash", c)
	if err != nil {
		return err
	}
	n, err := openNode(dir, nil)
	if err != nil {
		return refusedRaft(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangs/2)
	defer cancel()
	if _, err := lead(ctx, n); err != nil {
		return errors.Join(err, n.Close())
	}
	h := n.View().Hash()
	if err := n.Close(); err != nil {
		return err
	}
	if got := hex.EncodeToString(h[:]); !slices.Contains(want, got) {
		return fmt.Errorf("the state is %s, expected one of %v", got, want)
	}
	return nil
}
