package gossip

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// streamsMax bounds the streams of others that are open: for a further one the oldest has to go. They are short, and few
	// at a time.
	streamsMax = 16
	// streamMax bounds the bytes of a stream: what a node knows of a thousand others.
	streamMax = 1 << 20
	// bindTries is how often a free port is looked for that both UDP and TCP can have.
	bindTries = 10
)

// Kinds of memberlist's messages that are looked for.
const (
	kindState      = 6 // what a node knows of all others
	kindCompound   = 7
	kindCompressed = 9
	kindChecked    = 12 // a checksum of four bytes and the message
	kindLabel      = 244
)

var (
	errCompressed = errors.New("it is compressed, which no node does")
	errManyNodes  = errors.New("it is no state of a node, or one with too many others")
	errLongStream = fmt.Errorf("it is longer than %d bytes", streamMax)
	errOldest     = fmt.Errorf("it is the oldest of %d streams, and there is another one", streamsMax)
)

// bounded is memberlist's own transport with bounds of what strangers can make it hold. memberlist decompresses whatever
// it is sent, to any length, and makes room for as many nodes as a stream announces, so that some bytes could cost
// gigabytes. Nodes do not compress, and what is compressed is not taken. With a secret nobody but nodes is heard, and only
// the number and the length of streams are bounded.
type bounded struct {
	*memberlist.NetTransport
	secret  bool
	log     *slog.Logger
	packets chan *memberlist.Packet
	streams chan net.Conn
	stop    chan struct{} // closed: what comes is dropped
	ended   chan struct{} // closed: nothing comes
	close   func() error
	work    sync.WaitGroup

	mu   sync.Mutex
	open []*stream // the oldest first
	told time.Time // that something was refused
}

// listen opens the port, any free one for 0.
func listen(c Config, lines *log.Logger) (*bounded, error) {
	b := &bounded{
		secret: c.Secret != nil, log: c.Logger,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	b.close = sync.OnceValue(b.shut)
	var err error
	for range bindTries {
		b.NetTransport, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{c.BindAddr}, BindPort: c.BindPort, Logger: lines,
		})
		if err == nil || c.BindPort != 0 || !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	b.work.Go(b.takePackets)
	b.work.Go(b.takeStreams)
	return b, nil
}

// PacketCh gives the packets that are taken.
func (b *bounded) PacketCh() <-chan *memberlist.Packet { return b.packets }

// StreamCh gives the streams that are taken.
func (b *bounded) StreamCh() <-chan net.Conn { return b.streams }

// Shutdown stops to listen; it may be called again.
func (b *bounded) Shutdown() error { return b.close() }

func (b *bounded) shut() error {
	close(b.stop)
	err := b.NetTransport.Shutdown() // waits for those who listen, who wait for somebody to take what came
	close(b.ended)
	b.work.Wait()
	return err
}

func (b *bounded) takePackets() {
	for {
		select {
		case p := <-b.NetTransport.PacketCh():
			if !b.secret && compressed(unlabelled(p.Buf)) {
				b.refused(p.From, errCompressed)
				continue
			}
			select {
			case b.packets <- p:
			case <-b.stop:
			}
		case <-b.ended:
			return
		}
	}
}

func (b *bounded) takeStreams() {
	for {
		select {
		case c := <-b.NetTransport.StreamCh():
			s := b.enter(c)
			select {
			case b.streams <- s:
			case <-b.stop:
				_ = s.Close() // nobody reads it
			}
		case <-b.ended:
			return
		}
	}
}

func (b *bounded) enter(c net.Conn) *stream {
	s := &stream{Conn: c, of: b, in: bufio.NewReaderSize(&cut{c, b, streamMax}, 512)}
	b.mu.Lock()
	var oldest *stream
	if len(b.open) == streamsMax {
		oldest, b.open = b.open[0], b.open[1:]
	}
	b.open = append(b.open, s)
	b.mu.Unlock()
	if oldest != nil {
		b.refused(oldest.RemoteAddr(), errOldest)
		_ = oldest.Close() // its reader will see that
	}
	return s
}

