package blocks_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// cluster is the stores that a replicator can reach, in memory.
type cluster struct {
	mu    sync.Mutex
	peers []job.Peer
	fail  map[id.Store]error
	hang  map[id.Store]bool
	puts  map[id.Store]int
	holds map[id.Store][]id.Block
}

func newCluster(stores ...id.Store) *cluster {
	c := &cluster{fail: map[id.Store]error{}, hang: map[id.Store]bool{}, puts: map[id.Store]int{}, holds: map[id.Store][]id.Block{}}
	for i, s := range stores {
		c.peers = append(c.peers, job.Peer{Session: id.Session(i + 1), Store: s})
	}
	return c
}

func (c *cluster) replicator() *blocks.Replicator {
	return &blocks.Replicator{
		Self:   self,
		Local:  func(ctx context.Context, d job.BlockData) error { return c.put(ctx, self, d) },
		Peers:  c.open,
		Remote: c,
	}
}

func (c *cluster) open() []job.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.peers)
}

func (c *cluster) Put(ctx context.Context, to job.Peer, d job.BlockData) error {
	return c.put(ctx, to.Store, d)
}

func (c *cluster) put(ctx context.Context, to id.Store, d job.BlockData) error {
	c.mu.Lock()
	c.puts[to]++
	err, hang := c.fail[to], c.hang[to]
	if err == nil && !hang {
		c.holds[to] = append(c.holds[to], d.ID)
	}
	c.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (c *cluster) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func TestBlockIsOnFactorDistinctStores(t *testing.T) {
	for _, tc := range []struct {
		what   string
		factor int
		open   []id.Store
		copies int
	}{
		{"alone", 2, []id.Store{self}, 1},
		{"nobody is known yet", 2, nil, 1},
		{"two of three", 2, []id.Store{self, "b", "c"}, 2},
		{"three of three", 3, []id.Store{self, "b", "c"}, 3},
		{"more than there are", 5, []id.Store{self, "b", "c"}, 3},
		{"one is enough", 1, []id.Store{self, "b", "c"}, 1},
	} {
		c := newCluster(tc.open...)
		stores, err := c.replicator().Store(t.Context(), block(name(1), text(1)), tc.factor, nil)
		must(t, err)
		if len(stores) != tc.copies || stores[0] != self || len(slices.Compact(slices.Sorted(slices.Values(stores)))) != tc.copies {
			t.Errorf("%s: stored on %v, want %d distinct stores, %s first", tc.what, stores, tc.copies, self)
		}
		for _, s := range stores {
			if !slices.Contains(c.holds[s], name(1)) {
				t.Errorf("%s: store %s is named and does not hold the block", tc.what, s)
			}
		}
		if len(c.puts) != tc.copies {
			t.Errorf("%s: puts %v, want one on each of %d stores", tc.what, c.puts, tc.copies)
		}
	}
}

func TestCopiesAreSpreadOverPeers(t *testing.T) {
	c := newCluster(self, "b", "c", "d")
	r := c.replicator()
	for n := range uint64(30) {
		_, err := r.Store(t.Context(), block(name(n+1), text(1)), 2, nil)
		must(t, err)
	}
	for _, s := range []id.Store{"b", "c", "d"} {
		if c.puts[s] != 10 {
			t.Errorf("puts %v, want 10 on each peer", c.puts)
		}
	}
}

func TestAnotherPeerIsAskedWhenOneFailsOrHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(self, "b", "c", "d")
		c.fail["b"], c.hang["c"] = errors.New("connection refused"), true
		r := c.replicator()
		for n := range uint64(6) {
			stores, err := r.Store(t.Context(), block(name(n+1), text(1)), 2, nil)
			must(t, err)
			if !slices.Equal(stores, []id.Store{self, "d"}) {
				t.Errorf("stored on %v, want on d", stores)
			}
		}
		if c.puts[self] != 6 {
			t.Errorf("%d local puts for 6 blocks", c.puts[self])
		}
	})
}

// Rule 5: never silently fewer copies than required; the block waits until there are enough.
func TestBlockWaitsForItsCopies(t *testing.T) {
	for what, heal := range map[string]func(c *cluster){
		"the peer comes back":       func(c *cluster) { delete(c.fail, "b") },
		"another peer comes":        func(c *cluster) { c.peers = append(c.peers, job.Peer{Session: 9, Store: "z"}) },
		"the peer's session closes": func(c *cluster) { c.peers = c.peers[:1] },
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(self, "b")
			c.fail["b"] = errors.New("unreachable")
			done := make(chan []id.Store, 1)
			go func() {
				stores, err := c.replicator().Store(t.Context(), block(name(1), text(1)), 2, nil)
				if err != nil {
					t.Error(err)
				}
				done <- stores
			}()
			time.Sleep(time.Minute)
			select {
			case stores := <-done:
				t.Fatalf("%s: stored on %v with an unreachable peer", what, stores)
			default:
			}
			c.set(func() { heal(c) })
			stores := <-done
			want := 2
			if len(c.open()) == 1 {
				want = 1
			}
			if len(stores) != want {
				t.Errorf("%s: stored on %v, want %d copies", what, stores, want)
			}
			if c.puts[self] != 1 {
				t.Errorf("%s: stored %d times here", what, c.puts[self])
			}
		})
	}
}

// Rule 10: a full store makes the block wait, it is not left out.
func TestBlockWaitsWhileItsOwnStoreIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(self, "b", "c")
		c.fail[self] = job.ErrFull
		time.AfterFunc(30*time.Second, func() { c.set(func() { delete(c.fail, self) }) })
		began := time.Now()
		stores, err := c.replicator().Store(t.Context(), block(name(1), text(1)), 2, nil)
		must(t, err)
		if waited := time.Since(began); waited < 30*time.Second || waited > 32*time.Second {
			t.Errorf("waited %v", waited)
		}
		if len(stores) != 2 || c.puts["b"]+c.puts["c"] != 1 {
			t.Errorf("stored on %v with puts %v, want one copy elsewhere", stores, c.puts)
		}
	})
}

func TestKnownCopiesCountWhileTheirSessionsAreOpen(t *testing.T) {
	c := newCluster(self, "b", "c")
	r := c.replicator()
	stores, err := r.Store(t.Context(), block(name(1), text(1)), 2, []id.Store{self, "b"})
	must(t, err)
	if len(c.puts) != 0 || !slices.Equal(stores, []id.Store{self, "b"}) {
		t.Errorf("stored on %v with puts %v, want nothing new", stores, c.puts)
	}
	stores, err = r.Store(t.Context(), block(name(1), text(1)), 2, []id.Store{self, "gone"})
	must(t, err)
	if len(stores) != 2 || slices.Contains(stores, "gone") || c.puts[self] != 0 {
		t.Errorf("stored on %v with puts %v, want a copy in place of the one that is gone", stores, c.puts)
	}
}

func TestEndOfContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(self, "b")
		c.hang["b"] = true
		stop := errors.New("session is over")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(stop) })
		if _, err := c.replicator().Store(ctx, block(name(1), text(1)), 2, nil); !errors.Is(err, stop) {
			t.Errorf("Store: %v, want the cause", err)
		}
	})
}
