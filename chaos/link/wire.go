package link

import (
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// wire is the switch: a goroutine for each station reads its frames and hands them on, those that are to come late through
// one timeline.
type wire struct {
	stations []*station
	byMAC    map[[6]byte]*station
	flows    *flows
	late     *timeline
	readers  sync.WaitGroup

	mu sync.Mutex // held to change the rules of lanes
}

// station is a node or the client as the switch sees it.
type station struct {
	name  string
	mac   [6]byte
	tap   *os.File
	lanes []*lane // to each other station
}

// lane is the way from one station to another. Its random decisions and what its rules remember belong to the goroutine
// that reads from's frames.
type lane struct {
	from, to *station
	random   *rand.Rand
	rules    atomic.Pointer[[]*meter] // nil: none
}

func newWire(seed uint64, planes Planes, stations []*station) *wire {
	w := &wire{stations: stations, byMAC: map[[6]byte]*station{}, flows: newFlows(planes), late: newTimeline()}
	connect(seed, stations)
	for _, s := range stations {
		w.byMAC[s.mac] = s
	}
	for _, s := range stations {
		w.readers.Go(func() { w.read(s) })
	}
	return w
}

// connect makes the lanes of the stations.
func connect(seed uint64, stations []*station) {
	for i, from := range stations {
		for j, to := range stations {
			if i != j {
				random := rand.New(rand.NewPCG(seed, uint64(i)<<32|uint64(j)))
				from.lanes = append(from.lanes, &lane{from: from, to: to, random: random})
			}
		}
	}
}

// wait returns when the switch stands still, after the stations were closed.
func (w *wire) wait() {
	w.readers.Wait()
	w.late.close()
}

// read hands on what a station sends, until it is closed.
func (w *wire) read(from *station) {
	buf := make([]byte, maxFrame)
	for {
		n, err := from.tap.Read(buf)
		if err != nil {
			return
		}
		if p, ok := parse(buf[:n]); ok {
			w.forward(from, &p)
		}
	}
}

func (w *wire) forward(from *station, p *packet) {
	now := time.Now()
	p.plane = w.flows.plane(p, now)
	to := w.byMAC[[6]byte(p.frame[:6])]
	all := p.frame[0]&1 != 0
	for _, l := range from.lanes {
		if all || l.to == to {
			w.pass(l, p, now)
		}
	}
}

// pass takes a packet along a lane, through its rules.
func (w *wire) pass(l *lane, p *packet, now time.Time) {
	t := transit{copies: 1}
	if rules := l.rules.Load(); rules != nil {
		for _, m := range *rules {
			if !m.matches(p) {
				continue
			}
			if m.apply(l, p, now, &t); t.copies == 0 {
				break
			}
			m.passed.add(p)
		}
	}
	if t.reset {
		w.flows.end(p)
		toSender, toReceiver := p.reset()
		l.from.send(toSender)
		l.to.send(toReceiver)
	}
	for range t.copies {
		if t.delay <= 0 {
			l.to.send(p.frame)
		} else if !w.late.add(now.Add(t.delay), l.to, p.frame) {
			t.delayedBy.dropped.add(p)
		}
	}
}

// send gives a station a frame. One that its kernel does not take is lost, as on any network.
func (s *station) send(frame []byte) { _, _ = s.tap.Write(frame) }

// install puts a rule on the lanes between the pairs, and returns how many they are.
func (w *wire) install(r *rule, pairs func(from, to string) bool) int {
	return w.change(pairs, func(rules []*meter) []*meter { return append(slices.Clip(rules), &meter{rule: r}) })
}

// resetSilent ends the connections between pairs that a rule matches without waiting for what they send.
func (w *wire) resetSilent(r *rule, pairs func(from, to string) bool) {
	matches := func(c *flow) bool {
		a, b := w.byMAC[c.sides[0].mac], w.byMAC[c.sides[1].mac]
		return r.hits(c.plane) && a != nil && b != nil && (pairs(a.name, b.name) || pairs(b.name, a.name))
	}
	for _, c := range w.flows.silent(matches) {
		w.byMAC[c.a].send(c.toA)
		w.byMAC[c.b].send(c.toB)
		r.reset.frames.Add(1)
		r.reset.bytes.Add(int64(len(c.toA)))
	}
}

// remove takes a rule off every lane.
func (w *wire) remove(r *rule) {
	every := func(string, string) bool { return true }
	w.change(every, func(rules []*meter) []*meter {
		return slices.DeleteFunc(slices.Clone(rules), func(m *meter) bool { return m.rule == r })
	})
}

// change replaces the rules of lanes; those that a reader looks at meanwhile stay as they are.
func (w *wire) change(pairs func(from, to string) bool, edit func([]*meter) []*meter) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := 0
	for _, from := range w.stations {
		for _, l := range from.lanes {
			if !pairs(from.name, l.to.name) {
				continue
			}
			changed++
			var old []*meter
			if rules := l.rules.Load(); rules != nil {
				old = *rules
			}
			if rules := edit(old); len(rules) > 0 {
				l.rules.Store(&rules)
			} else {
				l.rules.Store(nil)
			}
		}
	}
	return changed
}
