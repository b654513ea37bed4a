package corruption

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/chaos/disk"
	"github.com/raftstream/raftstream/internal/vfs"
	"github.com/raftstream/raftstream/wal"
)

const storeID = "0123456789abcdef"

// records is how many a log holds: each in a sync of its own, the last one the largest.
const records = 400

// payload is that of record i.
func payload(i int) []byte {
	r := rand.New(rand.NewPCG(uint64(i), 7))
	size := 50 + r.IntN(1500)
	if i == records-1 {
		size = 20_000
	}
	b := make([]byte, size)
	for at := range b {
		b[at] = byte(r.Uint32())
	}
	return b
}

func openWAL(dir string, each func(wal.Position, []byte) error) (*wal.Log, error) {
	return wal.Open(wal.Config{
		FS: vfs.OS{}, Dir: filepath.Join(dir, "wal"), Store: storeID, SegmentBytes: 64 << 10, Fatal: func(err error) { fatal(err) },
	}, each)
}

// buildWAL makes a log of several segments, as a crash leaves it, and its active segment before the last write.
func buildWAL(t *testing.T, dir string) {
	fatal = func(err error) { t.Error("fatal:", err) }
	live := t.TempDir()
	l, err := openWAL(live, nil)
	must(t, err)
	var at []wal.Position
	add := func(i int) {
		p, err := l.Append(t.Context(), payload(i))
		must(t, err)
		at = append(at, p)
	}
	for i := range records - 1 {
		add(i)
	}
	must(t, os.CopyFS(dir, os.DirFS(live)))
	active := filepath.Join(dir, "wal", fmt.Sprintf("%016x.wal", l.Stats().Active))
	must(t, os.Rename(active, before(active)))
	segments := l.Stats().Segments
	add(records - 1)
	if now := l.Stats().Segments; now != segments || segments < 4 {
		t.Fatalf("%d segments, then %d: the last record is to be in the last of several", segments, now)
	}
	b, err := os.ReadFile(filepath.Join(live, "wal", filepath.Base(active)))
	must(t, err)
	must(t, os.WriteFile(active, b, 0o600))
	must(t, l.Close())
	b, err = json.Marshal(at)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "positions"), b, 0o600))
}

// segments are those of a log.
func segments(dir string) (map[string]int, error) { return matching(dir, "wal/*.wal") }

// readWAL opens a log and reads every record twice: as it opens, and by its position. What it has must be the records up to
// one, and all of them but for what the format says cannot be told from a write that a crash cut short: the last record,
// where the damage is in it, and what a shorter file has lost.
func readWAL(dir string, c caseOf, d disk.Damage) (err error) {
	b, err := os.ReadFile(filepath.Join(dir, "positions"))
	if err != nil {
		return err
	}
	var want []wal.Position
	if err := json.Unmarshal(b, &want); err != nil {
		return err
	}
	var have []wal.Position
	l, err := openWAL(dir, func(p wal.Position, got []byte) error {
		i := len(have)
		if i >= len(want) || p != want[i] || !bytes.Equal(got, payload(i)) {
			return fmt.Errorf("record %d at %v has other bytes, or another place, than were written", i, p)
		}
		have = append(have, p)
		return nil
	})
	if damage := (*wal.CorruptionError)(nil); errors.As(err, &damage) {
		return refused(err, ".wal")
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for i, p := range have {
		if got, err := l.Read(p); err != nil || !bytes.Equal(got, payload(i)) {
			return fmt.Errorf("record %d: %d bytes, %w", i, len(got), err)
		}
	}
	if least := atLeast(want, c, d); len(have) < least {
		return fmt.Errorf("%d records are left and nothing is said, expected %d at least", len(have), least)
	}
	if _, err := l.Append(context.Background(), []byte("the log goes on")); err != nil {
		return err
	}
	return nil
}

// atLeast is how many records must be there where a damaged log opens.
func atLeast(want []wal.Position, c caseOf, d disk.Damage) int {
	last := want[len(want)-1]
	if filepath.Base(d.File) != fmt.Sprintf("%016x.wal", last.Segment) {
		return len(want)
	}
	first := len(want) // the first record that is not whole
	for i, p := range want {
		if p.Segment == last.Segment && end(i, p) > d.At[0] {
			first = i
			break
		}
	}
	switch c.Damage {
	case "truncation":
		return first
	case "torn write": // its first sector holds the end of the record before, too, which is as it was
		return len(want) - 1
	}
	for i := first + 1; i < len(want); i++ { // a record that was written later proves that the first one was synced
		if !slices.ContainsFunc(d.At, func(at int64) bool { return at >= want[i].Offset && at < want[i].Offset+recordHead }) {
			return len(want)
		}
	}
	return first
}

// recordHead is the length of the header of a record of the log.
const recordHead = 28

func end(i int, p wal.Position) int64 { return p.Offset + recordHead + int64(len(payload(i))) }
