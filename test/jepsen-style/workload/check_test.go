package workload

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
)

// made makes the folder of a run in which everything held, but for what is planted; "" plants nothing.
var made = map[string]struct {
	plants map[string]string // what is planted -> the check that must find it
	make   func(f *folder, plant string)
}{
	"append-set": {map[string]string{
		"lost": "exactly-once", "doubled": "exactly-once", "phantom": "exactly-once",
		"fell back": "positions", "torn": "outputs", "in another batch": "batch contents", "batch gone": "batch contents",
	}, makeAppendSet},
	"counter": {map[string]string{
		"counted twice": "totals", "went back": "monotone",
		"missing batch": "totals", "lost at the end": "final totals",
	}, makeTotals},
	"map-counter": {map[string]string{
		"counted twice": "totals", "went back": "monotone",
		"missing batch": "totals", "lost at the end": "final totals",
	}, makeTotals},
	"window": {map[string]string{
		"too long":  "windows out",
		"too short": "windows out", "not in the ledger": "exactly-once in the ledger",
	}, func(f *folder, plant string) { makeWindow(f, outputsPrefix, 3, 1, plant) }},
	"windows": {map[string]string{
		"too long": "windows out-inverse", "too short": "windows out-inverse", "not in the ledger": "exactly-once in the ledger",
	}, makeWindows},
	"receiver": {map[string]string{"cursor too far": "cursors", "gap": "exactly-once", "noted": "cursors"}, makeReceiver},
	"sink": {map[string]string{
		"lost": "exactly-once in object files", "damaged": "commits",
		"out of order": "commits", "only in one": "commits",
	}, makeSink},
	"files":        {map[string]string{"lost": "exactly-once", "doubled": "exactly-once"}, makeFiles},
	"backpressure": {map[string]string{"slow": "latency", "not processed": "backlog"}, makeBackpressure},
	"resume": {map[string]string{
		"lost": "exactly-once", "doubled": "exactly-once", "in another batch": "batch contents",
		"resumed twice": "resumptions", "another index": "resumptions", "another wish": "resumptions", "not its own failure": "resumptions",
		"shown too early": "resumptions", "shown too late": "resumptions",
	}, makeResume},
	"apps": {map[string]string{
		"two for one request": "lifecycle", "runs after its stop": "lifecycle",
		"back to life": "lifecycle", "not the newest": "lifecycle",
	}, makeLifecycle},
	"membership": {map[string]string{"two leaders": "leaders", "no agreement": "converged"}, makeMembership},
	"ledger": {map[string]string{
		"stale": "ledger reads", "ahead": "ledger reads", "went back": "ledger reads", "node went back": "ledger reads",
		"batch changed": "batches", "gap": "batches", "old instance": "receivers", "two answers": "ledger reads",
	}, makeLedger},
}

func TestEveryCheckPassesWhatHoldsAndCatchesWhatDoesNot(t *testing.T) {
	for _, s := range All() {
		m, ok := made[s.Name]
		if !ok {
			t.Errorf("workload %s is not tested", s.Name)
			continue
		}
		for _, plant := range append(slices.Sorted(maps.Keys(m.plants)), "") {
			t.Run(s.Name+"/"+plant, func(t *testing.T) {
				f := newFolder(t, s.Name)
				m.make(f, plant)
				var invalid []string
				for _, r := range s.New().Check(f.dir, f.run) {
					if r.Workload != s.Name {
						t.Errorf("result of workload %q", r.Workload)
					}
					if r.Verdict == checker.Invalid {
						invalid = append(invalid, r.Checker)
					}
					if plant == "" && r.Verdict != checker.Valid {
						t.Errorf("%s is %s: %s", r.Checker, r.Verdict, strings.Join(r.Details, "\n"))
					}
				}
				if plant != "" && !slices.Contains(invalid, m.plants[plant]) {
					t.Errorf("found by %q, expected by %q", invalid, m.plants[plant])
				}
			})
		}
	}
}

// TestEveryAcknowledgedRecordIsCounted: results of a workload may count it again, none may count more than there are.
func TestEveryAcknowledgedRecordIsCounted(t *testing.T) {
	all := 0
	for _, n := range madeRecords {
		all += int(n)
	}
	for name, want := range map[string]int{
		"append-set": 3, "counter": all, "map-counter": all, "window": all, "windows": all, "receiver": 9, "sink": 5, "files": 3,
		"backpressure": 4, "resume": 3, "apps": 0, "membership": 0, "ledger": 2,
	} {
		spec, err := Named(name)
		if err != nil {
			t.Fatal(err)
		}
		f := newFolder(t, name)
		made[name].make(f, "")
		most := int64(0)
		for _, r := range spec[0].New().Check(f.dir, f.run) {
			most = max(most, r.Counts["acknowledged"])
		}
		if most != int64(want) {
			t.Errorf("%s: %d acknowledged records are counted, expected %d", name, most, want)
		}
	}
}

func TestChecksOfAnEmptyFolderProveNothing(t *testing.T) {
	for _, s := range All() {
		for _, r := range s.New().Check(t.TempDir(), &checker.Run{}) {
			if r.Verdict == checker.Valid {
				t.Errorf("%s %s is valid of nothing", s.Name, r.Checker)
			}
		}
	}
}

func TestWorkloadsAreFoundByName(t *testing.T) {
	found, err := Named("ledger", "apps", "ledger")
	if err != nil || len(found) != 2 || found[0].Name != "ledger" || found[1].Name != "apps" {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := Named("ledger", "nothing"); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("an unknown name: %v", err)
	}
	for _, s := range All() {
		if s.New().Name() != s.Name {
			t.Errorf("%s calls itself %s", s.Name, s.New().Name())
		}
	}
}

func TestTextsSayWhichRecordsTheyAre(t *testing.T) {
	for _, producer := range []string{"p0", "p3.12", "a-b"} {
		for _, n := range []uint64{1, 17, 1 << 60} {
			if p, m, err := identified(identity(producer, n)); p != producer || m != n || err != nil {
				t.Errorf("%s-%d is read as %q, %d, %v", producer, n, p, m, err)
			}
		}
	}
	for _, bad := range []string{"", "p0", "p0-", "-1", "p0-x", "p0-0", "p0-1 "} {
		if p, n, err := identified(bad); err == nil {
			t.Errorf("%q is read as record %d of %s", bad, n, p)
		}
	}
	a, b := words(1, countedKeys), words(2, countedKeys)
	same, differ := a("p0", 5) == words(1, countedKeys)("p0", 5), 0
	for n := uint64(1); n <= 100; n++ {
		if a("p0", n) != b("p0", n) && a("p0", n) != a("p1", n) {
			differ++
		}
		for w := range strings.FieldsSeq(a("p0", n)) {
			if !strings.HasPrefix(w, "k") {
				t.Errorf("word %q", w)
			}
		}
	}
	if !same || differ < 80 {
		t.Errorf("the same record has the same text: %v; %d of 100 texts differ by seed and producer", same, differ)
	}
}

func TestClientsAreLostNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		losses := lossesOf(rand.New(rand.NewPCG(1, 1)))
		lost := 0
		for range 600 { // a minute
			time.Sleep(100 * time.Millisecond)
			after := losses()
			if after < 0 || after > 200*time.Millisecond {
				t.Errorf("a client is lost after %v", after)
			}
			if after > 0 {
				lost++
			}
		}
		if low, high := int(time.Minute/loseEvery)/2, int(time.Minute/loseEvery)*2; lost < low || lost > high {
			t.Errorf("%d clients were lost within a minute, expected %d to %d", lost, low, high)
		}
	})
}
