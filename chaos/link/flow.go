package link

import (
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// maxFlows bounds the connections that are remembered. Beyond it those that were silent for longest are forgotten, half of
// them; what a forgotten one sends is of no plane.
const maxFlows = 1 << 14

// Count is how many frames there were, and their bytes with their headers.
type Count struct {
	Frames int64 `json:"frames"`
	Bytes  int64 `json:"bytes"`
}

// flows knows the TCP connections that the switch carries, and of what plane each is.
type flows struct {
	planes Planes

	mu   sync.Mutex
	byID map[flowID]*flow
	seen map[schedule.Plane]*Count
}

// flowID names a connection: its two ends, the lower first.
type flowID struct{ low, high endpoint }

func (p *packet) id() flowID { return flowID{min(p.src, p.dst), max(p.src, p.dst)} }

// flow is a connection.
type flow struct {
	dialer endpoint
	first  uint32 // sequence number of the dialer's first byte
	plane  schedule.Plane
	last   time.Time // when its last frame was seen
	sides  [2]side   // the dialer's, the listener's
	ending bool      // a side has said that it sends no more
}

// side is one end of a connection.
type side struct {
	mac  [6]byte
	end  endpoint
	next uint32 // number that the other side waits for
	sent bool   // it has sent something
}

func newFlows(planes Planes) *flows {
	return &flows{planes: planes, byID: map[flowID]*flow{}, seen: map[schedule.Plane]*Count{}}
}

// plane says of what plane a packet is, and learns from it.
func (f *flows) plane(p *packet, now time.Time) schedule.Plane {
	f.mu.Lock()
	defer f.mu.Unlock()
	plane := f.find(p, now)
	c := f.seen[plane]
	if c == nil {
		c = &Count{}
		f.seen[plane] = c
	}
	c.Frames++
	c.Bytes += int64(len(p.frame))
	return plane
}

func (f *flows) find(p *packet, now time.Time) schedule.Plane {
	if p.proto == 0 {
		return ""
	}
	if plane, ok := f.planes.Ports[p.dst.port()]; ok {
		return plane
	}
	if plane, ok := f.planes.Ports[p.src.port()]; ok {
		return plane
	}
	if p.proto != protoTCP {
		return ""
	}
	id := p.id()
	c := f.byID[id]
	if p.has(flagSYN) && !p.has(flagACK) && (c == nil || c.dialer != p.src || c.first != p.seq+1) {
		f.makeRoom()
		c = &flow{dialer: p.src, first: p.seq + 1}
		f.byID[id] = c
	}
	if c == nil {
		return ""
	}
	c.last = now
	c.note(p)
	if c.plane == "" && p.src == c.dialer && p.seq == c.first && !p.has(flagSYN) && len(p.payload) > 0 {
		c.plane = f.planes.byFirst(p.payload[0])
	}
	return c.plane
}

// note takes down how far the sender of a packet has come.
func (c *flow) note(p *packet) {
	s := &c.sides[0]
	if p.src != c.dialer {
		s = &c.sides[1]
	}
	end := p.seq + p.length()
	if !s.sent || int32(end-s.next) > 0 {
		*s = side{[6]byte(p.frame[6:12]), p.src, end, true}
	}
	c.ending = c.ending || p.flags&(flagFIN|flagRST) != 0
}

// silent takes the open connections that match for ended, and gives the resets of each, to one side as from the other. It is
// for connections that send nothing which could be answered.
func (f *flows) silent(matches func(*flow) bool) []silentReset {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []silentReset
	for _, c := range f.byID {
		a, b := c.sides[0], c.sides[1]
		if c.ending || !a.sent || !b.sent || !matches(c) {
			continue
		}
		c.ending = true
		all = append(all, silentReset{
			a: a.mac, b: b.mac,
			toA: resetFrame(a.mac[:], b.mac[:], b.end, a.end, b.next, 0, flagRST),
			toB: resetFrame(b.mac[:], a.mac[:], a.end, b.end, a.next, 0, flagRST),
		})
	}
	return all
}

// end takes the connection of a packet for ended.
func (f *flows) end(p *packet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.byID[p.id()]; c != nil {
		c.ending = true
	}
}

// silentReset is a pair of stations and the frames that end a connection between them.
type silentReset struct {
	a, b     [6]byte
	toA, toB []byte
}

func (f *flows) makeRoom() {
	if len(f.byID) < maxFlows {
		return
	}
	var times []time.Time
	for _, c := range f.byID {
		times = append(times, c.last)
	}
	slices.SortFunc(times, time.Time.Compare)
	middle := times[len(times)/2]
	for id, c := range f.byID {
		if !c.last.After(middle) {
			delete(f.byID, id)
		}
	}
}

func (f *flows) traffic() map[schedule.Plane]Count {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[schedule.Plane]Count{}
	for plane, c := range f.seen {
		all[plane] = *c
	}
	return all
}
