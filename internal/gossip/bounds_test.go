package gossip

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// said keeps what is logged.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), text)
}

// heard opens a node whose log is kept.
func heard(t *testing.T) (*Gossip, *said) {
	t.Helper()
	log := &said{}
	g, err := Open(Config{
		ID: "id-a", BindAddr: "127.0.0.1", Meta: Meta{Name: "a", Roles: Driver | Executor, RPCAddr: "127.0.0.1:7077", Slots: 4, Expect: 3},
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Leave(); err != nil {
			t.Error(err)
		}
	})
	return g, log
}

// inflated is a compressed message that becomes so many bytes, with the label before it.
func inflated(t *testing.T, size int) []byte {
	t.Helper()
	var data bytes.Buffer
	w := lzw.NewWriter(&data, lzw.LSB, 8)
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b := append([]byte{kindLabel, byte(len(label))}, label...)
	b = append(b, kindCompressed, 0x82, 0xa4)
	b = append(b, "Algo\x00\xa3Buf\xdb"...)
	b = binary.BigEndian.AppendUint32(b, uint32(data.Len()))
	return append(b, data.Bytes()...)
}

func TestWhatIsCompressedIsNotInflated(t *testing.T) {
	const size = 32 << 20
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			message := inflated(t, size)
			g, log := heard(t)
			c, err := net.Dial(network, g.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := c.Write(message); err != nil {
				t.Fatal(err)
			}
			until(t, g, "a refusal in the log", func([]Member) bool { return log.has(errCompressed.Error()) })
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > size/4 {
				t.Errorf("%d bytes were allocated for a message of %d that would become %d", got, len(message), size)
			}
		})
	}
}

func TestStatesWithTooManyNodesAreRefused(t *testing.T) {
	g, log := heard(t)
	c, err := net.Dial("tcp", g.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	head := "\x83\xa5Nodes\xce\x00\x0f\xff\xff\xacUserStateLen\x00\xa4Join\xc2" // in another order: it is refused, too
	if _, err := c.Write([]byte("\xf4\x0a" + label + "\x06" + head + "\x87\x00")); err != nil {
		t.Fatal(err)
	}
	until(t, g, "a refusal in the log", func([]Member) bool { return log.has(errManyNodes.Error()) })
}

func TestStatesOfNodesAreKnownByTheirHeads(t *testing.T) {
	for head, want := range map[string]bool{
		"\x83\xa4Join\xc2\xa5Nodes\x01\xacUserStateLen\x00":                 true,
		"\x83\xa4Join\xc3\xa5Nodes\xcc\xff\xacUserStateLen\x00":             true,
		"\x83\xa4Join\xc3\xa5Nodes\xcd\xff\xff\xacUserStateLen\x00":         true,
		"\x83\xa4Join\xc3\xa5Nodes\xce\x00\x0f\xff\xff\xacUserStateLen\x00": false,
		"\x83\xa4Join\xc3\xa5Nodes\x01\xacUserStateLen\x01":                 false,
		"\x84\xa4Join\xc3\xa5Nodes\x01\xacUserStateLen\x00":                 false,
		"\x83\xa4Join\x01\xa5Nodes\x01\xacUserStateLen\x00":                 false,
		"\x83\xa4Join\xc3\xa4Join\xc3\xa5Nodes\x01":                         false,
		"": false,
	} {
		b := append([]byte(head), make([]byte, stateHead)...)[:stateHead]
		if got := fewNodes(b); got != want {
			t.Errorf("%q: %v, expected %v", head, got, want)
		}
	}
}

func TestStreamsThatSayNothingKeepNobodyOut(t *testing.T) {
	g, log := heard(t)
	for range 2 * streamsMax {
		c, err := net.Dial("tcp", g.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	b := open(t, "b", 0, g.Addr())
	until(t, b, "the other one is seen", func(m []Member) bool { return len(m) == 2 })
	until(t, g, "a refusal in the log", func([]Member) bool { return log.has(errOldest.Error()) })
}

func TestStreamsAreCutWhereTheyAreTooLong(t *testing.T) {
	log := &said{}
	b := &bounded{log: slog.New(slog.NewTextHandler(log, nil))}
	near, far := net.Pipe()
	defer near.Close()
	s := b.enter(far)
	go func() {
		for {
			if _, err := near.Write(make([]byte, 100_000)); err != nil {
				return
			}
		}
	}()
	n, err := io.Copy(io.Discard, s)
	if n != streamMax || err == nil || !log.has(errLongStream.Error()) {
		t.Errorf("%d bytes were read, %v, expected %d and an error", n, err, streamMax)
	}
	if err := s.Close(); err != nil || len(b.open) != 0 {
		t.Errorf("%v, and %d streams are open after the only one was closed", err, len(b.open))
	}
}

// made is a message, in compound ones or not, and whether a part of it is compressed.
func made(t *rapid.T, depth int) ([]byte, bool) {
	if depth == 0 || rapid.Bool().Draw(t, "plain") {
		kind := rapid.SampledFrom([]byte{0, 1, 2, 3, 4, 5, 6, 8, kindCompressed, 11, 13, 200}).Draw(t, "kind")
		return append([]byte{kind}, rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "rest")...), kind == kindCompressed
	}
	n := rapid.IntRange(0, 4).Draw(t, "parts")
	b, parts, any := []byte{kindCompound, byte(n)}, []byte{}, false
	for range n {
		part, is := made(t, depth-1)
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
		parts, any = append(parts, part...), any || is
	}
	return append(b, parts...), any
}

func TestCompressedPartsAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, want := made(t, 3)
		if rapid.Bool().Draw(t, "checked") {
			b = append([]byte{kindChecked, 1, 2, 3, 4}, b...)
		}
		if rapid.Bool().Draw(t, "labelled") {
			b = append(append([]byte{kindLabel, byte(len(label))}, label...), b...)
		}
		if got := compressed(unlabelled(b)); got != want {
			t.Fatalf("%x: compressed is %v, expected %v", b, got, want)
		}
		_ = compressed(unlabelled(b[:rapid.IntRange(0, len(b)).Draw(t, "cut")])) // must not panic
	})
}
