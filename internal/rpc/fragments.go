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

// sendUp sends m, in fragments if it is long.
func sendUp(m *clusterpb.Up, send func(*clusterpb.Up) error) error {
	return sendCut(m, send, func(f *clusterpb.Fragment) *clusterpb.Up {
		return &clusterpb.Up{Body: &clusterpb.Up_Fragment{Fragment: f}}
	})
}

// sendDown sends m, in fragments if it is long.
func sendDown(m *clusterpb.Down, send func(*clusterpb.Down) error) error {
	return sendCut(m, send, func(f *clusterpb.Fragment) *clusterpb.Down {
		return &clusterpb.Down{Body: &clusterpb.Down_Fragment{Fragment: f}}
	})
}

func sendCut[M proto.Message](m M, send func(M) error, wrap func(*clusterpb.Fragment) M) error {
	if proto.Size(m) <= fragmentMax {
		return send(m)
	}
	encoded, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a message of a control stream: %w", err)
	}
	for f := range fragments(encoded) {
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
