package suite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// ManyOptions say what many runs are made of.
type ManyOptions struct {
	// Each gives the options that runs have in common; Schedule, Seed, Nodes, Workloads and Dir are set for each run.
	Each Options
	// Workloads are those to take some from for each run.
	Workloads []workload.Spec
	// Nodes are the sizes of clusters to draw from. None: Each.Nodes.
	Nodes []int
	Seed  uint64 // of the first run; each further one takes the next
	For   time.Duration
	Runs  int // at most; 0: as many as there is time for
	// Parallel is how many clusters run at a time. 0: one.
	Parallel int
	Dir      string // folders of runs are below
	Keep     bool   // also those of green runs
}

// Summary is what many runs came to.
type Summary struct {
	Seed       uint64 `json:"seed"`
	Runs       int    `json:"runs"`
	Green      int    `json:"green"`
	Incomplete int    `json:"incomplete"`
	Violated   int    `json:"violated"`
	TookMS     int64  `json:"took_ms"`

	Acknowledged int64 `json:"acknowledged"`
	Lost         int64 `json:"lost"`
	Duplicated   int64 `json:"duplicated"`
	Phantom      int64 `json:"phantom"`
	Unexplained  int64 `json:"unexplained"`

	Faults  map[schedule.Kind]Count  `json:"faults"`
	LeftOut map[schedule.Kind]string `json:"left_out,omitempty"`
	// AllGaps are of all faults that hit a leader. Gaps are of those that nothing else accompanied, in clusters whose others are a
	// majority without it, and GapsOf are these by the kind of the fault.
	AllGaps Spread                   `json:"all_gaps"`
	Gaps    Spread                   `json:"gaps"`
	GapsOf  map[schedule.Kind]Spread `json:"gaps_of"`
	// States says how many runs came to each of the rare states. Holes names those that none came to, where there were enough
	// runs, of everything: nothing is known of them, though all may be green.
	States map[string]int64 `json:"states"`
	Holes  *checker.Result  `json:"holes,omitempty"`
	// Trimmed says in how many runs each result was not to be had, as drivers removed what their snapshots hold.
	Trimmed map[string]int `json:"trimmed,omitempty"`
	// Bad are the runs that are not green, with the folders that show why.
	Bad []Verdict `json:"bad,omitempty"`

	all, gaps []Gap
}

// Many runs schedules of consecutive seeds for a while, and sums up. Runs that are not green leave their folders. The error
// says that some run came to no verdict; the others stand.
func Many(ctx context.Context, o ManyOptions) (Summary, error) {
	m := &many{o: o, began: time.Now(), sum: newSummary(o.Seed)}
	var lanes sync.WaitGroup
	for range max(1, o.Parallel) {
		lanes.Go(func() { m.lane(ctx) })
	}
	lanes.Wait()
	m.sum.TookMS = time.Since(m.began).Milliseconds()
	m.sum.spread()
	if m.o.everything() {
		m.sum.holes()
	}
	return m.sum, errors.Join(m.errs...)
}

type many struct {
	o     ManyOptions
	began time.Time

	mu     sync.Mutex
	begun  int
	errs   []error
	failed int // runs in a row without a verdict
	sum    Summary
}

// giveUp is after how many runs in a row without a verdict nothing more is tried.
const giveUp = 3

// next gives the seed of the next run, false when there is none.
func (m *many) next(ctx context.Context) (uint64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil || m.failed >= giveUp || m.o.Runs > 0 && m.begun >= m.o.Runs || m.begun > 0 && time.Since(m.began) >= m.o.For {
		return 0, false
	}
	m.begun++
	return m.o.Seed + uint64(m.begun) - 1, true
}

func (m *many) lane(ctx context.Context) {
	for seed, ok := m.next(ctx); ok; seed, ok = m.next(ctx) {
		o := m.options(seed)
		v, err := Run(ctx, o)
		if ctx.Err() != nil {
			return // what was interrupted says nothing
		}
		m.add(o, v, err)
	}
}

// options draws what a seed decides: how many nodes there are, and which workloads.
func (m *many) options(seed uint64) Options {
	o := m.o.Each
	r := rand.New(rand.NewPCG(seed, 3))
	if len(m.o.Nodes) > 0 {
		o.Nodes = m.o.Nodes[r.IntN(len(m.o.Nodes))]
	}
	order := r.Perm(len(m.o.Workloads))
	o.Workloads = nil
	for _, i := range order[:min(len(order), 2+r.IntN(3))] {
		o.Workloads = append(o.Workloads, m.o.Workloads[i].New())
	}
	o.Seed, o.Schedule, o.Dir = seed, nil, filepath.Join(m.o.Dir, fmt.Sprintf("%s-seed%d", m.began.UTC().Format("20060102-150405"), seed))
	return o
}

