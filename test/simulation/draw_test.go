package simulation_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// drawn is what a seed stands for.
type drawn struct {
	seed      uint64
	nodes     int
	heartbeat time.Duration
	base      time.Duration // most that a message takes
	segment   int64         // bytes of a segment of the log of received blocks
	watch     bool          // the election watch is on
	plan      schedule.Schedule
	programs  []*program
}

// roles that events may name instead of a node.
const (
	leader      = "leader"
	coordinator = "coordinator"
	receiver    = "receiver"
)

func draw(seed uint64) *drawn {
	r := rand.New(rand.NewPCG(seed, 0))
	d := &drawn{
		seed: seed, nodes: 3, heartbeat: pick(r, 300, 500, 500, 1000) * time.Millisecond, watch: r.IntN(3) > 0,
		base: pick(r, 0, 100, 1000, 5000) * time.Microsecond, segment: []int64{2 << 10, 16 << 10, 64 << 20}[r.IntN(3)],
	}
	if r.IntN(6) == 0 {
		d.nodes = 5
	}
	length := 5_000 + r.Int64N(10_000)
	d.plan = schedule.Schedule{Seed: seed, Nodes: d.nodes, TimeMS: length}
	for i := range 1 + r.IntN(2) {
		d.programs = append(d.programs, drawProgram(r, i))
	}
	for range 3 + r.IntN(8) {
		d.plan.Events = append(d.plan.Events, drawEvent(r, d, length))
	}
	d.plan.Events = append(d.plan.Events, drawOwner(rand.New(rand.NewPCG(seed, 3)), d.programs[len(d.programs)-1], length)...)
	for _, p := range d.programs {
		p.lossy = !p.words && slices.ContainsFunc(d.plan.Events, func(e schedule.Event) bool { return e.Kind == acceptLoss })
	}
	slices.SortStableFunc(d.plan.Events, func(a, b schedule.Event) int { return cmp.Compare(a.AtMS, b.AtMS) })
	for i := range d.plan.Events {
		d.plan.Events[i].ID = i + 1
	}
	for _, p := range d.programs {
		d.plan.Workloads = append(d.plan.Workloads, p.name)
	}
	return d
}

func pick(r *rand.Rand, from ...int) time.Duration { return time.Duration(from[r.IntN(len(from))]) }

func drawProgram(r *rand.Rand, i int) *program {
	p := &program{
		batchMS: []int64{300, 500, 1000, 1000}[r.IntN(4)], streams: 1, factor: 2, words: r.IntN(2) == 0, life: 1,
	}
	p.blockMS = []int64{50, 100, 200}[r.IntN(3)]
	p.name = fmt.Sprint("records-", i)
	if p.words {
		p.name = fmt.Sprint("words-", i)
		p.checkpoint = p.batchMS * []int64{0, 2, 3, 5}[r.IntN(4)]
		p.bucket = r.IntN(3) == 0
	} else {
		p.streams = 1 + r.IntN(2)
	}
	p.app = p.name
	for s := range p.streams {
		p.sources = append(p.sources, newSource(
			fmt.Sprint(p.name, "-", s), 1+r.IntN(2), pick(r, 50, 100, 200)*time.Millisecond, 1+r.IntN(4),
		))
	}
	return p
}

func drawEvent(r *rand.Rand, d *drawn, length int64) schedule.Event {
	e := schedule.Event{AtMS: 500 + r.Int64N(length), ForMS: 100 + r.Int64N(pick64(r, 500, 2000, 5000))}
	target := func() string {
		if at := r.IntN(d.nodes + 4); at < d.nodes {
			return placeName(at)
		}
		return []string{leader, leader, coordinator, receiver}[r.IntN(4)]
	}
	e.Targets = []string{target()}
	e.Kind = []schedule.Kind{
		schedule.Kill, schedule.Kill, schedule.Kill, schedule.Pause, schedule.Pause, schedule.Cut, schedule.Cut, schedule.Cut,
		schedule.Delay, schedule.Reset, schedule.Loss, schedule.Terminate, schedule.Transfer, schedule.SlowSync,
		schedule.SyncError, schedule.Full, schedule.Wipe, schedule.ClockJump,
	}[r.IntN(18)]
	planes := []schedule.Plane{schedule.AllPlanes, schedule.AllPlanes, raftPlane, controlPlane, dataPlane}
	switch e.Kind {
	case schedule.Kill:
		for r.IntN(4) == 0 && len(e.Targets) < d.nodes {
			e.Targets = append(e.Targets, placeName(r.IntN(d.nodes)))
		}
	case schedule.Cut, schedule.Delay, schedule.Reset, schedule.Loss:
		e.Plane, e.Both = planes[r.IntN(len(planes))], r.IntN(2) == 0
		if r.IntN(2) == 0 {
			e.Peers = []string{placeName(r.IntN(d.nodes))}
		}
		e.DelayMS, e.JitterMS, e.Percent = r.Int64N(300), r.Int64N(300), float64(1+r.IntN(20))
	case schedule.SlowSync:
		e.DelayMS = 1 + r.Int64N(200)
	case schedule.SyncError:
		e.File = []string{"raft", "wal"}[r.IntN(2)]
	case schedule.Full:
		e.Bytes = r.Int64N(3000)
	case schedule.ClockJump:
		e.OffsetMS = r.Int64N(40_000) - 20_000
	}
	return e
}

func pick64(r *rand.Rand, from ...int64) int64 { return from[r.IntN(len(from))] }

func placeName(i int) string { return fmt.Sprint("n", i+1) }
