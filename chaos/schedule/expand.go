package schedule

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Expand draws everything that is left to chance: the same plan gives the same schedule. Faults that take synced data
// from the disk of any node take them from one and the same: what is promised holds while a minority loses its data.
func (p *Plan) Expand() Schedule {
	d := &draw{rand: rand.New(rand.NewPCG(p.Seed, 1)), nodes: p.Nodes}
	d.victim = Node(1 + d.rand.IntN(p.Nodes))
	s := Schedule{Seed: p.Seed, Nodes: p.Nodes, Workloads: p.Workloads, Rate: p.Rate, TimeMS: p.Time.Milliseconds(), Trim: p.Trim}
	for _, st := range p.statements {
		if !st.every {
			s.Events = append(s.Events, d.events(st, d.time(st.at))...)
			continue
		}
		for at := d.time(st.at); at < p.Time; at += max(d.time(st.at), time.Millisecond) {
			s.Events = append(s.Events, d.events(st, at)...)
		}
	}
	return s.sorted()
}

// sorted puts the events in the order of their times and numbers them.
func (s Schedule) sorted() Schedule {
	slices.SortStableFunc(s.Events, func(a, b Event) int { return cmp.Compare(a.AtMS, b.AtMS) })
	for i := range s.Events {
		s.Events[i].ID = i + 1
	}
	return s
}

// draw is the chance of one expansion.
type draw struct {
	rand   *rand.Rand
	nodes  int
	victim string
}

func (d *draw) time(s span) time.Duration {
	return s.low + time.Duration(d.rand.Int64N(int64(s.high-s.low)+1)).Round(time.Millisecond)
}

func (d *draw) number(v value) int64 { return v.low + d.rand.Int64N(v.high-v.low+1) }

// events are those of one statement at a time: one, or the cuts of a partition.
func (d *draw) events(s statement, at time.Duration) []Event {
	a := s.actions[d.rand.IntN(len(s.actions))]
	e := Event{
		AtMS: at.Milliseconds(), ForMS: d.time(a.hold).Milliseconds(), Kind: a.kind, Both: a.both,
		DelayMS: d.number(a.values["delay"]), JitterMS: d.number(a.values["jitter"]), OffsetMS: d.number(a.values["offset"]),
		Percent: float64(d.number(a.values["percent"])), Bytes: d.number(a.values["bytes"]), Count: int(d.number(a.values["count"])),
		Hit: int(d.number(a.values["hit"])), File: a.values["file"].word, Point: a.values["point"].word, Plane: Plane(a.values["plane"].word),
	}
	if a.shape != "" {
		return d.partition(e, a.shape)
	}
	e.Targets, e.Peers = d.resolve(a.targets), d.resolve(a.peers)
	if slices.Contains(destructive, a.kind) && slices.Contains(a.targets, "any") {
		e.Targets = []string{d.victim}
	}
	return []Event{e}
}

// resolve draws the nodes that chances stand for.
func (d *draw) resolve(targets []string) []string {
	var out []string
	for _, t := range targets {
		n := 0
		switch t {
		case "any":
			n = 1
		case "minority":
			n = max(1, (d.nodes-1)/2)
		case "majority":
			n = d.nodes/2 + 1
		case "all":
			n = d.nodes
		default:
			out = append(out, t)
		}
		for _, i := range d.rand.Perm(d.nodes)[:n] {
			out = append(out, Node(i+1))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// partition gives the cuts of a shape.
func (d *draw) partition(e Event, shape string) []Event {
	e.Both = true
	order := d.rand.Perm(d.nodes)
	if shape == "majorities-ring" && d.nodes < 4 { // three nodes in a ring see each other
		shape = "one"
	}
	switch shape {
	case "leader":
		e.Targets = []string{"leader"}
		return []Event{e}
	case "majorities-ring": // every node keeps its neighbours, as many as make a majority
		var all []Event
		reach := (d.nodes/2 + 1) / 2
		for i := range order {
			cut := e
			cut.Targets = []string{Node(order[i] + 1)}
			for k := i + reach + 1; k < d.nodes; k++ {
				if d.nodes-(k-i) > reach {
					cut.Peers = append(cut.Peers, Node(order[k]+1))
				}
			}
			if len(cut.Peers) > 0 {
				all = append(all, cut)
			}
		}
		return all
	}
	side := 1
	if shape == "minority" {
		side = max(1, (d.nodes-1)/2)
	}
	for i, n := range order {
		if i < side {
			e.Targets = append(e.Targets, Node(n+1))
		} else {
			e.Peers = append(e.Peers, Node(n+1))
		}
	}
	slices.Sort(e.Targets)
	slices.Sort(e.Peers)
	return []Event{e}
}

// Check refuses a schedule that cannot be run as it stands, as one that was read from a file may be.
func (s Schedule) Check() error {
	p := Plan{Nodes: s.Nodes, Time: time.Duration(s.TimeMS) * time.Millisecond, Rate: s.Rate}
	if err := p.check(); err != nil {
		return err
	}
	for _, e := range s.Events {
		if err := e.check(s.Nodes); err != nil {
			return fmt.Errorf("schedule, event %d (%s at %d ms): %w", e.ID, e.Kind, e.AtMS, err)
		}
	}
	return nil
}

func (e Event) check(nodes int) error {
	switch {
	case !slices.Contains(Kinds(), e.Kind):
		return fmt.Errorf("unknown fault, expected one of %v", Kinds())
	case e.AtMS < 0 || e.ForMS < 0:
		return fmt.Errorf("time is %d ms for %d ms, expected 0 or more", e.AtMS, e.ForMS)
	case len(e.Targets) == 0:
		return fmt.Errorf("no target")
	case e.Plane != "" && !slices.Contains(planes, e.Plane):
		return fmt.Errorf("plane is %q, expected one of %v", e.Plane, planes)
	}
	for _, t := range slices.Concat(e.Targets, e.Peers) {
		if slices.Contains(chances, t) {
			return fmt.Errorf("target is %q, expected a node or a role: chances are drawn before", t)
		}
		if err := checkTarget(t, nodes); err != nil {
			return err
		}
	}
	return nil
}
