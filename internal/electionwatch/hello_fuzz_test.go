package electionwatch

import (
	"bytes"
	"net"
	"testing"
	"time"
)

// bytesConn is a connection whose other side has said some bytes and gone.
type bytesConn struct {
	net.Conn
	*bytes.Reader
}

func (c bytesConn) Read(b []byte) (int, error)      { return c.Reader.Read(b) }
func (c bytesConn) SetReadDeadline(time.Time) error { return nil }

func FuzzHello(f *testing.F) {
	h, err := NewHello("node", 7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(h.encode())
	f.Add([]byte{helloVersion})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := readHello(bytesConn{Reader: bytes.NewReader(data)}, time.Time{})
		if err == nil && !bytes.HasPrefix(data, h.encode()) {
			t.Errorf("%x is read as %+v, which is said as %x", data, h, h.encode())
		}
	})
}
