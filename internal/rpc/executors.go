package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// connectionsMax bounds the pooled connections; the one idle for longest goes when there would be more.
const connectionsMax = 128

// ExecutorsConfig says how executors are reached.
type ExecutorsConfig struct {
	// Self is this node's own rpc address: calls to it do not leave the process once Attach was called.
	Self     string
	Security Security
}

// Executors reaches executors by their addresses. It is a job.Executors; its methods may be called concurrently.
type Executors struct {
	cfg  ExecutorsConfig
	dial dialFunc

	mu    sync.Mutex
	local job.Server
	conns map[string]*pooled
	// dropped are no longer in conns: the last call that runs on one closes it.
	dropped map[*pooled]bool
	uses    uint64
	closed  bool
}

type pooled struct {
	conn  *grpc.ClientConn
	calls int    // running now
	last  uint64 // use, by Executors.uses
}

// NewExecutors makes an empty pool.
func NewExecutors(cfg ExecutorsConfig) *Executors {
	return &Executors{cfg: cfg, dial: dialTCP, conns: map[string]*pooled{}, dropped: map[*pooled]bool{}}
}

// Attach names the executor of this process.
func (e *Executors) Attach(s job.Server) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.local = s
}

// Close breaks off all calls.
func (e *Executors) Close() error {
	e.mu.Lock()
	conns := slices.AppendSeq(slices.Collect(maps.Keys(e.dropped)), maps.Values(e.conns))
	e.conns, e.closed = nil, true
	clear(e.dropped)
	e.mu.Unlock()
	var errs []error
	for _, p := range conns {
		errs = append(errs, p.conn.Close())
	}
	return errors.Join(errs...)
}

func (e *Executors) own(to job.Peer) (job.Server, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.local, e.local != nil && to.Addr == e.cfg.Self
}

var errPoolClosed = errors.New("connections to executors are closed")

// take gives the connection to addr, to be given back.
func (e *Executors) take(addr string) (*pooled, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errPoolClosed
	}
	p := e.conns[addr]
	if p == nil {
		conn, err := connect(addr, e.cfg.Security, e.dial)
		if err != nil {
			return nil, err
		}
		p = &pooled{conn: conn}
		e.conns[addr] = p
	}
	e.uses++
	p.calls, p.last = p.calls+1, e.uses
	return p, nil
}

func (e *Executors) give(p *pooled) {
	e.mu.Lock()
	p.calls--
	var drop *grpc.ClientConn
	if e.dropped[p] && p.calls == 0 {
		drop = p.conn
		delete(e.dropped, p)
	}
	var oldest string
	for addr, c := range e.conns {
		if c.calls == 0 && (oldest == "" || c.last < e.conns[oldest].last) {
			oldest = addr
		}
	}
	if drop == nil && len(e.conns) > connectionsMax && oldest != "" {
		drop = e.conns[oldest].conn
		delete(e.conns, oldest)
	}
	e.mu.Unlock()
	if drop != nil {
		_ = drop.Close() // nobody uses it
	}
}

