package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
)

// Role is what a node does, as bits.
type Role uint8

const (
	// Driver keeps the ledger: it is a member of the raft cluster, or wants to be.
	Driver Role = 1 << iota
	// Executor receives and computes.
	Executor
)

// Strings names the roles, as the API does.
func (r Role) Strings() []string {
	names := []string{}
	if r&Driver != 0 {
		names = append(names, "driver")
	}
	if r&Executor != 0 {
		names = append(names, "executor")
	}
	return names
}

// Meta is what a node says of itself. Encoded it has fewer than MaxMeta bytes.
type Meta struct {
	Name       string // for people, at most 32 bytes
	Roles      Role
	RPCAddr    string // advertised host:port, at most 100 bytes
	HTTPPort   uint16 // at the host of RPCAddr, 0 for none
	Slots      uint32
	Generation uint64 // of this start of the process
	Version    string // at most 16 bytes, cut off
	Expect     uint8  // --bootstrap-expect, 0 for none
	HasState   bool   // it has taken part in a raft cluster
	Cluster    string // cluster id, at most 8 bytes of it, cut off; "" for none yet
}

// Limits of Meta: memberlist allows 512 bytes and every probe may carry it.
const (
	// MaxMeta is more than the longest encoding.
	MaxMeta = 200

	metaVersion = 1
	maxName     = 32
	maxAddr     = 100
	maxVersion  = 16
	maxCluster  = 8
)

// HTTPAddr gives host:port of the HTTP server, "" for none.
func (m *Meta) HTTPAddr() string {
	host, _, err := net.SplitHostPort(m.RPCAddr)
	if err != nil || m.HTTPPort == 0 {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(int(m.HTTPPort)))
}

func (m *Meta) check() error {
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"name", m.Name, maxName}, {"rpc address", m.RPCAddr, maxAddr},
	} {
		if len(f.value) > f.limit {
			return fmt.Errorf("gossip: %s %q has %d bytes, at most %d are allowed", f.name, f.value, len(f.value), f.limit)
		}
	}
	if m.Name == "" {
		return errors.New("gossip: the node's name is empty")
	}
	if _, _, err := net.SplitHostPort(m.RPCAddr); err != nil {
		return fmt.Errorf("gossip: rpc address %q: %w, expected host:port", m.RPCAddr, err)
	}
	return nil
}

// encode gives a version byte, then the fields in the order of the struct: strings behind their length in one byte,
// numbers as uvarints. Fields are only ever added at the end: an older node leaves off what it does not know.
func (m *Meta) encode() []byte {
	b := []byte{metaVersion}
	b = appendString(b, m.Name)
	b = append(b, byte(m.Roles))
	b = appendString(b, m.RPCAddr)
	b = binary.BigEndian.AppendUint16(b, m.HTTPPort)
	b = binary.AppendUvarint(b, uint64(m.Slots))
	b = binary.AppendUvarint(b, m.Generation)
	b = appendString(b, m.Version[:min(len(m.Version), maxVersion)])
	b = append(b, m.Expect, flag(m.HasState))
	return appendString(b, m.Cluster[:min(len(m.Cluster), maxCluster)])
}

func appendString(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

var errMeta = errors.New("gossip: meta data cannot be read")

// decodeMeta reads what encode wrote. Meta data of a newer version begin with the same fields.
func decodeMeta(b []byte) (Meta, error) {
	r := reader{rest: slices.Clone(b)}
	if r.byte() < metaVersion {
		return Meta{}, errMeta
	}
	m := Meta{
		Name: r.string(), Roles: Role(r.byte()), RPCAddr: r.string(), HTTPPort: r.port(),
		Slots: uint32(r.number()), Generation: r.number(), Version: r.string(),
		Expect: r.byte(), HasState: r.byte() != 0, Cluster: r.string(),
	}
	if r.short {
		return Meta{}, errMeta
	}
	return m, nil
}

// reader takes fields from the front; short says that one was missing.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if r.short || n > len(r.rest) {
		r.short = true
		return make([]byte, 0)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *reader) port() uint16 {
	if b := r.bytes(2); len(b) == 2 {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) string() string { return string(r.bytes(int(r.byte()))) }

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if r.short || size <= 0 {
		r.short = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}
