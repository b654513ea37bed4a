package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

const (
	pushBytes   = 256 << 10 // records are grouped into pushes up to this size
	pushRecords = 8 << 10
	recordMax   = 2 << 20 // what a node takes in one push
	windowBytes = 16 << 20
)

// IngestOptions say who sends what where.
type IngestOptions struct {
	// Stream is the input stream; nil where the application has one ingest stream.
	Stream *int32
	// Producer names the sender. Its records are numbered from 1, and what was taken under a number is not taken
	// again: sending the same lines again under the same name sends only the missing ones. "": a random name.
	Producer string
	// Continue numbers on from the producer's last record that was taken, instead of from 1.
	Continue bool
	// WindowBytes bounds what is sent or waits to be sent and is not acknowledged. 0: 16 MiB.
	WindowBytes int
}

// chunk is one push: records at consecutive sequence numbers.
type chunk struct {
	first uint64
	data  []byte
	ends  []int // of the records in data
	sent  bool  // Invariant: nothing is added to a chunk that was sent once
}

func (c *chunk) last() uint64 { return c.first + uint64(len(c.ends)) - 1 }

// message gives the push of the records from sequence number from on.
func (c *chunk) message(from uint64) *raftstreamv1.IngestRequest {
	from = max(from, c.first)
	p := &raftstreamv1.IngestPush{First: from, Records: make([][]byte, 0, c.last()-from+1)}
	for i := int(from - c.first); i < len(c.ends); i++ {
		start := 0
		if i > 0 {
			start = c.ends[i-1]
		}
		p.Records = append(p.Records, c.data[start:c.ends[i]])
	}
	return &raftstreamv1.IngestRequest{Body: &raftstreamv1.IngestRequest_Push{Push: p}}
}

// An Ingester sends lines to an ingest stream. It keeps what is not acknowledged and sends it again after the receiver
// moved or a leader died; nothing is lost or taken twice as long as the process lives. Its methods may be called
// concurrently; the order of concurrent Sends is not defined.
type Ingester struct {
	client   *Client
	app      string
	opts     IngestOptions
	producer string
	cancel   context.CancelFunc
	done     chan struct{} // closed when nothing runs any more
	wake     chan struct{} // there may be something to send

	mu      sync.Mutex
	next    uint64   // sequence number of the next record, 0 until the first opening with Continue
	acked   uint64   // every record up to here is committed
	index   uint64   // Raft index of that
	chunks  []*chunk // not acknowledged, in order
	bytes   int      // of chunks
	sent    int      // chunks that were sent on the current stream
	err     error    // why it ended
	changed chan struct{}
}

// Ingest opens an ingester for the application; it returns when a receiver has answered. The ingester lives until it is
// closed or ctx ends.
func (c *Client) Ingest(ctx context.Context, app string, opts IngestOptions) (*Ingester, error) {
	if opts.WindowBytes == 0 {
		opts.WindowBytes = windowBytes
	}
	if opts.WindowBytes < 0 {
		return nil, &Error{Kind: ErrInvalid, Thing: "window", Text: fmt.Sprintf("window of %d bytes, expected more than 0", opts.WindowBytes)}
	}
	i := &Ingester{
		client: c, app: app, opts: opts, producer: opts.Producer,
		done: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	if i.producer == "" {
		i.producer = randomID()
	}
	if !opts.Continue {
		i.next = 1
	}
	ctx, i.cancel = context.WithCancel(ctx)
	stop := context.AfterFunc(c.life, i.cancel)
	f := &feed{ingester: i, tour: tour{client: c, round: c.round}}
	if err := f.open(ctx); err != nil {
		stop()
		i.cancel()
		return nil, err
	}
	if !c.start(func() { f.run(ctx); stop() }) {
		f.close()
		i.cancel()
		return nil, ErrClosed
	}
	return i, nil
}

// start runs f on a goroutine that Close waits for; false after Close.
func (c *Client) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		return false
	}
	c.work.Go(f)
	return true
}

// Producer is the name under which the records are sent.
func (i *Ingester) Producer() string { return i.producer }

// Acked is the sequence number up to which every record of the producer is committed: in the application's ledger, and
// replicated. It may be beyond what was sent here, if an earlier run sent more.
func (i *Ingester) Acked() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.acked
}

// Index is the Raft index of the newest acknowledgement.
func (i *Ingester) Index() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.index
}

