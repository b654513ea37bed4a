package raftnode

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// stored is what was acknowledged to raft: what must be read again or refused.
type stored struct {
	entries map[uint64]string
	term    uint64
	vote    string
}

// opened is the disk as a node opens it.
type opened struct {
	disk   *guarded
	log    *checked
	stable *stable
}

// openFile takes the steps of Node.start that read the disk.
func openFile(path, node string) (*opened, error) {
	n := &Node{config: Config{Dir: filepath.Dir(path), ID: node, WriteDeadline: time.Minute}, log: slog.New(slog.DiscardHandler)}
	n.opening.Store(true)
	lowest, err := openBolt(path)
	if err != nil {
		return nil, err
	}
	n.disk = newGuarded(lowest, path, time.Minute, n.fatal)
	if n.snapshots, err = n.openSnapshots(); err != nil {
		return nil, errors.Join(err, n.disk.Close())
	}
	log := &checked{disk: n.disk, file: path, fatal: n.fatal}
	s, err := n.verifyDisk(log)
	if err != nil {
		return nil, errors.Join(err, n.disk.Close())
	}
	return &opened{n.disk, log, s}, nil
}

// fill writes entries from first to last, of growing size, a term and a vote.
func fill(t *testing.T, o *opened, s *stored, first, last uint64) {
	t.Helper()
	for at := first; at <= last; at += 7 {
		var logs []*raft.Log
		for i := at; i < min(at+7, last+1); i++ {
			data := strings.Repeat(fmt.Sprintf("entry %d ", i), 1+int(i)%40)
			logs = append(logs, &raft.Log{Index: i, Term: 1 + i/100, Data: []byte(data), AppendedAt: time.UnixMilli(int64(i))})
			s.entries[i] = data
		}
		s.term = 1 + last/100
		if err := errors.Join(o.stable.SetUint64([]byte("CurrentTerm"), s.term), o.log.StoreLogs(logs)); err != nil {
			t.Fatal(err)
		}
	}
	s.vote = "node-two"
	if err := o.stable.Set([]byte("LastVoteCand"), []byte(s.vote)); err != nil {
		t.Fatal(err)
	}
}

func (s *stored) compare(o *opened) error {
	if term, err := o.stable.GetUint64([]byte("CurrentTerm")); err != nil || term != s.term {
		return fmt.Errorf("term is %d, %w, expected %d", term, err, s.term)
	}
	if vote, err := o.stable.Get([]byte("LastVoteCand")); err != nil || string(vote) != s.vote {
		return fmt.Errorf("vote is %q, %w, expected %q", vote, err, s.vote)
	}
	for i, want := range s.entries {
		var l raft.Log
		if err := o.log.read(i, &l); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if string(l.Data) != want || l.Term != 1+i/100 || l.Type != raft.LogCommand || l.Extensions != nil {
			return fmt.Errorf("entry %d is %+v", i, l)
		}
	}
	if last, err := o.log.LastIndex(); err != nil || last != uint64(len(s.entries)) {
		return fmt.Errorf("the last entry is %d, %w, expected %d", last, err, len(s.entries))
	}
	return nil
}

func filled(t *testing.T, path string, entries uint64) *stored {
	t.Helper()
	o, err := openFile(path, "node-one")
	if err != nil {
		t.Fatal(err)
	}
	s := &stored{entries: map[uint64]string{}}
	fill(t, o, s, 1, entries)
	if err := o.disk.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatIsStoredIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft", "raft.db")
	s := filled(t, path, 250)
	o, err := openFile(path, "node-one")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.compare(o); err != nil {
		t.Error(err)
	}
	fill(t, o, s, 251, 300)
	if err := s.compare(o); err != nil {
		t.Error(err)
	}
	if err := o.disk.Close(); err != nil {
		t.Error(err)
	}
}

// Rule 2: a data directory is one node's.
func TestTheFileOfAnotherNodeIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s := filled(t, path, 10)
	if _, err := openFile(path, "node-two"); err == nil || !strings.Contains(err.Error(), "belongs to node node-one") {
		t.Errorf("error is %v, expected whose file it is", err)
	}
	o, err := openFile(path, "node-one")
	if err != nil {
		t.Fatal("it was changed:", err)
	}
	if err := errors.Join(s.compare(o), o.disk.Close()); err != nil {
		t.Error(err)
	}
}

func TestAFileInUseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	o, err := openFile(path, "node-one")
	if err != nil {
		t.Fatal(err)
	}
	defer o.disk.Close()
	if _, err := openFile(path, "node-one"); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("error is %v", err)
	}
}

// damageKind changes a copy of the file somewhere.
type damageKind struct {
	name  string
	apply func(r *rand.Rand, b []byte) []byte
}

var damageKinds = []damageKind{
	{"bit", func(r *rand.Rand, b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b }},
	{"byte", func(r *rand.Rand, b []byte) []byte { b[r.IntN(len(b))] = byte(r.Uint32()); return b }},
	{"header bit", func(r *rand.Rand, b []byte) []byte {
		// Where bbolt keeps its structure: the first bytes of a page.
		page := r.IntN(len(b)/pageBytes) * pageBytes
		b[page+r.IntN(96)] ^= 1 << r.IntN(8)
		return b
	}},
	{"random sector", func(r *rand.Rand, b []byte) []byte {
		at := r.IntN(len(b)/512) * 512
		for i := range 512 {
			b[at+i] = byte(r.Uint32())
		}
		return b
	}},
	{"zero page", func(r *rand.Rand, b []byte) []byte {
		clear(b[r.IntN(len(b)/pageBytes)*pageBytes:][:pageBytes])
		return b
	}},
	{"cut", func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] }},
}

var pageBytes = os.Getpagesize()

// Rules 12 and 15: damage is refused with a DamageError or changes nothing. It never changes or hides what was stored,
// and never ends in a panic, a fault or a loop.
func TestDamageIsRefusedOrHarmless(t *testing.T) {
	const tries = 60
	dir := t.TempDir()
	path := filepath.Join(dir, "raft.db")
	s := filled(t, path, 250)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, file of %d bytes", seed, len(whole))
	for _, kind := range damageKinds {
		r := rand.New(rand.NewPCG(seed, 0))
		refused, harmless := 0, 0
		for i := range tries {
			bad := kind.apply(r, slices.Clone(whole))
			at := filepath.Join(dir, fmt.Sprintf("%s-%d", strings.ReplaceAll(kind.name, " ", "-"), i), "raft.db")
			if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			o, err := openFile(at, "node-one")
			switch {
			case errors.Is(err, ErrDamaged):
				refused++
				if !strings.Contains(err.Error(), at) && !strings.Contains(err.Error(), filepath.Dir(at)) {
					t.Errorf("%s %d: the error does not name the file: %v", kind.name, i, err)
				}
			case err != nil:
				t.Errorf("%s %d: the error is no DamageError: %v", kind.name, i, err)
			default:
				if err := errors.Join(s.compare(o), o.disk.Close()); err != nil {
					t.Errorf("%s %d: it was opened, but: %v", kind.name, i, err)
					keep(t, kind.name, i, bad)
				}
				harmless++
			}
			if err := os.RemoveAll(filepath.Dir(at)); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: %d refused, %d harmless", kind.name, refused, harmless)
		if refused == 0 {
			t.Errorf("%s: nothing is refused: the damage does not reach what is read", kind.name)
		}
	}
}

// keep saves a file that should have been refused, for a look at it.
func keep(t *testing.T, name string, i int, b []byte) {
	if dir := os.Getenv("RAFTSTREAM_KEEP"); dir != "" {
		path := filepath.Join(dir, fmt.Sprintf("%s-%d.db", strings.ReplaceAll(name, " ", "-"), i))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Error(err)
		}
	}
}

func TestAnEmptyFileIsANewOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := openFile(path, "node-one")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.disk.Close(); err != nil {
		t.Error(err)
	}
}

func TestAGapInTheLogIsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	filled(t, path, 100)
	o, err := openFile(path, "node-one")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.disk.DeleteRange(50, 50), o.disk.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := openFile(path, "node-one"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry 50") {
		t.Errorf("error is %v, expected entry 50 to be missing", err)
	}
}