// refused tells of what was refused, once a second at most.
func (b *bounded) refused(from net.Addr, why error) {
	b.mu.Lock()
	now := time.Now()
	tell := now.Sub(b.told) >= time.Second
	if tell {
		b.told = now
	}
	b.mu.Unlock()
	if tell {
		b.log.Warn("gossip port: message refused", "remote", from, "error", why)
	}
}

// stream is a stream of another node, or of a stranger.
type stream struct {
	net.Conn
	of    *bounded
	in    *bufio.Reader // what comes, up to streamMax
	begun bool          // and how it begins was looked at
}

// Read gives what came, within the bounds. One goroutine calls it.
func (s *stream) Read(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		if err := s.begins(); err != nil {
			return 0, err
		}
	}
	return s.in.Read(p)
}

// begins looks at what the stream begins with, unless it is encrypted, and leaves it to be read.
func (s *stream) begins() error {
	const kind = 2 + len(label) // where it is: streams with another label are not read further
	b, err := s.in.Peek(kind + 1)
	if s.of.secret || err != nil {
		return nil // whoever reads gets the error
	}
	switch b[kind] {
	case kindCompressed:
		err = errCompressed
	case kindState:
		if b, err = s.in.Peek(kind + 1 + stateHead); err == nil && !fewNodes(b[kind+1:]) {
			err = errManyNodes
		}
	}
	if errors.Is(err, errCompressed) || errors.Is(err, errManyNodes) {
		s.of.refused(s.RemoteAddr(), err)
	}
	return err
}

// stateHead is how long the header of a state can be, at most, as nodes write it; a state is longer.
const stateHead = len("\x83\xa4Join\xc2\xa5Nodes\xcd\x00\x00\xacUserStateLen\x00")

// fewNodes reports whether a state begins as nodes write it, with at most 65,535 nodes, for whom memberlist makes room at
// once, and nothing beside them.
func fewNodes(b []byte) bool {
	b, ok := bytes.CutPrefix(b, []byte("\x83\xa4Join"))
	if !ok || b[0] != 0xc2 && b[0] != 0xc3 { // false, true
		return false
	}
	if b, ok = bytes.CutPrefix(b[1:], []byte("\xa5Nodes")); !ok {
		return false
	}
	number := 1
	switch {
	case b[0] < 0x80: // itself
	case b[0] == 0xcc || b[0] == 0xd0: // of 8 bits
		number = 2
	case b[0] == 0xcd || b[0] == 0xd1: // of 16 bits
		number = 3
	default:
		return false
	}
	return bytes.HasPrefix(b[number:], []byte("\xacUserStateLen\x00"))
}

// cut is a connection that is read up to streamMax.
type cut struct {
	net.Conn
	of   *bounded
	left int
}

// Read gives what came.
func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		c.of.refused(c.RemoteAddr(), errLongStream)
		return 0, errLongStream
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// Close closes the stream.
func (s *stream) Close() error {
	s.of.mu.Lock()
	if i := slices.Index(s.of.open, s); i >= 0 {
		s.of.open = slices.Delete(s.of.open, i, i+1)
	}
	s.of.mu.Unlock()
	return s.Conn.Close()
}

// unlabelled gives the message of a packet: after the label and the checksum.
func unlabelled(b []byte) []byte {
	if len(b) >= 2 && b[0] == kindLabel && len(b) >= 2+int(b[1]) {
		b = b[2+int(b[1]):]
	}
	if len(b) >= 5 && b[0] == kindChecked {
		b = b[5:]
	}
	return b
}

// compressed reports whether a message, or a part of it, is compressed. A compound message has the number of its parts, the
// length of each in two bytes, and the parts.
func compressed(b []byte) bool {
	if len(b) < 2 || b[0] != kindCompound {
		return len(b) > 0 && b[0] == kindCompressed
	}
	head := 2 + 2*int(b[1])
	if len(b) < head {
		return false // memberlist reads no part of it
	}
	parts := b[head:]
	for lengths := b[2:head]; len(lengths) > 0; lengths = lengths[2:] {
		n := int(binary.BigEndian.Uint16(lengths))
		if n > len(parts) {
			return false // nor of this one
		}
		if compressed(parts[:n]) {
			return true
		}
		parts = parts[n:]
	}
	return false
}
