package corruption

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/chaos/disk"
	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/pieces"
	"github.com/raftstream/raftstream/executor/state"
	"github.com/raftstream/raftstream/executor/task"
	"github.com/raftstream/raftstream/internal/bucket"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
)

const application id.App = 7

// checkpoints is how many a partition has had: a full image, and changes.
const checkpoints = 200

func version(i int) job.Version {
	return job.Version{Time: id.Time(i) * 1000, Attempt: id.Attempt(i)}
}

func partition(i int) job.Held { return job.Held{Stream: 1, Part: 2, Version: version(i)} }

// chain is what the ledger knows of a checkpoint: its pieces in order, and the rows that the state has.
type chain struct {
	Pieces []job.Block
	Rows   []string
}

// checkpoint makes a chain of pieces of keyed state, and gives each to put.
func checkpoint(t *testing.T, put func(job.BlockData) error) (c chain) {
	t.Helper()
	s := state.New(slog.New(slog.DiscardHandler))
	empty := func(context.Context) (dataset.State, error) { return executortest.NewTable(), nil }
	for i := range checkpoints {
		changes := func(dataset.State) dataset.Delta {
			var all executortest.Changes
			for n := range 40 {
				word := fmt.Sprint("word-", (i*17+n*29)%3000)
				if i == 0 {
					word = fmt.Sprint("word-", n*50)
				}
				all = append(all, executortest.Change{Word: word, N: i*1000 + n, Remove: n%13 == 12})
			}
			return all
		}
		_, _, release, err := s.Advance(t.Context(), application, partition(i), version(i+1), empty, changes)
		must(t, err)
		release()
		number := uint64(i+1) << job.PieceBits
		err = s.Checkpoint(t.Context(), application, partition(i+1), i == 0, id.Time(i)*1000, nil, func(chunk []byte, rows int64) error {
			d := job.BlockData{
				ID: id.Block{App: application, Stream: 1, Instance: 9, Number: number}, Records: max(rows, 1), Data: chunk,
				CRC: crc32.Checksum(chunk, crc32.MakeTable(crc32.Castagnoli)),
			}
			number++
			c.Pieces = append(c.Pieces, job.Block{ID: d.ID, Records: d.Records, Bytes: int64(len(chunk)), CRC: d.CRC})
			return put(d)
		})
		must(t, err)
	}
	live, _, release, err := s.Advance(t.Context(), application, partition(checkpoints), version(checkpoints+1), nil,
		func(dataset.State) dataset.Delta { return executortest.Changes{} })
	must(t, err)
	defer release()
	c.Rows = rows(live.(*executortest.Table))
	return c
}

func rows(t *executortest.Table) (all []string) {
	t.Each(func(w string, n int) { all = append(all, fmt.Sprint(w, "=", n)) })
	return all
}

func (c *chain) save(t *testing.T, dir string) {
	t.Helper()
	if len(c.Pieces) < checkpoints || len(c.Rows) < 1000 {
		t.Fatalf("%d pieces and %d rows", len(c.Pieces), len(c.Rows))
	}
	b, err := json.Marshal(c)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "chain"), b, 0o600))
}

// restore makes the state from what read gives of each piece. A refusal names the piece.
func restore(dir string, read func(*job.Block) ([]byte, error)) error {
	b, err := os.ReadFile(filepath.Join(dir, "chain"))
	if err != nil {
		return err
	}
	var c chain
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	names := map[string]bool{}
	var all iter.Seq2[[]byte, error] = func(yield func([]byte, error) bool) {
		for i := range c.Pieces {
			data, err := read(&c.Pieces[i])
			if err != nil {
				names[c.Pieces[i].ID.String()] = true
			}
			if !yield(data, err) || err != nil {
				return
			}
		}
	}
	table := executortest.NewTable()
	if err := state.Restore(application, partition(checkpoints), table, all); err != nil {
		return refused(err, slices.Sorted(maps.Keys(names))...)
	}
	if !slices.Equal(rows(table), c.Rows) {
		return errors.New("the state has other rows than were checkpointed")
	}
	return nil
}

func openPieces(dir string) (*pieces.Store, string) {
	return pieces.New(pieces.Config{
		Open: func(ctx context.Context, url string) (pieces.Bucket, error) {
			return bucket.Open(ctx, url, vfs.OS{})
		},
		Cluster: func() string { return "cluster" }, Logger: slog.New(slog.DiscardHandler),
	}), "file://" + filepath.Join(dir, "bucket")
}

func buildBucket(t *testing.T, dir string) {
	must(t, os.MkdirAll(filepath.Join(dir, "bucket"), 0o755))
	s, url := openPieces(dir)
	c := checkpoint(t, func(d job.BlockData) error { return s.Put(t.Context(), url, d) })
	must(t, s.Close())
	c.save(t, dir)
}

// pieceObjects are the files of the pieces of a checkpoint.
func pieceObjects(dir string) (map[string]int, error) { return matching(dir, "bucket/cluster/7/1/9/*") }

func readBucket(dir string, _ caseOf, _ disk.Damage) (err error) {
	s, url := openPieces(dir)
	defer func() { err = errors.Join(err, s.Close()) }()
	return restore(dir, func(b *job.Block) ([]byte, error) { return task.ReadPiece(context.Background(), s, url, b) })
}

func openStore(dir string) (*blocks.Store, error) {
	return blocks.Open(blocks.Config{
		FS: vfs.OS{}, Dir: filepath.Join(dir, "wal"), Store: storeID, MemoryBytes: -1, SegmentBytes: 64 << 10,
		Fatal: func(err error) { fatal(err) },
	})
}

// buildStore keeps the pieces where received blocks are, as a crash leaves them.
func buildStore(t *testing.T, dir string) {
	fatal = func(err error) { t.Error("fatal:", err) }
	live := t.TempDir()
	s, err := openStore(live)
	must(t, err)
	c := checkpoint(t, func(d job.BlockData) error { return s.Put(t.Context(), d) })
	must(t, os.CopyFS(dir, os.DirFS(live)))
	must(t, s.Close())
	c.save(t, dir)
}

// readStore reads the pieces of this executor: there is no other one that has them.
func readStore(dir string, _ caseOf, _ disk.Damage) (err error) {
	s, err := openStore(dir)
	if err != nil {
		return refused(err, ".wal")
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r := task.Blocks{Store: storeID, Local: s.Get, Peer: func(id.Store) (job.Peer, bool) { return job.Peer{}, false }}
	return restore(dir, func(b *job.Block) ([]byte, error) { return r.Read(context.Background(), b) })
}
