package rpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/raftstream/raftstream/executor/job"
)

// The greeting of a connection that is not gRPC's: magic byte, version, length of the cluster id, cluster id. The dialer
// sends it; with TLS it follows the handshake.
const (
	raftMagic      = 0xA7
	watchMagic     = 0xA8
	streamVersion  = 1
	clusterLengths = 64 // at most
)

// ErrOtherCluster says that the other side belongs to another cluster.
var ErrOtherCluster = fmt.Errorf("node of another cluster: %w", job.ErrRefused)

// rawStream is the end of the port of one protocol that is not gRPC.
type rawStream struct {
	*lane
	port  *Port
	name  string
	magic byte
	proto string // as ALPN names it
}

// RaftStream is Raft's end of the port: it has the shape of a stream layer.
type RaftStream struct{ *rawStream }

// Dial opens a Raft connection to the node at addr.
func (s *RaftStream) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.dial(ctx, addr)
}

// WatchStream is the election watch's end of the port.
type WatchStream struct{ *rawStream }

// Dial opens a watch connection to the node at addr.
func (s *WatchStream) Dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	return s.dial(ctx, addr)
}

// dial opens a connection to the node at addr. ctx must have a deadline.
func (s *rawStream) dial(ctx context.Context, addr string) (net.Conn, error) {
	var c net.Conn
	var err error
	if cfg := s.port.security.client(s.proto); cfg != nil {
		c, err = (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
	} else {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s at %s: %w", s.name, addr, err)
	}
	end, _ := ctx.Deadline()
	if err := s.introduce(c, end); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("greet %s at %s: %w", s.name, addr, err)
	}
	return c, nil
}

func (s *rawStream) introduce(c net.Conn, end time.Time) error {
	id := s.port.clusterID()
	if len(id) > clusterLengths {
		return fmt.Errorf("cluster id %q has %d bytes, expected at most %d", id, len(id), clusterLengths)
	}
	if err := c.SetWriteDeadline(end); err != nil {
		return err
	}
	if _, err := c.Write(append([]byte{s.magic, streamVersion, byte(len(id))}, id...)); err != nil {
		return err
	}
	return c.SetWriteDeadline(time.Time{})
}

// greet reads a dialer's greeting after the magic byte.
func (s *rawStream) greet(c net.Conn) error {
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return fmt.Errorf("read %s greeting: %w", s.name, err)
	}
	if head[0] != streamVersion {
		return fmt.Errorf("%s greeting of version %d, expected %d", s.name, head[0], streamVersion)
	}
	if head[1] > clusterLengths {
		return fmt.Errorf("%s greeting: cluster id of %d bytes, expected at most %d", s.name, head[1], clusterLengths)
	}
	theirs := make([]byte, head[1])
	if _, err := io.ReadFull(c, theirs); err != nil {
		return fmt.Errorf("read %s greeting: %w", s.name, err)
	}
	if ours := s.port.clusterID(); ours != "" && len(theirs) > 0 && string(theirs) != ours {
		return fmt.Errorf("%w: it is of cluster %q, this one of %q", ErrOtherCluster, theirs, ours)
	}
	return nil
}

// greetAll reads a dialer's greeting with the magic byte: TLS has told already which protocol it is, and this is no other.
func (s *rawStream) greetAll(c net.Conn) error {
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		return err
	}
	if first[0] != s.magic {
		return fmt.Errorf("%s greeting: first byte is %#x, expected %#x", s.name, first[0], s.magic)
	}
	return s.greet(c)
}
