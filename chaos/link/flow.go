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

// flow is a connection.
type flow struct {
	dialer endpoint
	first  uint32 // sequence number of the dialer's first byte
	plane  schedule.Plane
	last   time.Time // when its last frame was seen
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
	id := flowID{min(p.src, p.dst), max(p.src, p.dst)}
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
	if c.plane == "" && p.src == c.dialer && p.seq == c.first && !p.has(flagSYN) && len(p.payload) > 0 {
		c.plane = f.planes.byFirst(p.payload[0])
	}
	return c.plane
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
