package blocks_test

import (
	"math/rand/v2"
	"testing"

	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
)

// still is a block of an application that stands still: nothing of it is ever cleaned.
func still(n uint64) id.Block { return id.Block{App: 4, Stream: 2, Instance: 7, Number: n} }

// pass stores blocks of two applications and cleans those of one; it gives the blocks that must be held whatever else
// happens, and the error that ended it.
func pass(t *testing.T, s *blocks.Store, rounds uint64, largest *int64) (needed []id.Block, err error) {
	for i := uint64(1); i <= rounds; i++ {
		if i <= 10 {
			if err := s.Put(t.Context(), block(still(i), text(i))); err != nil {
				return needed, err
			}
			needed = append(needed, still(i))
		}
		for k := range uint64(3) {
			if err := s.Put(t.Context(), block(name(3*i+k), text(10))); err != nil {
				return needed, err
			}
		}
		p := &job.Progress{App: 5, Instances: []job.InstanceProgress{{Stream: 2, Instance: 7, Cleaned: 3*i + 2, Last: 3*i + 2}}}
		if err := s.Progress(p); err != nil {
			return needed, err
		}
		*largest = max(*largest, s.Stats().Log.Bytes)
	}
	return needed, nil
}

// Invariant 9: an application that stands still does not pin what others have filled the log with.
func TestOldBlocksDoNotPinTheLog(t *testing.T) {
	f := vfs.NewMem()
	c := config(f)
	c.SegmentBytes, c.MemoryBytes = 1000, -1
	s := open(t, c)
	var largest int64
	needed, err := pass(t, s, 200, &largest)
	must(t, err)
	held(t, s, needed...)
	if limit := 6*c.SegmentBytes + 2*s.Stats().Bytes; largest > limit {
		t.Errorf("the log grew to %d bytes, expected at most %d", largest, limit)
	}
	must(t, s.Close())
	s = open(t, c)
	must(t, s.Progress(&job.Progress{App: 5, Ended: true})) // its dead records came up again
	held(t, s, needed...)
	must(t, s.Progress(&job.Progress{App: 4, Ended: true}))
	if st := s.Stats(); st.Blocks != 0 || st.Bytes != 0 {
		t.Errorf("after the end it holds %+v", st)
	}
}

func TestCompactionLosesNothingInACrashAtAnyOperation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 8))
	for n := 0; n < 600; n += 1 + rng.IntN(3) {
		f := vfs.NewMem()
		f.StopAt(n, rng)
		c := config(f)
		c.SegmentBytes, c.MemoryBytes = 1000, -1
		var needed []id.Block
		var largest int64
		if s, err := blocks.Open(c); err == nil {
			needed, _ = pass(t, s, 30, &largest) // the disk went down at some point
			_ = s.Close()
		}
		c.FS = f.Crash(rng)
		s := open(t, c)
		for _, b := range needed {
			if d, err := s.Get(b); err != nil || string(d.Data) != text(b.Number) {
				t.Fatalf("stopped at %d: block %v: %q, %v", n, b, d.Data, err)
			}
		}
		must(t, s.Close())
	}
}