// discard drops a connection that cannot be made, so that the next call dials anew: the caller decides when to come
// again, not gRPC's back-off. By now gRPC may be dialling again; what that dial came to would answer a later call. Calls
// that are still on it end by themselves, the last one closes it.
func (e *Executors) discard(addr string, p *pooled) {
	if p.conn.GetState() == connectivity.Ready {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns[addr] == p {
		delete(e.conns, addr)
		e.dropped[p] = true
	}
}

// call runs f with a client of the peer and makes its error one of the engine.
func (e *Executors) call(ctx context.Context, to job.Peer, what string, f func(context.Context, clusterpb.ClusterClient) error) error {
	p, err := e.take(to.Addr)
	if err != nil {
		return fmt.Errorf("%s on %s: %w", what, to.Name, err)
	}
	defer e.give(p)
	err = f(meant(ctx, to.Store), clusterpb.NewClusterClient(p.conn))
	if err == nil {
		return nil
	}
	if code(err) == codes.Unavailable {
		e.discard(to.Addr, p)
		if ctx.Err() == nil && gone(ctx, to.Addr, e.dial) {
			err = fmt.Errorf("%w: %v", job.ErrPeerDead, err)
		}
	}
	if task := (*job.TaskError)(nil); errors.As(faultOf(err), &task) {
		return task
	}
	return fmt.Errorf("%s on %s at %s: %w", what, to.Name, to.Addr, faultOf(err))
}

// Launch runs tasks on the peer and returns when all of them have ended.
func (e *Executors) Launch(ctx context.Context, to job.Peer, l *job.Launch) (*job.LaunchResult, error) {
	if own, ok := e.own(to); ok {
		return own.Launch(ctx, l)
	}
	m := launchToPB(l)
	if n := proto.Size(m); n > launchMax {
		return failed(l.Parts, tooLarge("launch", n, launchMax)), nil
	}
	var res *job.LaunchResult
	err := e.call(ctx, to, "launch", func(ctx context.Context, c clusterpb.ClusterClient) error {
		r, err := c.Launch(ctx, m, grpc.MaxCallSendMsgSize(launchMax), grpc.MaxCallRecvMsgSize(resultMax))
		if err == nil {
			res = resultOf(r)
		}
		return err
	})
	return res, err
}

// failed is the result of a launch that cannot be carried: to repeat it would not help, so that it counts as a try and
// the batch fails with the reason.
func failed(parts []int, why error) *job.LaunchResult {
	return &job.LaunchResult{Tasks: each(parts, func(part int) job.TaskResult {
		return job.TaskResult{Part: part, Err: &job.TaskError{Fault: job.UserFault, Text: why.Error()}}
	})}
}

// Fetch calls each with the buckets asked for, in order.
func (e *Executors) Fetch(ctx context.Context, to job.Peer, f *job.Fetch, each func(mapPart int, bucket []byte) error) error {
	if own, ok := e.own(to); ok {
		return own.Fetch(ctx, f, each)
	}
	var mine error // each's own error is returned as it is
	err := e.call(ctx, to, "fetch", func(ctx context.Context, c clusterpb.ClusterClient) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.Fetch(ctx, fetchToPB(f))
		if err != nil {
			return err
		}
		for _, part := range f.MapParts {
			bucket, err := readBucket(stream, part)
			if err != nil {
				return err
			}
			if mine = each(part, bucket); mine != nil {
				return nil
			}
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("fetch: expected the end after %d buckets: %w", len(f.MapParts), errors.Join(err, errFrame))
		}
		return nil
	})
	return errors.Join(mine, err)
}

var errFrame = errors.New("frame is not the next one")

func readBucket(stream grpc.ServerStreamingClient[clusterpb.FetchFrame], part int) ([]byte, error) {
	var bucket []byte
	for offset := 0; ; {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("fetch: ended before map partition %d: %w", part, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return nil, err
		}
		h, data := m.GetHead(), m.GetData()
		size := h.GetSize()
		if h.GetMapPart() != int64(part) || h.GetOffset() != uint64(offset) || size > bucketMax || uint64(offset+len(data)) > size {
			return nil, fmt.Errorf("fetch: map partition %d offset %d size %d: %w: expected %d at %d",
				h.GetMapPart(), h.GetOffset(), size, errFrame, part, offset)
		}
		if uint64(len(data)) == size {
			return data, nil
		}
		if len(data) == 0 {
			return nil, fmt.Errorf("fetch: empty frame of map partition %d: %w", part, errFrame)
		}
		if bucket == nil {
			bucket = make([]byte, 0, min(size, 4*messageMax)) // beyond that a wrong size costs nothing
		}
		bucket = append(bucket, data...)
		if offset = len(bucket); uint64(offset) == size {
			return bucket, nil
		}
	}
}

// Put stores a copy of a block on the peer; on return it is synced.
func (e *Executors) Put(ctx context.Context, to job.Peer, b job.BlockData) error {
	if own, ok := e.own(to); ok {
		return own.Put(ctx, b)
	}
	if len(b.Data) > blockMax {
		return fmt.Errorf("put: %w", tooLarge(b.ID, len(b.Data), blockMax))
	}
	return e.call(ctx, to, "put", func(ctx context.Context, c clusterpb.ClusterClient) error {
		_, err := c.Put(ctx, blockDataToPB(b))
		return err
	})
}

// States lists what keyed state an executor holds.
func (e *Executors) States(ctx context.Context, to job.Peer, app id.App) ([]job.Held, error) {
	if own, ok := e.own(to); ok {
		return own.States(ctx, app)
	}
	var held []job.Held
	err := e.call(ctx, to, "states", func(ctx context.Context, c clusterpb.ClusterClient) error {
		m, err := c.States(ctx, &clusterpb.StatesRequest{App: uint64(app)})
		if err == nil {
			held = each(m.GetStates(), heldOf)
		}
		return err
	})
	return held, err
}

// Get reads a block of the peer.
func (e *Executors) Get(ctx context.Context, to job.Peer, b id.Block) (job.BlockData, error) {
	if own, ok := e.own(to); ok {
		return own.Get(ctx, b)
	}
	var data job.BlockData
	err := e.call(ctx, to, "get", func(ctx context.Context, c clusterpb.ClusterClient) error {
		m, err := c.Get(ctx, &clusterpb.GetRequest{Id: blockIDToPB(b)})
		if err == nil {
			data = blockDataOf(m)
		}
		return err
	})
	return data, err
}
