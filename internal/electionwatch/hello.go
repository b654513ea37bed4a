package electionwatch

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Hello is what the accepting side of a watch connection says first, and all that is ever said on it. On the wire: version 1 in a byte, the
// nonce, the generation as 8 bytes big endian, the length of the node's id in a byte, the id.
type Hello struct {
	Nonce      Nonce
	Generation uint64 // of the node's data directory: one higher at every start
	Node       string // id of the data directory, at most 255 bytes
}

// Nonce names one start of a process.
type Nonce [16]byte

const helloVersion = 1

// NewHello makes the hello of this start of the process.
func NewHello(node string, generation uint64) (Hello, error) {
	if node == "" || len(node) > 255 {
		return Hello{}, fmt.Errorf("election watch: the node's id has %d bytes, expected 1 to 255", len(node))
	}
	h := Hello{Generation: generation, Node: node}
	if _, err := rand.Read(h.Nonce[:]); err != nil {
		return Hello{}, fmt.Errorf("election watch: draw a nonce: %w", err)
	}
	return h, nil
}

func (h *Hello) encode() []byte {
	b := append([]byte{helloVersion}, h.Nonce[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Generation)
	return append(append(b, byte(len(h.Node))), h.Node...)
}

var errHello = errors.New("election watch: hello cannot be read")

// readHello reads a hello, until end at the latest.
func readHello(c net.Conn, end time.Time) (Hello, error) {
	if err := c.SetReadDeadline(end); err != nil {
		return Hello{}, err
	}
	var head [1 + len(Nonce{}) + 8 + 1]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return Hello{}, err
	}
	if head[0] != helloVersion {
		return Hello{}, fmt.Errorf("%w: version %d, expected %d", errHello, head[0], helloVersion)
	}
	node := make([]byte, head[len(head)-1])
	if _, err := io.ReadFull(c, node); err != nil {
		return Hello{}, err
	}
	h := Hello{Generation: binary.BigEndian.Uint64(head[1+len(Nonce{}):]), Node: string(node)}
	copy(h.Nonce[:], head[1:])
	return h, c.SetReadDeadline(time.Time{})
}
