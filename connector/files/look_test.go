package files

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A directory that answers slowly: each plan looks at as many files as its time allows, and all have their turn.
func TestFilesOfASlowDirectoryAreLookedAtInTurn(t *testing.T) {
	dir := t.TempDir()
	var fresh []string
	for i := range 7 {
		name := fmt.Sprint(i)
		fresh = append(fresh, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &planner{now: time.Now(), files: map[string]*file{}}
	for turn, want := range [][]string{{"0", "1", "2"}, {"3", "4", "5"}, {"0", "1", "6"}} {
		asked := 0
		waiting, all := p.lookAt(dir, fresh, func() bool { asked++; return asked == 3 })
		var got []string
		for _, f := range waiting {
			got = append(got, f.name)
		}
		slices.Sort(got)
		if all || !slices.Equal(got, want) {
			t.Fatalf("turn %d: looked at %q, all: %t, want %q", turn, got, all, want)
		}
	}
	if _, all := p.lookAt(dir, fresh, func() bool { return false }); !all || p.fresh != "" {
		t.Fatalf("with time enough not all are looked at, next is %q", p.fresh)
	}
	if waiting, all := p.lookAt(dir, fresh, func() bool { return true }); all || len(waiting) != 1 {
		t.Fatalf("without time %d files are looked at, want one: else nothing ever happens", len(waiting))
	}
}

// What was slow before leaves the next step less time, but some; and a batch does not wait for long for its plan.
func TestEachStepOfPlanningHasTimeOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
		defer cancel()
		time.Sleep(840 * time.Millisecond)
		for _, tt := range []struct{ interval, end time.Duration }{{time.Second, 20 * time.Millisecond}, {30 * time.Millisecond, 10 * time.Millisecond}} {
			over := timer(ctx, tt.interval)
			time.Sleep(tt.end - 1)
			if over() {
				t.Errorf("interval %v: over before %v", tt.interval, tt.end)
			}
			time.Sleep(time.Nanosecond)
			if !over() {
				t.Errorf("interval %v: not over after %v", tt.interval, tt.end)
			}
		}
	})
}
