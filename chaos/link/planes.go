package link

import "github.com/raftstream/raftstream/chaos/schedule"

// Planes says how kinds of traffic are told apart.
type Planes struct {
	// Ports have one plane each, over TCP and UDP.
	Ports map[uint16]schedule.Plane
	// First tells the plane of a TCP connection to any other port by the first byte that the dialing side sends: before it
	// the connection is of no plane, and only faults of all planes meet it.
	First map[byte]schedule.Plane
	// Other is the plane of TCP connections that start with any other byte.
	Other schedule.Plane
}

// Bytes that connections between nodes start with, when there is no TLS: the wire format of the port that planes share.
const (
	raftByte  = 0xA7
	watchByte = 0xA8
)

const gossipPort = 7946

// StandardPlanes are those of nodes on their default ports, without TLS. HTTP counts as RPC.
func StandardPlanes() Planes { return PlanesOf(gossipPort) }

// PlanesOf are those of nodes whose gossip uses the given ports, without TLS.
func PlanesOf(gossip ...uint16) Planes {
	p := Planes{
		Ports: map[uint16]schedule.Plane{},
		First: map[byte]schedule.Plane{raftByte: schedule.Raft, watchByte: schedule.Watch},
		Other: schedule.RPC,
	}
	for _, port := range gossip {
		p.Ports[port] = schedule.Gossip
	}
	return p
}

func (p Planes) empty() bool { return len(p.Ports) == 0 && len(p.First) == 0 && p.Other == "" }

func (p Planes) byFirst(b byte) schedule.Plane {
	if plane, ok := p.First[b]; ok {
		return plane
	}
	return p.Other
}