func (m *many) add(o Options, v Verdict, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failed++
		m.errs = append(m.errs, err)
		m.o.Each.say("seed %d: NO VERDICT: %v", o.Seed, err)
		return
	}
	m.failed = 0
	m.sum.add(v)
	m.o.Each.say("%s", v.Line())
	for _, reason := range v.Reasons {
		m.o.Each.say("    %s", reason)
	}
	if v.Outcome != Green {
		m.o.Each.say("    see %s", v.Dir)
	} else if !m.o.Keep {
		if err := os.RemoveAll(v.Dir); err != nil {
			m.errs = append(m.errs, err)
		}
	}
}

func (o *Options) say(format string, args ...any) {
	if o.Say != nil {
		o.Say(format, args...)
	}
}

func (s *Summary) add(v Verdict) {
	s.Runs++
	for _, name := range v.Trimmed {
		s.Trimmed[name]++
	}
	switch v.Outcome {
	case Green:
		s.Green++
	case Violated:
		s.Violated++
	case Incomplete:
		s.Incomplete++
	}
	if v.Outcome != Green {
		s.Bad = append(s.Bad, v)
	}
	s.Acknowledged += v.Acknowledged
	s.Lost += v.Lost
	s.Duplicated += v.Duplicated
	s.Phantom += v.Phantom
	s.Unexplained += v.Unexplained
	for k, c := range v.Faults {
		t := s.Faults[k]
		s.Faults[k] = Count{Planned: t.Planned + c.Planned, Injected: t.Injected + c.Injected, Bites: t.Bites + c.Bites, What: max(t.What, c.What)}
	}
	s.leftOut(v.LeftOut)
	s.states(v.Results)
	s.all = append(s.all, v.Gaps...)
	for _, g := range v.Gaps {
		if g.Alone && v.Nodes >= 3 {
			s.gaps = append(s.gaps, g)
		}
	}
}

// spread sums up the gaps.
func (s *Summary) spread() {
	s.AllGaps, s.Gaps, s.GapsOf = SpreadOf(s.all), SpreadOf(s.gaps), make(map[schedule.Kind]Spread)
	for _, k := range deposing {
		of := slices.DeleteFunc(slices.Clone(s.gaps), func(g Gap) bool { return g.Kind != k })
		if len(of) > 0 {
			s.GapsOf[k] = SpreadOf(of)
		}
	}
}

// leftOut keeps what was left out of every run.
func (s *Summary) leftOut(of map[schedule.Kind]string) {
	if s.LeftOut == nil {
		s.LeftOut = maps.Clone(of)
	}
	maps.DeleteFunc(s.LeftOut, func(k schedule.Kind, _ string) bool { return of[k] == "" })
}

// Text is the summary for people.
func (s *Summary) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs from seed %d in %v: %d green, %d incomplete, %d violated\n", s.Runs, s.Seed,
		(time.Duration(s.TookMS) * time.Millisecond).Round(time.Second), s.Green, s.Incomplete, s.Violated)
	fmt.Fprintf(&b, "records acknowledged %d: lost %d, duplicated %d, phantom %d, unexplained %d\n", s.Acknowledged, s.Lost, s.Duplicated, s.Phantom, s.Unexplained)
	for _, k := range schedule.Kinds() {
		if c, ok := s.Faults[k]; ok {
			fmt.Fprintf(&b, "  %-12s %4d of %4d took effect (%d %s)\n", k, c.Injected, c.Planned, c.Bites, c.What)
		}
	}
	if s.AllGaps.Count > 0 {
		fmt.Fprintf(&b, "leader hit until the next batch allocated: %s; of three nodes or more, with nothing else wrong: %s\n", s.AllGaps, s.Gaps)
	}
	for _, k := range deposing {
		if of, ok := s.GapsOf[k]; ok {
			fmt.Fprintf(&b, "  %-12s %s\n", k, of)
		}
	}
	if len(s.Trimmed) > 0 {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(s.Trimmed)) {
			all = append(all, fmt.Sprintf("%s %d", name, s.Trimmed[name]))
		}
		fmt.Fprintf(&b, "NOT JUDGED in so many runs, as drivers removed what their snapshots hold: %s\n", strings.Join(all, ", "))
	}
	return b.String() + LeftOutText(s.LeftOut) + s.statesText()
}
