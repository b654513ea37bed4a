package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

var planes = []Plane{AllPlanes, Raft, Gossip, RPC, Watch}

// destructive kinds take synced data from a disk: in one schedule they happen once at most, and to one node.
var destructive = []Kind{BitFlip, Truncate, Wipe}

// Kinds are all kinds of faults, in the order of their constants.
func Kinds() []Kind {
	return []Kind{
		Kill, Pause, Terminate, Exit, Memory, CPU, Cut, Delay, Loss, Duplicate, Reorder, Rate, Reset, PowerCut, SyncError, Full, TornWrite,
		SlowSync, BitFlip, Truncate, Wipe, ClockJump, ClockDrift, ClockStrobe, Transfer, Roll,
	}
}

// recipes say how a fault of a kind is drawn: the text of an action. %s is a plane.
var recipes = map[Kind][]string{
	Kill:        {"kill leader for 0s..3s", "kill leader for 0s..3s", "kill any for 0s..5s", "kill coordinator for 0s..3s", "kill receiver for 0s..3s", "kill majority for 0s..3s", "kill all for 0s..2s"},
	Pause:       {"pause leader for 500ms..6s", "pause any for 500ms..6s", "pause coordinator for 500ms..5s", "pause minority for 500ms..5s"},
	Terminate:   {"terminate leader for 0s..2s", "terminate any for 0s..2s"},
	Exit:        {"exit leader point=%s hit=1..5 for 500ms..2s", "exit any point=%s hit=1..5 for 500ms..2s"},
	Memory:      {"memory any bytes=3000000..10000000 for 3s..8s"},
	CPU:         {"cpu any percent=5..20 for 3s..8s", "cpu leader percent=5..20 for 3s..8s"},
	Cut:         {"partition one plane=%s for 1s..8s", "partition leader plane=%s for 1s..8s", "partition minority plane=%s for 1s..8s", "partition majorities-ring plane=%s for 1s..8s", "cut leader to followers plane=%s for 1s..6s", "cut any to leader plane=%s for 1s..6s"},
	Delay:       {"delay any delay=20ms..300ms jitter=0ms..150ms plane=%s for 2s..8s", "delay leader delay=20ms..300ms jitter=0ms..150ms both plane=%s for 2s..8s"},
	Loss:        {"loss any percent=30..60 both plane=%s for 4s..8s"},
	Duplicate:   {"duplicate any percent=10..50 both for 2s..8s"},
	Reorder:     {"reorder any percent=10..50 delay=5ms..50ms both for 2s..8s"},
	Rate:        {"rate any bytes=20000..500000 both for 2s..6s"},
	Reset:       {"reset any both plane=%s for 200ms..2s", "reset leader both plane=%s for 200ms..2s"},
	PowerCut:    {"powercut leader for 0s..3s", "powercut any for 0s..3s", "powercut all for 0s..2s"},
	SyncError:   {"sync-error any for 1s..3s", "sync-error leader for 1s..3s"},
	Full:        {"full any for 2s..8s", "full leader for 2s..8s"},
	TornWrite:   {"torn-write any for 1s..3s"},
	SlowSync:    {"slow-sync any delay=20ms..400ms for 2s..8s", "slow-sync leader delay=20ms..400ms for 2s..8s"},
	BitFlip:     {"bit-flip any file=%s count=1..8 for 1s..2s"},
	Truncate:    {"truncate any file=%s bytes=1..8192 for 1s..2s"},
	Wipe:        {"wipe any for 1s..2s"},
	ClockJump:   {"clock-jump any offset=-90s..90s for 2s..8s", "clock-jump leader offset=-90s..90s for 2s..8s", "clock-jump all offset=-60s..60s for 2s..8s"},
	ClockDrift:  {"clock-drift any offset=-5s..5s for 3s..8s"},
	ClockStrobe: {"clock-strobe any offset=50ms..500ms for 2s..6s"},
	Transfer:    {"transfer leader"},
	Roll:        {"roll all"},
}

// Options say what a random schedule is made of.
type Options struct {
	Nodes     int
	Workloads []string
	Rate      int
	Time      time.Duration
	// Every is the mean time between faults. 0: four seconds.
	Every time.Duration
	// Kinds are those that can be injected here; none other is drawn.
	Kinds []Kind
	// Points are the failpoints that the nodes have; without them nothing exits at one.
	Points []string
	// Files are the parts of a data directory that may be damaged: raft, wal, snapshots. None: raft and wal.
	Files []string
}

// Random draws a schedule. Each seed takes some of the kinds only, so that rare combinations come up at all: a swarm. Half of
// the schedules kill leaders whatever else they do. In the last fifth of the time nothing new goes wrong.
func Random(seed uint64, o Options) (Schedule, error) {
	r := rand.New(rand.NewPCG(seed, 2))
	kinds := some(r, o.Kinds)
	var text strings.Builder
	fmt.Fprintf(&text, "seed=%d nodes=%d rate=%d time=%v\n", seed, o.Nodes, max(o.Rate, 1), o.Time)
	every := o.Every
	if every == 0 {
		every = 4 * time.Second
	}
	leaders := slices.Contains(o.Kinds, Kill) && r.IntN(2) == 0
	destroyed := false
	for at := r.Int64N(int64(every)); at < int64(o.Time)*4/5; at += 1 + r.Int64N(2*int64(every)) {
		kind := Kill
		recipe := recipes[Kill][0]
		if !leaders || r.IntN(2) == 0 {
			if len(kinds) == 0 {
				break
			}
			kind = kinds[r.IntN(len(kinds))]
			recipe = recipes[kind][r.IntN(len(recipes[kind]))]
		}
		if slices.Contains(destructive, kind) {
			if destroyed || o.Nodes < 3 {
				continue
			}
			destroyed = true
		}
		if strings.Contains(recipe, "%s") {
			word, ok := o.fill(r, kind)
			if !ok {
				continue
			}
			recipe = fmt.Sprintf(recipe, word)
		}
		fmt.Fprintf(&text, "at %v %s\n", time.Duration(at).Round(time.Millisecond), recipe)
	}
	p, err := Parse(text.String())
	if err != nil {
		return Schedule{}, fmt.Errorf("random schedule of seed %d: %w", seed, err)
	}
	s := p.Expand()
	s.Workloads = o.Workloads
	return s, nil
}

// fill draws the word that a recipe leaves open.
func (o *Options) fill(r *rand.Rand, kind Kind) (string, bool) {
	switch kind {
	case Exit:
		if len(o.Points) == 0 {
			return "", false
		}
		return o.Points[r.IntN(len(o.Points))], true
	case BitFlip, Truncate:
		files := o.Files
		if len(files) == 0 {
			files = []string{"raft", "wal"}
		}
		return files[r.IntN(len(files))], true
	}
	if r.IntN(2) == 0 {
		return string(AllPlanes), true
	}
	plane := planes[r.IntN(len(planes))]
	if plane == Watch && kind != Reset || plane == Gossip && kind == Reset {
		// Connections of the watch are silent: only a reset takes effect on them. Gossip has connections now and then only.
		plane = AllPlanes
	}
	return string(plane), true
}

// some takes each kind with the same chance, drawn too, and at least one.
func some(r *rand.Rand, kinds []Kind) []Kind {
	chance := 0.15 + 0.7*r.Float64()
	var taken []Kind
	for _, k := range kinds {
		if r.Float64() < chance {
			taken = append(taken, k)
		}
	}
	if len(taken) == 0 && len(kinds) > 0 {
		taken = append(taken, kinds[r.IntN(len(kinds))])
	}
	return taken
}
