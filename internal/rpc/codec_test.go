package rpc

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// pieces cuts b as a connection might.
func pieces(b []byte, size int) mem.BufferSlice {
	var out mem.BufferSlice
	for len(b) > 0 {
		n := min(size, len(b))
		out = append(out, mem.SliceBuffer(b[:n]))
		b = b[n:]
	}
	return out
}

func TestFramesAreProtobufOnTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frame := &clusterpb.FetchFrame{
			Head: &clusterpb.FetchHead{
				MapPart: rapid.Int64().Draw(t, "part"), Size: rapid.Uint64().Draw(t, "size"), Offset: rapid.Uint64().Draw(t, "offset"),
			},
			Data: rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "data"),
		}
		ours, err := newFraming().Marshal(frame)
		if err != nil {
			t.Fatal(err)
		}
		plain := &clusterpb.FetchFrame{}
		if err := proto.Unmarshal(ours.Materialize(), plain); err != nil || !proto.Equal(plain, frame) && len(frame.Data) > 0 {
			t.Fatalf("protobuf reads %v of %v: %v", plain, frame, err)
		}
		theirs, err := proto.Marshal(frame)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{ours.Materialize(), theirs} {
			back := &clusterpb.FetchFrame{}
			if err := newFraming().Unmarshal(pieces(b, rapid.IntRange(1, 700).Draw(t, "piece")), back); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(back.Head, frame.Head) || !bytes.Equal(back.Data, frame.Data) {
				t.Fatalf("got %v, sent %v", back, frame)
			}
		}
	})
}

func TestDamagedFramesAreErrors(t *testing.T) {
	good, err := newFraming().Marshal(&clusterpb.BlockFrame{Head: &clusterpb.BlockHead{Records: 7}, Data: []byte("data")})
	if err != nil {
		t.Fatal(err)
	}
	b := good.Materialize()
	for cut := 1; cut < len(b); cut++ {
		err := newFraming().Unmarshal(pieces(b[:cut], 3), &clusterpb.BlockFrame{})
		plain := proto.Unmarshal(b[:cut], &clusterpb.BlockFrame{})
		if (err == nil) != (plain == nil) {
			t.Errorf("cut at %d: %v, protobuf says %v", cut, err, plain)
		}
	}
	huge := []byte{0x12, 0xff, 0xff, 0xff, 0xff, 0x0f} // data of 4 GiB
	if err := newFraming().Unmarshal(pieces(huge, 16), &clusterpb.BlockFrame{}); err == nil {
		t.Error("a length beyond the message is taken")
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x0a, 0x02, 0x08, 0x01, 0x12, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := &clusterpb.FetchFrame{}, &clusterpb.FetchFrame{}
		err := newFraming().Unmarshal(pieces(b, 5), ours)
		plain := proto.Unmarshal(b, theirs)
		if (err == nil) != (plain == nil) {
			t.Fatalf("%v, protobuf says %v", err, plain)
		}
		if err == nil && (!proto.Equal(ours.GetHead(), theirs.GetHead()) || !bytes.Equal(ours.GetData(), theirs.GetData())) {
			t.Fatalf("got %v, protobuf reads %v", ours, theirs)
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	frame := &clusterpb.FetchFrame{Head: &clusterpb.FetchHead{Size: frameMax}, Data: make([]byte, frameMax)}
	b.SetBytes(frameMax)
	for b.Loop() {
		out, err := newFraming().Marshal(frame)
		if err != nil {
			b.Fatal(err)
		}
		if err := newFraming().Unmarshal(out, &clusterpb.FetchFrame{}); err != nil {
			b.Fatal(err)
		}
	}
}
