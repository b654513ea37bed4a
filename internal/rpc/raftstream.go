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

// The greeting of a Raft connection: magic byte, version, length of the cluster id, cluster id. The dialer sends it;
// with TLS it follows the handshake.
const (
	raftMagic      = 0xA7
	raftVersion    = 1
	clusterLengths = 64 // at most
)

// ErrOtherCluster says that the other side belongs to another cluster.
var ErrOtherCluster = fmt.Errorf("node of another cluster: %w", job.ErrRefused)

// RaftStream is Raft's end of the port: it has the shape of a stream layer.
type RaftStream struct {
	*lane
	port *Port
}

// Dial opens a Raft connection to the node at addr.
func (s *RaftStream) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var c net.Conn
	var err error
	if cfg := s.port.security.client(protoRaft); cfg != nil {
		c, err = (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
	} else {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("dial raft at %s: %w", addr, err)
	}
	if err := s.introduce(c, timeout); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("greet raft at %s: %w", addr, err)
	}
	return c, nil
}

func (s *RaftStream) introduce(c net.Conn, timeout time.Duration) error {
	id := s.port.clusterID()
	if len(id) > clusterLengths {
		return fmt.Errorf("cluster id %q has %d bytes, expected at most %d", id, len(id), clusterLengths)
	}
	if err := c.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := c.Write(append([]byte{raftMagic, raftVersion, byte(len(id))}, id...)); err != nil {
		return err
	}
	return c.SetWriteDeadline(time.Time{})
}

// greet reads a dialer's greeting after the magic byte.
func (s *RaftStream) greet(c net.Conn) error {
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return fmt.Errorf("read raft greeting: %w", err)
	}
	if head[0] != raftVersion {
		return fmt.Errorf("raft greeting of version %d, expected %d", head[0], raftVersion)
	}
	if head[1] > clusterLengths {
		return fmt.Errorf("raft greeting: cluster id of %d bytes, expected at most %d", head[1], clusterLengths)
	}
	theirs := make([]byte, head[1])
	if _, err := io.ReadFull(c, theirs); err != nil {
		return fmt.Errorf("read raft greeting: %w", err)
	}
	if ours := s.port.clusterID(); ours != "" && len(theirs) > 0 && string(theirs) != ours {
		return fmt.Errorf("%w: it is of cluster %q, this one of %q", ErrOtherCluster, theirs, ours)
	}
	return nil
}
