package link

import (
	"encoding/binary"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// Sizes and numbers of Ethernet, IPv4 and TCP.
const (
	etherSize = 14
	ipSize    = 20 // without options
	tcpSize   = 20 // without options
	udpSize   = 8
	maxFrame  = mtu + etherSize

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	protoTCP  = 6
	protoUDP  = 17

	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagACK = 16
)

// endpoint is an IPv4 address and a port.
type endpoint uint64

func (e endpoint) port() uint16 { return uint16(e) }

// packet is what the switch reads of a frame.
type packet struct {
	frame    []byte
	proto    byte // of IPv4; 0: no ports are there to read
	src, dst endpoint
	// Of TCP.
	flags    byte
	seq, ack uint32
	payload  []byte // padding excluded

	plane schedule.Plane // as the switch knows it
}

// parse reads a frame; false: it is neither IPv4 nor ARP. What is cut short or fragmented has no ports.
func parse(frame []byte) (packet, bool) {
	p := packet{frame: frame}
	if len(frame) < etherSize {
		return p, false
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		return p, true
	case etherIPv4:
	default:
		return p, false
	}
	ip := frame[etherSize:]
	if len(ip) < ipSize {
		return p, true
	}
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])&0x1fff != 0
	if header < ipSize || total < header || total > len(ip) || fragment {
		return p, true
	}
	p.readPorts(ip, ip[header:total])
	return p, true
}

// readPorts takes over what TCP and UDP say.
func (p *packet) readPorts(ip, segment []byte) {
	switch {
	case ip[9] == protoTCP && len(segment) >= tcpSize:
		offset := int(segment[12]>>4) * 4
		if offset < tcpSize || offset > len(segment) {
			return
		}
		p.flags = segment[13]
		p.seq, p.ack = binary.BigEndian.Uint32(segment[4:]), binary.BigEndian.Uint32(segment[8:])
		p.payload = segment[offset:]
	case ip[9] == protoUDP && len(segment) >= udpSize:
	default:
		return
	}
	p.proto = ip[9]
	p.src = end(ip[12:], segment)
	p.dst = end(ip[16:], segment[2:])
}

func end(ip, port []byte) endpoint {
	return endpoint(binary.BigEndian.Uint32(ip))<<16 | endpoint(binary.BigEndian.Uint16(port))
}

func (p *packet) has(flags byte) bool { return p.flags&flags == flags }

// length is what the segment takes of the sequence numbers.
func (p *packet) length() uint32 {
	n := uint32(len(p.payload))
	if p.has(flagSYN) {
		n++
	}
	if p.has(flagFIN) {
		n++
	}
	return n
}

// reset makes the frames that end the connection of a TCP packet: one to its sender as from its receiver, one to its
// receiver as from its sender. Both sides believe them because they carry the numbers that each waits for.
func (p *packet) reset() (toSender, toReceiver []byte) {
	dstMAC, srcMAC := p.frame[:6], p.frame[6:12]
	if p.has(flagACK) {
		toSender = resetFrame(srcMAC, dstMAC, p.dst, p.src, p.ack, 0, flagRST)
	} else {
		toSender = resetFrame(srcMAC, dstMAC, p.dst, p.src, 0, p.seq+p.length(), flagRST|flagACK)
	}
	return toSender, resetFrame(dstMAC, srcMAC, p.src, p.dst, p.seq, p.ack, flagRST|p.flags&flagACK)
}

func resetFrame(dstMAC, srcMAC []byte, src, dst endpoint, seq, ack uint32, flags byte) []byte {
	const total = ipSize + tcpSize
	f := make([]byte, etherSize+total)
	copy(f, dstMAC)
	copy(f[6:], srcMAC)
	binary.BigEndian.PutUint16(f[12:], etherIPv4)
	ip, tcp := f[etherSize:etherSize+ipSize], f[etherSize+ipSize:]
	ip[0] = 4<<4 | ipSize/4
	binary.BigEndian.PutUint16(ip[2:], total)
	ip[8], ip[9] = 64, protoTCP
	binary.BigEndian.PutUint32(ip[12:], uint32(src>>16))
	binary.BigEndian.PutUint32(ip[16:], uint32(dst>>16))
	binary.BigEndian.PutUint16(ip[10:], fold(sum(0, ip)))
	binary.BigEndian.PutUint16(tcp, src.port())
	binary.BigEndian.PutUint16(tcp[2:], dst.port())
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], ack)
	tcp[12], tcp[13] = tcpSize/4<<4, flags
	pseudo := sum(protoTCP+tcpSize, ip[12:20])
	binary.BigEndian.PutUint16(tcp[16:], fold(sum(pseudo, tcp)))
	return f
}

// sum adds up the 16-bit words of b, whose length is even, as checksums of the Internet do.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
