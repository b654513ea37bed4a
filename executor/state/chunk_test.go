package state_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/state"
)

// chain makes a chain of an image in two chunks, and of changes at 2000 and 3000.
func chain(t *testing.T) [][]byte {
	t.Helper()
	s := newStore()
	run(t, s, 0, zero, v(1000, 10), empty, plus(strings.Repeat("x", 5<<20)+" y"))
	run(t, s, 0, v(1000, 10), v(2000, 11), nil, plus("c"))
	all := checkpoint(t, s, 0, v(1000, 10), true, 0)
	run(t, s, 0, v(2000, 11), v(3000, 12), nil, plus("d"))
	all = append(all, checkpoint(t, s, 0, v(2000, 11), false, 1000)...)
	all = append(all, checkpoint(t, s, 0, v(3000, 12), false, 2000)...)
	if len(all) != 4 {
		t.Fatalf("%d chunks, expected 4", len(all))
	}
	return all
}

func TestPieceOutOfItsPlaceIsRefused(t *testing.T) {
	good := chain(t)
	change := func(chunk, at int, to byte) [][]byte {
		c := slices.Clone(good)
		c[chunk] = slices.Clone(c[chunk])
		c[chunk][at] = to
		return c
	}
	pick := func(n ...int) (c [][]byte) {
		for _, i := range n {
			c = append(c, good[i])
		}
		return c
	}
	tests := []struct {
		name string
		at   job.Held
		c    [][]byte
		want string
	}{
		{"whole", held(0, v(3000, 12)), good, ""},
		{"changes missing at the end", held(0, v(3000, 12)), pick(0, 1, 2), ""}, // as if nothing had changed; the ledger knows the pieces
		{"none", held(0, v(3000, 12)), nil, "after 0 pieces"},
		{"no image", held(0, v(3000, 12)), pick(2, 3), "expected an image"},
		{"half an image", held(0, v(3000, 12)), pick(0), "ends after 1 pieces"},
		{"image with a hole", held(0, v(3000, 12)), pick(1, 2), "chunk 1"},
		{"image without its end", held(0, v(3000, 12)), pick(0, 2), "chunk 0 of version 2000"},
		{"twice", held(0, v(3000, 12)), pick(0, 1, 2, 2), "from 1000 to 2000"},
		{"two images", held(0, v(3000, 12)), pick(0, 1, 0, 1), "begins an image"},
		{"out of order", held(0, v(3000, 12)), pick(0, 1, 3, 2), "from 1000 to 2000"},
		{"another partition", held(1, v(3000, 12)), good, "partition 0"},
		{"another stream", job.Held{Stream: 2, Version: v(3000, 12)}, good, "stream 1"},
		{"beyond the version", held(0, v(2000, 11)), good, "leads to 3000"},
		{"no chunk", held(0, v(3000, 12)), change(0, 0, 'X'), "no chunk"},
		{"short", held(0, v(3000, 12)), [][]byte{good[0][:20]}, "no chunk"},
		{"newer format", held(0, v(3000, 12)), change(0, 8, 9), "version 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := state.Restore(app, tt.at, executortest.NewTable(), chunks(tt.c))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error is %v, expected %q in it", err, tt.want)
			}
		})
	}
	if err := state.Restore(app+1, held(0, v(3000, 12)), executortest.NewTable(), chunks(good)); err == nil {
		t.Error("pieces of another application were taken")
	}
}

func TestChainThatCannotBeReadSaysWhy(t *testing.T) {
	missing := &job.TaskError{Fault: job.MissingFault, Text: "nobody has it"}
	err := state.Restore(app, held(0, v(3000, 12)), executortest.NewTable(), func(yield func([]byte, error) bool) { yield(nil, missing) })
	if !errors.Is(err, error(missing)) {
		t.Errorf("error is %v", err)
	}
}

// A damaged chunk is an error or something harmless, and never a panic.
func FuzzRestore(f *testing.F) {
	s := newStore()
	_, _, release, err := s.Advance(f.Context(), app, held(0, zero), v(1000, 10), empty, plus("a b b"))
	if err != nil {
		f.Fatal(err)
	}
	release()
	err = s.Checkpoint(f.Context(), app, held(0, v(1000, 10)), true, 0, nil, func(c []byte, _ int64) error {
		f.Add(c)
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, c []byte) {
		_ = state.Restore(app, held(0, v(1000, 10)), executortest.NewTable(), chunks([][]byte{c}))
	})
}
