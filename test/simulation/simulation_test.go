package simulation_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds   = flag.Uint64("seeds", 20, "how many seeds TestSeeds runs")
	first   = flag.Uint64("first", 1, "the first of them")
	again   = flag.Int("again", 1, "how often each is run")
	lanes   = flag.Int("lanes", runtime.GOMAXPROCS(0), "how many run at a time")
	show    = flag.Bool("plan", false, "print what the first seed stands for, and run nothing")
	verbose = flag.Bool("log", false, "show the logs of all nodes")
)

// TestSeeds runs clusters under the faults that seeds stand for.
func TestSeeds(t *testing.T) {
	if *show {
		d := draw(*first)
		plan, err := json.MarshalIndent(d.plan, "", " ")
		t.Logf("%+v %s %v", *d, plan, err)
		return
	}
	var next atomic.Uint64
	var mu sync.Mutex
	all := coverage{}
	began := time.Now()
	total := *seeds * uint64(*again)
	t.Run("seeds", func(t *testing.T) {
		for lane := range *lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				for n := next.Add(1) - 1; n < total; n = next.Add(1) - 1 {
					for k, c := range runSeed(t, *first+n/uint64(*again)) {
						mu.Lock()
						all[k] += c
						mu.Unlock()
					}
				}
			})
		}
	})
	took := time.Since(began)
	var report strings.Builder
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&report, "%8d %s\n", all[k], k)
	}
	t.Logf("%d runs in %v, %.0f a minute\n%s", total, took.Round(time.Millisecond), float64(total)/took.Minutes(), report.String())
	for what, enough := range rare {
		if all[what] == 0 && total >= enough {
			t.Errorf("in %d runs it never came to this: %s", total, what)
		}
	}
}

// runSeed runs one seed in a bubble, and gives what it came by.
func runSeed(t *testing.T, seed uint64) (counts coverage) {
	t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
		d := draw(seed)
		synctest.Test(t, func(t *testing.T) {
			labels := pprof.Labels("seed", fmt.Sprint(seed)) // shown with GODEBUG=tracebacklabels=1
			pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), labels))
			s := newSim(t, d)
			counts = s.counts
			s.run()
		})
		if t.Failed() {
			plan, err := json.Marshal(d.plan)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("schedule: %s", plan)
			fmt.Fprintf(os.Stderr, "seed %d failed; again: go test ./test/simulation -run TestSeeds -seeds 1 -first %d -again 50\n", seed, seed)
		}
	})
	return counts
}

// sleep lets virtual time pass.
func sleep(d time.Duration) { time.Sleep(d) }
