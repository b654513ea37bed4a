package ingest

import (
	"slices"

	"github.com/raftstream/raftstream/dstream"
)

// Option changes a default of the stream: dstream.PreferredNode, dstream.MaxRate.
type Option = dstream.Option

// TextStream is the stream of the lines that clients push.
func TextStream(c *dstream.Context, opts ...Option) *dstream.DStream[string] {
	return Stream(c, Line, opts...)
}

// Stream is the stream of the records that clients push, as decode reads them from their encoded form. decode must not
// keep the bytes; a record that it refuses refuses the push. The elements need a codec of their own, as all do.
func Stream[T any](c *dstream.Context, decode func(record []byte) (T, error), opts ...Option) *dstream.DStream[T] {
	opts = append([]Option{dstream.Source("ingest"), dstream.Pushed()}, slices.Clone(opts)...)
	return dstream.ReceiverStream(c, NewReceiver(decode), opts...)
}