// A page that cannot be read, because the file was cut or its sector is bad, is a fault in mapped memory. It must end the
// process in order, with the file's name, and not as a crash somewhere.
func TestAFaultInTheMappedFileIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	filled(t, path, 250)
	o, err := openFile(path, "node-one")
	if err != nil {
		t.Fatal(err)
	}
	var told error
	o.log.fatal = func(err error) error { told = err; return err }
	if err := os.Truncate(path, 4*int64(pageBytes)); err != nil {
		t.Fatal(err)
	}
	faults := 0
	for i := uint64(1); i <= 250; i++ {
		var l raft.Log
		if err := o.log.GetLog(i, &l); err != nil {
			faults++
			if !errors.Is(err, ErrDamaged) || !errors.Is(told, ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Fatalf("the error is %v, the process was ended with %v", err, told)
			}
		}
	}
	if faults == 0 {
		t.Error("nothing of the cut file was read")
	}
	_ = o.disk.Close() // of a file that is no more
}

// crashing deletes some ranges and then no more, as after a crash.
type crashing struct {
	disk
	left int
}

var errCrash = errors.New("crash")

func (c *crashing) DeleteRange(low, high uint64) error {
	if c.left == 0 {
		return errCrash
	}
	c.left--
	return c.disk.DeleteRange(low, high)
}

func TestDeletingLeavesNoGapWhereverItIsInterrupted(t *testing.T) {
	const last = 5 * deleteChunk
	for _, c := range []struct {
		name      string
		low, high uint64
	}{
		{"from the beginning", 1, 3 * deleteChunk},
		{"from below the beginning", 0, 3 * deleteChunk},
		{"at the end", 2*deleteChunk + 5, last},
		{"everything", 1, last},
		{"beyond the end", deleteChunk + 1, last + 10},
	} {
		for crash := range 6 {
			t.Run(fmt.Sprintf("%s, crash after %d", c.name, crash), func(t *testing.T) {
				d := NewMemoryDisk()
				log := &checked{disk: &crashing{d, crash}, file: "memory", fatal: func(err error) error { return err }}
				var logs []*raft.Log
				for i := uint64(1); i <= last; i++ {
					logs = append(logs, &raft.Log{Index: i, Term: 1})
				}
				if err := log.StoreLogs(logs); err != nil {
					t.Fatal(err)
				}
				err := log.DeleteRange(c.low, c.high)
				if err != nil && !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				first, _ := d.FirstIndex()
				end, _ := d.LastIndex()
				if len(d.logs) > 0 && end-first+1 != uint64(len(d.logs)) {
					t.Errorf("%d entries from %d to %d: there is a gap", len(d.logs), first, end)
				}
				if err == nil && len(d.logs) != last-int(min(c.high, last)-max(c.low, 1)+1) {
					t.Errorf("%d entries are left", len(d.logs))
				}
			})
		}
	}
}

func TestTheCacheIsBoundedInBytesAndRight(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	d := NewMemoryDisk()
	c := newCache(&checked{disk: d, file: "memory", fatal: func(err error) error { return err }}, 10_000, 50)
	next := uint64(1)
	for range 2000 {
		switch r.IntN(10) {
		case 0: // a follower's tail conflicts with the leader's
			if next > 1 {
				low := next - uint64(r.IntN(int(min(next-1, 20)))) - 1
				if err := c.DeleteRange(low, next-1); err != nil {
					t.Fatal(err)
				}
				next = low
			}
		case 1: // a snapshot was taken
			if err := c.DeleteRange(1, next/2); err != nil {
				t.Fatal(err)
			}
		default:
			var logs []*raft.Log
			for range 1 + r.IntN(5) {
				logs = append(logs, &raft.Log{Index: next, Term: r.Uint64(), Data: make([]byte, r.IntN(3000))})
				next++
			}
			if err := c.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
		}
		bytes := 0
		for i, e := range c.entries {
			bytes += sizeOf(e)
			if e.Index != c.first+uint64(i) {
				t.Fatalf("entry %d is at the place of %d", e.Index, c.first+uint64(i))
			}
		}
		if bytes != c.bytes || bytes > c.maxBytes || len(c.entries) > c.maxEntries {
			t.Fatalf("%d entries of %d bytes (counted %d), at most 50 of 10000", len(c.entries), bytes, c.bytes)
		}
		for i := max(1, next-min(next, 60)); i < next+2; i++ {
			var got, want raft.Log
			gotErr, wantErr := c.GetLog(i, &got), c.checked.GetLog(i, &want)
			if !errors.Is(gotErr, wantErr) || got.Term != want.Term || len(got.Data) != len(want.Data) {
				t.Fatalf("entry %d is %d, %v from the cache and %d, %v from disk", i, got.Term, gotErr, want.Term, wantErr)
			}
		}
	}
}
