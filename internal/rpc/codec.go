package rpc

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	pb "google.golang.org/protobuf/proto"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// Limits of messages, in bytes.
const (
	// messageMax bounds every message of the port but launches, with its framing.
	messageMax = 16 << 20
	// launchMax bounds a launch: it names the input blocks of a batch, of which an application has at most a million, at
	// about 40 bytes each.
	launchMax = 64 << 20
	// resultMax bounds the result of a launch: what an action may collect, and what is around it for every partition.
	resultMax = dataset.MaxCollected + 4<<20
	// blockMax bounds a block that Put or Get can carry.
	blockMax = messageMax - 64<<10
	// frameMax bounds the data of one frame of Fetch.
	frameMax = 1 << 20
	// bucketMax bounds a bucket.
	bucketMax = 1 << 30
	// headMax bounds what precedes the data in a frame.
	headMax = 4 << 10
)

// framing is protobuf, but the data of FetchFrame and BlockFrame is sent from where it lies, and copied once when it
// is received. The bytes on the wire are those of plain protobuf.
type framing struct{ encoding.CodecV2 }

func newFraming() framing { return framing{encoding.GetCodecV2(proto.Name)} }

// Fields of both frames.
const (
	fieldHead = 1
	fieldData = 2
)

// Marshal encodes v. The data of a frame must not be changed afterwards.
func (f framing) Marshal(v any) (mem.BufferSlice, error) {
	var head pb.Message
	var data []byte
	switch m := v.(type) {
	case *clusterpb.FetchFrame:
		head, data = m.GetHead(), m.GetData()
	case *clusterpb.BlockFrame:
		head, data = m.GetHead(), m.GetData()
	default:
		return f.CodecV2.Marshal(v)
	}
	h, err := pb.Marshal(head)
	if err != nil {
		return nil, err
	}
	b := protowire.AppendTag(make([]byte, 0, len(h)+24), fieldHead, protowire.BytesType)
	b = protowire.AppendBytes(b, h)
	b = protowire.AppendTag(b, fieldData, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(data)))
	return mem.BufferSlice{mem.SliceBuffer(b), mem.SliceBuffer(data)}, nil
}

// Unmarshal decodes into v.
func (f framing) Unmarshal(in mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *clusterpb.FetchFrame:
		m.Head = &clusterpb.FetchHead{}
		if data, ok := parseFrame(in, m.Head); ok {
			m.Data = data
			return nil
		}
	case *clusterpb.BlockFrame:
		m.Head = &clusterpb.BlockHead{}
		if data, ok := parseFrame(in, m.Head); ok {
			m.Data = data
			return nil
		}
	}
	if n := in.Len(); n > messageMax && !mayBeLong(v) {
		return tooLarge(fmt.Sprintf("message %T", v), n, messageMax)
	}
	return f.CodecV2.Unmarshal(in, v) // it resets v
}

// mayBeLong reports whether launchMax or resultMax is the limit of the message. gRPC has one limit for all that a server takes.
func mayBeLong(v any) bool {
	switch v.(type) {
	case *clusterpb.LaunchRequest, *clusterpb.LaunchReply:
		return true
	}
	return false
}

// parseFrame reads a frame as Marshal writes it. Anything else is left to the protobuf library: not ok.
func parseFrame(in mem.BufferSlice, head pb.Message) (data []byte, ok bool) {
	r := in.Reader()
	defer r.Close()
	h, ok := parseField(r, fieldHead, headMax)
	if !ok || pb.Unmarshal(h, head) != nil {
		return nil, false
	}
	data, ok = parseField(r, fieldData, messageMax)
	return data, ok && r.Remaining() == 0
}

func parseField(r *mem.Reader, field protowire.Number, limit int) ([]byte, bool) {
	tag, err := binary.ReadUvarint(r)
	if err != nil || tag != protowire.EncodeTag(field, protowire.BytesType) {
		return nil, false
	}
	n, err := binary.ReadUvarint(r)
	if err != nil || n > uint64(limit) || n > uint64(r.Remaining()) {
		return nil, false
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err == nil
}
