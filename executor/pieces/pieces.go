// Package pieces owns the pieces of checkpoints of the applications that keep them in a bucket (rule 7): what an object
// is called, and which objects are deleted. It is engine internals, without compatibility promise. It promises that no
// object is deleted that the ledger has or may yet get; it must not know what a piece holds nor what a bucket is.
package pieces

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// maxOpen bounds the buckets that are open at a time.
const maxOpen = 64

// Bucket keeps objects: Put returns when one is durable, Get refuses one that is longer than limit, Delete takes one that
// is gone for deleted. Its methods may be called concurrently.
type Bucket interface {
	Put(ctx context.Context, key string, data []byte) error
	Get(ctx context.Context, key string, limit int64) ([]byte, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, dir string) iter.Seq2[string, error]
	Close() error
}

// Config is what a Store needs.
type Config struct {
	// Open opens the bucket of a URL; nil: this executor has none.
	Open func(ctx context.Context, url string) (Bucket, error)
	// Cluster gives the cluster's id: clusters may share a bucket.
	Cluster func() string
	Logger  *slog.Logger
}

// Store is an executor's access to buckets. Its methods may be called concurrently.
type Store struct {
	cfg  Config
	wake chan struct{} // of Run

	mu   sync.Mutex
	open map[string]Bucket // by URL
	due  map[id.App]*duty  // applications whose bucket this executor keeps clean
}

// New makes a store. It opens nothing before a bucket is used.
func New(c Config) *Store {
	return &Store{cfg: c, wake: make(chan struct{}, 1), open: map[string]Bucket{}, due: map[id.App]*duty{}}
}

// Put writes a piece to a bucket; on return it is durable there.
func (s *Store) Put(ctx context.Context, url string, d job.BlockData) error {
	b, dir, err := s.bucket(ctx, url, d.ID.App)
	if err != nil {
		return err
	}
	return b.Put(ctx, keyOf(dir, d.ID), d.Data)
}

// Get reads a piece from a bucket. It is for the caller to check it.
func (s *Store) Get(ctx context.Context, url string, b *job.Block) ([]byte, error) {
	from, dir, err := s.bucket(ctx, url, b.ID.App)
	if err != nil {
		return nil, err
	}
	return from.Get(ctx, keyOf(dir, b.ID), b.Bytes)
}

// Close closes the buckets. Nothing uses them any more.
func (s *Store) Close() error {
	s.mu.Lock()
	open := s.open
	s.open = map[string]Bucket{}
	s.mu.Unlock()
	var err error
	for _, b := range open {
		err = errors.Join(err, b.Close())
	}
	return err
}

// bucket gives an open bucket and the directory of an application in it. One that cannot be opened is tried again by
// the next caller.
func (s *Store) bucket(ctx context.Context, url string, app id.App) (b Bucket, dir string, err error) {
	if s.cfg.Open == nil {
		return nil, "", errors.New("this executor opens no buckets")
	}
	if s.cfg.Cluster != nil {
		dir = s.cfg.Cluster()
	}
	if dir == "" {
		return nil, "", errors.New("this executor does not know its cluster, whose id is part of every key")
	}
	dir = path.Join(dir, strconv.FormatUint(uint64(app), 10))
	s.mu.Lock()
	b = s.open[url]
	s.mu.Unlock()
	if b != nil {
		return b, dir, nil
	}
	if b, err = s.cfg.Open(ctx, url); err != nil {
		return nil, "", err
	}
	return s.settle(url, b), dir, nil
}

// settle keeps an open bucket for the next one who asks, unless another was opened at the same time; beyond maxOpen one
// of the others goes, and what is using it fails and is tried again.
func (s *Store) settle(url string, b Bucket) Bucket {
	var spare Bucket
	s.mu.Lock()
	if other := s.open[url]; other != nil {
		spare, b = b, other
	} else {
		if len(s.open) >= maxOpen {
			for old := range s.open {
				spare = s.open[old]
				delete(s.open, old)
				break
			}
		}
		s.open[url] = b
	}
	s.mu.Unlock()
	if spare != nil {
		if err := spare.Close(); err != nil {
			s.cfg.Logger.Warn("bucket not closed", "error", err)
		}
	}
	return b
}

// keyOf names the object of a piece.
func keyOf(dir string, n id.Block) string {
	return fmt.Sprintf("%s/%d/%d/%d", dir, n.Stream, n.Instance, n.Number)
}

// pieceOf is the inverse of keyOf, also for what a Put that was cut short left behind; false for a key of something
// else.
func pieceOf(dir string, app id.App, key string) (n id.Block, ok bool) {
	rest, ok := strings.CutPrefix(key, dir+"/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return id.Block{}, false
	}
	number, _, _ := strings.Cut(parts[2], ".")
	stream, err1 := strconv.ParseInt(parts[0], 10, 32)
	instance, err2 := strconv.ParseUint(parts[1], 10, 64)
	last, err3 := strconv.ParseUint(number, 10, 64)
	if errors.Join(err1, err2, err3) != nil {
		return id.Block{}, false
	}
	return id.Block{App: app, Stream: id.Stream(stream), Instance: id.Instance(instance), Number: last}, true
}
