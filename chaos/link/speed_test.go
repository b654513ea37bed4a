package link_test

import (
	"io"
	"net"
	"testing"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// BenchmarkStream is what one TCP connection carries.
func BenchmarkStream(b *testing.B) {
	n := open(b, 2)
	stream(b, connected(b, n, "n1", listen(b, n, "n2", 7077, swallow), "x"))
}

// BenchmarkStreamLate is what one carries where every frame is 1 ms late.
func BenchmarkStreamLate(b *testing.B) {
	n := open(b, 2)
	c := connected(b, n, "n1", listen(b, n, "n2", 7077, swallow), "x")
	f := inject(b, n, schedule.Event{Kind: schedule.Delay, DelayMS: 1}, "n1")
	stream(b, c)
	heal(b, f)
}

// swallow answers the first byte, and the end when it has read all.
func swallow(c net.Conn) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		return
	}
	if _, err := c.Write(first); err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, c); err == nil {
		_, _ = c.Write(first)
	}
}

func stream(b *testing.B, c net.Conn) {
	chunk := make([]byte, 64<<10)
	b.SetBytes(int64(len(chunk)))
	b.ResetTimer()
	for range b.N {
		if _, err := c.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c, chunk[:1]); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRoundTrip is an echo of a few bytes; BenchmarkRoundTripLoopback is one that the switch has no part in.
func BenchmarkRoundTrip(b *testing.B) {
	n := open(b, 2)
	echoes(b, connected(b, n, "n1", listen(b, n, "n2", 7077, echo), "x"))
}

// BenchmarkRoundTripLoopback is for comparison.
func BenchmarkRoundTripLoopback(b *testing.B) {
	n := open(b, 1)
	echoes(b, connected(b, n, "n1", listen(b, n, "n1", 7077, echo), "x"))
}

func echoes(b *testing.B, c net.Conn) {
	for b.Loop() {
		if err := said(c, "ping", later); err != nil {
			b.Fatal(err)
		}
	}
}