// Send queues lines, without their ends, and waits while the window is full. Lines whose numbers were taken before are
// left out. After an error it is not known which of the lines are queued.
func (i *Ingester) Send(ctx context.Context, lines ...string) error {
	for _, l := range lines {
		if err := i.add(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (i *Ingester) add(ctx context.Context, line string) error {
	if n := strings.IndexByte(line, '\n'); n >= 0 || len(line) > recordMax {
		return i.bad(line, n)
	}
	i.mu.Lock()
	for i.err == nil && i.bytes > 0 && i.bytes+len(line) > i.opts.WindowBytes {
		if err := i.wait(ctx); err != nil {
			i.mu.Unlock()
			return err
		}
	}
	defer i.mu.Unlock()
	if i.err != nil {
		return i.err
	}
	i.next++
	if seq := i.next - 1; seq > i.acked {
		i.put(seq, line)
	}
	return nil
}

func (i *Ingester) bad(line string, newline int) error {
	got, expected := fmt.Sprintf("%d bytes", len(line)), fmt.Sprintf("%d bytes at most", recordMax)
	if newline >= 0 {
		got, expected = fmt.Sprintf("a line end at byte %d", newline), "lines without their ends"
	}
	return &Error{Kind: ErrInvalid, Thing: "line", Got: got, Expected: expected, Text: "line has " + got + ", expected " + expected}
}

// put adds a record to the last chunk, or to a new one. The caller holds mu.
func (i *Ingester) put(seq uint64, line string) {
	var c *chunk
	if n := len(i.chunks); n > 0 {
		c = i.chunks[n-1]
	}
	if c == nil || c.sent || len(c.data)+len(line) > pushBytes || len(c.ends) == pushRecords {
		c = &chunk{first: seq}
		i.chunks = append(i.chunks, c)
	}
	c.data = append(c.data, line...)
	c.ends = append(c.ends, len(c.data))
	i.bytes += len(line)
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// wait waits for a change. The caller holds mu, which is given up meanwhile.
func (i *Ingester) wait(ctx context.Context) error {
	ch := i.changed
	i.mu.Unlock()
	defer i.mu.Lock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell wakes those who wait for a change. The caller holds mu.
func (i *Ingester) tell() {
	close(i.changed)
	i.changed = make(chan struct{})
}

// Flush waits until every line sent so far is acknowledged.
func (i *Ingester) Flush(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for upTo := i.next - 1; i.acked < upTo; {
		if i.err != nil {
			return i.err
		}
		if err := i.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close waits until every line is acknowledged or ctx ends, then ends the ingester. A nil error says that all lines are
// committed.
func (i *Ingester) Close(ctx context.Context) error {
	err := i.Flush(ctx)
	i.end(ErrClosed)
	i.cancel()
	<-i.done
	return err
}

// end notes why the ingester ended; the first cause stands.
func (i *Ingester) end(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil {
		i.err = err
		i.tell()
	}
}

var errFellBack = errors.New("acknowledged records are not known any more")

// opened takes the position that a receiver answered an opening with: what is beyond it must be sent on this stream.
func (i *Ingester) opened(position, index uint64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if position < i.acked {
		return &Error{
			Kind: ErrRefused, Thing: "producer", Got: fmt.Sprint(position), Expected: fmt.Sprint(i.acked), Cause: errFellBack,
			Text: fmt.Sprintf("producer %q: the cluster knows its records up to %d, %d were acknowledged before", i.producer, position, i.acked),
		}
	}
	if i.next == 0 {
		i.next = position + 1
	}
	i.take(position, index)
	i.sent = 0
	return nil
}

// ack takes an acknowledgement.
func (i *Ingester) ack(position, index uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.take(position, index)
}

func (i *Ingester) take(position, index uint64) {
	if position <= i.acked {
		return
	}
	i.acked, i.index = position, index
	n := 0
	for n < len(i.chunks) && i.chunks[n].last() <= position {
		i.bytes -= len(i.chunks[n].data)
		n++
	}
	i.chunks = append(i.chunks[:0:0], i.chunks[n:]...)
	i.sent = max(0, i.sent-n)
	i.tell()
}

// progress gives the newest acknowledgement, and whether something that was sent waits for one.
func (i *Ingester) progress() (acked uint64, waits bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.acked, i.sent > 0
}

// unsent gives the next push to send on the current stream, nil for none.
func (i *Ingester) unsent() *raftstreamv1.IngestRequest {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.sent == len(i.chunks) {
		return nil
	}
	c := i.chunks[i.sent]
	c.sent = true
	i.sent++
	return c.message(i.acked + 1)
}

// retryAfter bounds how soon an ingester comes again that was accepted and then dropped.
const retryAfter = 20 * time.Millisecond
