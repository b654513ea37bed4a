package connector_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/connector"
)

// folder is an idempotent sink: every partition is a file whose name is the partition's key. It holds no more than where
// to write.
type folder struct{ dir string }

// Write writes the file under a name of its own and renames it when it is durable: writing it again changes nothing.
func (s folder) Write(_ context.Context, p connector.Partition, seq iter.Seq[string]) (_ []byte, err error) {
	name := filepath.Join(s.dir, fmt.Sprintf("%s-%d-%d", p.Output, p.Time.UnixMilli(), p.Index))
	f, err := os.CreateTemp(s.dir, ".part-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_, _ = f.Close(), os.Remove(f.Name()) // the error that counts is err
		}
	}()
	w := bufio.NewWriter(f)
	for line := range seq {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Flush(), f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return nil, err
	}
	return nil, syncFolder(s.dir) // the new name must be durable, too
}

// Commit has nothing to do.
func (folder) Commit(context.Context, connector.Batch, [][]byte) error { return nil }

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// A sink is given to dstream.To in a build function. Here a loop stands for the cluster: it runs the batch twice, as
// after a failure.
func ExampleSink_idempotent() {
	dir, err := os.MkdirTemp("", "folder")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s := folder{dir}
	at := time.UnixMilli(1000).UTC()
	for attempt := 1; attempt <= 2; attempt++ {
		for i, lines := range [][]string{{"to", "be"}, {"or"}} {
			p := connector.Partition{Output: "to-0", Time: at, Index: i, Count: 2, Attempt: attempt}
			if _, err := s.Write(context.Background(), p, slices.Values(lines)); err != nil {
				fmt.Println(err)
			}
		}
		if err := s.Commit(context.Background(), connector.Batch{Output: "to-0", Time: at}, make([][]byte, 2)); err != nil {
			fmt.Println(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		fmt.Println(err)
	}
	for _, e := range entries {
		fmt.Println(e.Name())
	}
	// Output:
	// to-0-1000-0
	// to-0-1000-1
}

// database stands for one with transactions: what update does happens as a whole or not at all.
type database struct {
	mu        sync.Mutex
	staged    map[string]map[string]int // rows that nobody reads, by the name of who wrote them
	committed map[connector.Batch]bool  // a table whose primary key is (output, time)
	counts    map[string]int            // the table that people read
}

func (d *database) update(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return f()
}

// counter is a transactional sink: it adds to counts, which is not idempotent, and so notes in the same transaction that the
// batch was added.
type counter struct{ db *database }

// Write stages the partition's sums. Nobody sees them until a commit names them.
func (s counter) Write(_ context.Context, _ connector.Partition, seq iter.Seq[string]) ([]byte, error) {
	sums := map[string]int{}
	for word := range seq {
		sums[word]++
	}
	name := rand.Text() // another attempt stages under another name
	return []byte(name), s.db.update(func() error { s.db.staged[name] = sums; return nil })
}

// Commit adds what the receipts name, unless the batch is in the table of batches.
func (s counter) Commit(_ context.Context, b connector.Batch, receipts [][]byte) error {
	return s.db.update(func() error {
		if s.db.committed[b] {
			return nil
		}
		for _, r := range receipts {
			for word, n := range s.db.staged[string(r)] {
				s.db.counts[word] += n
			}
			delete(s.db.staged, string(r))
		}
		s.db.committed[b] = true
		return nil
	})
}

// The first coordinator dies after its commit and before the ledger knows of it: the batch runs again, and counts once.
func ExampleSink_transactional() {
	db := &database{staged: map[string]map[string]int{}, committed: map[connector.Batch]bool{}, counts: map[string]int{}}
	s := counter{db}
	b := connector.Batch{Output: "to-0", Time: time.UnixMilli(1000).UTC()}
	for attempt := 1; attempt <= 2; attempt++ {
		var receipts [][]byte
		for i, words := range [][]string{{"to", "be"}, {"or", "not", "to", "be"}} {
			p := connector.Partition{Output: b.Output, Time: b.Time, Index: i, Count: 2, Attempt: attempt}
			r, err := s.Write(context.Background(), p, slices.Values(words))
			if err != nil {
				fmt.Println(err)
			}
			receipts = append(receipts, r)
		}
		if err := s.Commit(context.Background(), b, receipts); err != nil {
			fmt.Println(err)
		}
	}
	for _, word := range slices.Sorted(maps.Keys(db.counts)) {
		fmt.Println(word, db.counts[word])
	}
	// Output:
	// be 2
	// not 1
	// or 1
	// to 2
}
