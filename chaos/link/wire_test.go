package link

import (
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/chaos/schedule"
)

func TestFirstBytesAreThoseThatNodesSend(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../internal/rpc/raftstream.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]byte{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
			if b, err := strconv.ParseUint(lit.Value, 0, 8); err == nil {
				found[spec.Names[0].Name] = byte(b)
			}
		}
		return true
	})
	if found["raftMagic"] != raftByte || found["watchMagic"] != watchByte {
		t.Errorf("nodes send %#x, expected %#x for Raft and %#x for the watch", found, raftByte, watchByte)
	}
}

// segment is a packet of TCP from one port to another of the same address.
func segment(src, dst uint16, seq uint32, flags byte, payload string) *packet {
	const host = endpoint(10<<24) << 16
	f := resetFrame(make([]byte, 6), make([]byte, 6), host|endpoint(src), host|endpoint(dst), seq, 0, flags)
	binary.BigEndian.PutUint16(f[etherSize+2:], uint16(ipSize+tcpSize+len(payload)))
	p, ok := parse(append(f, payload...))
	if !ok || p.proto != protoTCP || string(p.payload) != payload {
		panic(fmt.Sprintf("a frame is read as %+v", p))
	}
	return &p
}

func TestAConnectionIsOfThePlaneThatItsDialerSays(t *testing.T) {
	for name, c := range map[string]struct {
		packets []*packet
		want    []schedule.Plane
	}{
		"handshake, then the first byte": {
			[]*packet{
				segment(5, 70, 9, flagSYN, ""), segment(70, 5, 99, flagSYN|flagACK, ""), segment(5, 70, 10, flagACK, ""),
				segment(5, 70, 10, flagACK, "\xa7"), segment(70, 5, 100, flagACK, "P"), segment(5, 70, 11, flagACK, "P"),
			},
			[]schedule.Plane{"", "", "", schedule.Raft, schedule.Raft, schedule.Raft},
		},
		"what the listener says does not count": {
			[]*packet{segment(5, 70, 9, flagSYN, ""), segment(70, 5, 10, flagACK, "\xa7"), segment(5, 70, 10, flagACK, "\xa8")},
			[]schedule.Plane{"", "", schedule.Watch},
		},
		"a later byte does not count": {
			[]*packet{segment(5, 70, 9, flagSYN, ""), segment(5, 70, 11, flagACK, "\xa7"), segment(5, 70, 10, flagACK, "P")},
			[]schedule.Plane{"", "", schedule.RPC},
		},
		"the same ports again": {
			[]*packet{
				segment(5, 70, 9, flagSYN, ""), segment(5, 70, 10, flagACK, "\xa7"), segment(5, 70, 9, flagSYN, ""),
				segment(5, 70, 77, flagSYN, ""), segment(5, 70, 78, flagACK, "P"),
			},
			[]schedule.Plane{"", schedule.Raft, schedule.Raft, "", schedule.RPC},
		},
		"a port of one plane": {
			[]*packet{segment(5, gossipPort, 9, flagSYN, ""), segment(gossipPort, 5, 9, flagACK, "\xa7")},
			[]schedule.Plane{schedule.Gossip, schedule.Gossip},
		},
		"no handshake": {[]*packet{segment(5, 70, 10, flagACK, "\xa7")}, []schedule.Plane{""}},
	} {
		f := newFlows(StandardPlanes())
		for i, p := range c.packets {
			if got := f.plane(p, time.Now()); got != c.want[i] {
				t.Errorf("%s: packet %d is of plane %q, expected %q", name, i, got, c.want[i])
			}
		}
	}
}

func TestTheConnectionsThatAreRememberedAreBounded(t *testing.T) {
	f := newFlows(StandardPlanes())
	now := time.Now()
	for i := range 3 * maxFlows {
		now = now.Add(time.Millisecond)
		f.plane(segment(uint16(i), uint16(1+i>>16), 9, flagSYN, ""), now)
		if len(f.byID) > maxFlows {
			t.Fatalf("%d connections are remembered, expected at most %d", len(f.byID), maxFlows)
		}
	}
	last := 3*maxFlows - 1
	p := segment(uint16(last), uint16(1+last>>16), 10, flagACK, "P")
	if got := f.plane(p, now); got != schedule.RPC {
		t.Errorf("the newest connection is of plane %q, expected %q", got, schedule.RPC)
	}
}

func TestNoFrameBreaksTheSwitch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frame := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "frame")
		if len(frame) >= etherSize+1 && rapid.Bool().Draw(t, "IPv4") {
			binary.BigEndian.PutUint16(frame[12:], etherIPv4)
			frame[etherSize] = rapid.Byte().Draw(t, "length of header")
		}
		p, ok := parse(frame)
		if !ok {
			return
		}
		newFlows(StandardPlanes()).plane(&p, time.Now())
		if p.proto == protoTCP {
			for _, f := range [][]byte{first(p.reset()), second(p.reset())} {
				r, ok := parse(f)
				if !ok || r.proto != protoTCP || !r.has(flagRST) || len(r.payload) != 0 {
					t.Fatalf("a reset is read as %+v", r)
				}
			}
		}
	})
}

func first(a, _ []byte) []byte { return a }

func second(_, b []byte) []byte { return b }

func TestFramesComeAtTheirTimesInOrder(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	synctest.Test(t, func(t *testing.T) {
		to := &station{tap: w}
		line := newTimeline()
		now := time.Now()
		for _, f := range []struct {
			after time.Duration
			frame string
		}{{3 * time.Second, "d"}, {time.Second, "a"}, {2 * time.Second, "b"}, {2 * time.Second, "c"}, {time.Hour, "never"}} {
			if !line.add(now.Add(f.after), to, []byte(f.frame)) {
				t.Fatal("a frame was refused")
			}
		}
		for _, want := range []int{1, 3, 4} {
			time.Sleep(time.Second) // the bubble's
			synctest.Wait()
			line.mu.Lock()
			left := len(line.frames)
			line.mu.Unlock()
			if left != 5-want {
				t.Errorf("after %v %d frames wait, expected %d", time.Since(now), left, 5-want)
			}
		}
		line.close()
		if line.add(now, to, []byte("late")) {
			t.Error("a closed timeline took a frame")
		}
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "abcd" {
		t.Errorf("sent %q, expected abcd; error %v", got, err)
	}
}

func TestFramesThatAreLateAreBounded(t *testing.T) {
	line := newTimeline()
	defer line.close()
	frame, taken := make([]byte, 1<<20), 0
	for line.add(time.Now().Add(time.Hour), nil, frame) {
		taken += len(frame)
	}
	if taken != maxLate {
		t.Errorf("%d bytes wait, expected %d", taken, maxLate)
	}
}

func TestTheSameSeedDropsTheSameFrames(t *testing.T) {
	drops := func(seed uint64) string {
		stations := []*station{{name: "n1", mac: [6]byte{1}}, {name: "n2", mac: [6]byte{2}}}
		connect(seed, stations)
		r, err := newRule(schedule.Event{Kind: schedule.Loss, Percent: 50})
		if err != nil {
			t.Fatal(err)
		}
		m, fate := meter{rule: r}, ""
		for range 64 {
			tr := transit{copies: 1}
			m.apply(stations[0].lanes[0], &packet{}, time.Time{}, &tr)
			fate += strconv.Itoa(tr.copies)
		}
		return fate
	}
	if a, b := drops(1), drops(1); a != b {
		t.Errorf("seed 1 gives %s, then %s", a, b)
	}
	if a, b := drops(1), drops(2); a == b {
		t.Errorf("seeds 1 and 2 give %s", a)
	}
}
