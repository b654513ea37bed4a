package rpc

import (
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

const (
	// controlMax bounds a message of a control stream. What is longer is answered for instead of being sent, because it
	// would be repeated for ever: a request and its reply are refused, an order is left out, and both are logged.
	controlMax = 256 << 20
	// fragmentMax is how much of a message of a control stream is sent at a time: each fragment shows that the sender
	// lives, so that a long message on a slow line is not taken for silence (rule 3).
	fragmentMax = 1 << 20
)

var errFragment = errors.New("fragment is not of a message that may be cut")

// fragments cuts the encoding of a message.
func fragments(encoded []byte) iter.Seq[*clusterpb.Fragment] {
	return func(yield func(*clusterpb.Fragment) bool) {
		for {
			n := min(len(encoded), fragmentMax)
			f := &clusterpb.Fragment{Data: encoded[:n], Last: n == len(encoded)}
			encoded = encoded[n:]
			if !yield(f) || f.Last {
				return
			}
		}
	}
}

// outgoing is a message for the writer of a stream. A long one is encoded already: the writer's heartbeats do not wait for that.
type outgoing[M proto.Message] struct {
	message M
	encoded []byte // nil: message is short
}

// prepare makes a message ready for the writer.
func prepare[M proto.Message](m M) (outgoing[M], error) {
	if proto.Size(m) <= fragmentMax {
		return outgoing[M]{message: m}, nil
	}
	encoded, err := proto.Marshal(m)
	if err != nil {
		return outgoing[M]{}, fmt.Errorf("encode a message of a control stream: %w", err)
	}
	return outgoing[M]{encoded: encoded}, nil
}

// sendUp sends o, in fragments if it is long.
func sendUp(o outgoing[*clusterpb.Up], send func(*clusterpb.Up) error) error {
	return o.send(send, func(f *clusterpb.Fragment) *clusterpb.Up {
		return &clusterpb.Up{Body: &clusterpb.Up_Fragment{Fragment: f}}
	})
}

// sendDown sends o, in fragments if it is long.
func sendDown(o outgoing[*clusterpb.Down], send func(*clusterpb.Down) error) error {
	return o.send(send, func(f *clusterpb.Fragment) *clusterpb.Down {
		return &clusterpb.Down{Body: &clusterpb.Down_Fragment{Fragment: f}}
	})
}

func (o outgoing[M]) send(send func(M) error, wrap func(*clusterpb.Fragment) M) error {
	if o.encoded == nil {
		return send(o.message)
	}
	for f := range fragments(o.encoded) {
		if err := send(wrap(f)); err != nil {
			return err
		}
	}
	return nil
}

// assembler puts the fragments of one direction together. One goroutine uses it.
type assembler struct {
	limit int
	data  []byte
}

// add takes the next fragment and, when it is the last one, decodes the message.
func (a *assembler) add(f *clusterpb.Fragment, into proto.Message) (whole bool, err error) {
	if n := len(a.data) + len(f.GetData()); n > a.limit {
		return false, tooLarge("message of a control stream", n, a.limit)
	}
	a.data = append(a.data, f.GetData()...)
	if !f.GetLast() {
		return false, nil
	}
	encoded := a.data
	a.data = nil
	if err := proto.Unmarshal(encoded, into); err != nil {
		return false, fmt.Errorf("%w: %w", errFragment, err)
	}
	return true, nil
}
