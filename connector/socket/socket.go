// Package socket owns the source that reads lines from a TCP server: it connects, stores what comes, and connects again
// when the connection ends. It must not know the engine.
//
// The source is unreliable: a TCP peer cannot be told what was stored, nor asked to send it again. What the connection
// has handed over and no block holds yet is lost with the executor that runs the receiver: at most what came within one
// block interval and what waits in buffers. What is in a committed block is never lost, and the death of another node,
// of the leader too, loses nothing: the receiver goes on receiving.
package socket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
)

const (
	// MaxLine bounds a line in bytes, with its end. A longer one ends the connection.
	MaxLine = 1 << 20

	bufferBytes = 256 << 10
	// storeLines and storeBytes bound what is stored at once.
	storeLines = 1024
	storeBytes = 1 << 20
	// connectTimeout bounds one attempt to connect.
	connectTimeout = 10 * time.Second
)

// ErrEnded says that the server ended the connection: there may be more when it is connected to again.
var ErrEnded = errors.New("the socket had no more data")

// Option changes a default of the stream: dstream.PreferredNode, dstream.MaxRate.
type Option = dstream.Option

// TextStream is the stream of the lines that the server at addr, HOST:PORT, sends (Spark: socketTextStream). One
// executor connects, and connects again after a while whenever the connection ends. A line ends in "\n" or "\r\n".
func TextStream(c *dstream.Context, addr string, opts ...Option) *dstream.DStream[string] {
	r, err := NewReceiver(addr)
	opts = append([]Option{dstream.Source("socket"), dstream.Check(err)}, slices.Clone(opts)...)
	return dstream.ReceiverStream(c, r, opts...)
}

// Receiver reads lines from one connection.
type Receiver struct{ addr string }

var _ connector.Receiver[string] = (*Receiver)(nil)

// NewReceiver makes the receiver of the lines of addr, HOST:PORT.
func NewReceiver(addr string) (*Receiver, error) {
	r := &Receiver{addr: addr}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return r, fmt.Errorf("address %q, expected HOST:PORT: %w", addr, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); host == "" || err != nil || n == 0 {
		return r, fmt.Errorf("address %q, expected HOST:PORT with a port from 1 to 65535", addr)
	}
	return r, nil
}

// Run connects and stores lines until ctx ends or the connection does, which is an error: the executor starts Run again
// after a while.
func (r *Receiver) Run(ctx context.Context, in connector.Inlet[string]) error {
	d := net.Dialer{Timeout: connectTimeout}
	conn, err := d.DialContext(ctx, "tcp", r.addr)
	if ctx.Err() != nil {
		if err == nil {
			_ = conn.Close() // nothing was read of it
		}
		return nil
	} else if err != nil {
		return fmt.Errorf("connect to %s: %w", r.addr, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the read; what it reports is that
	defer func() {
		stop()
		_ = conn.Close() // closed twice after the end of ctx
	}()
	l := lines{in: in, r: bufio.NewReaderSize(conn, bufferBytes)}
	err = l.pass(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("receive from %s: %w", r.addr, err)
}

// lines hands lines on from a connection to an inlet. One goroutine uses it.
type lines struct {
	in    connector.Inlet[string]
	r     *bufio.Reader
	held  []string
	bytes int
}

// pass stores lines as they come, many at once where many are there, and none later than the next one is waited for. It
// ends with an error always; what came before it is stored.
func (l *lines) pass(ctx context.Context) error {
	for {
		line, err := l.next()
		if err == nil || errors.Is(err, io.EOF) && len(line) > 0 {
			l.held = append(l.held, string(bytes.TrimSuffix(line, []byte("\r"))))
			l.bytes += len(line)
		}
		if err != nil || len(l.held) >= storeLines || l.bytes >= storeBytes || !l.another() {
			if stored := l.store(ctx); stored != nil {
				return stored
			}
		}
		if errors.Is(err, io.EOF) {
			return ErrEnded
		} else if err != nil {
			return err
		}
	}
}

// next reads one line, without "\n", valid until the next call. io.EOF comes with what follows the last line end.
func (l *lines) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = l.long(line)
	}
	if err == nil {
		line = line[:len(line)-1]
	}
	return line, err
}

// long goes on with a line that is longer than the buffer.
func (l *lines) long(begin []byte) ([]byte, error) {
	line := slices.Clone(begin)
	for {
		more, err := l.r.ReadSlice('\n')
		line = append(line, more...)
		if len(line) > MaxLine {
			return nil, fmt.Errorf("a line is longer than %d bytes", MaxLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// another tells whether a whole line is buffered.
func (l *lines) another() bool {
	buffered, err := l.r.Peek(l.r.Buffered())
	return err == nil && bytes.IndexByte(buffered, '\n') >= 0
}

// store hands on what is held.
func (l *lines) store(ctx context.Context) error {
	if len(l.held) == 0 {
		return nil
	}
	err := l.in.Store(ctx, l.held...)
	clear(l.held)
	l.held, l.bytes = l.held[:0], 0
	return err
}
