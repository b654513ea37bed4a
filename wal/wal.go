// Package wal owns the log of received blocks on an executor's disk: append, sync, read by segment, clean, repair
// (Spark: WriteAheadLog). It is engine internals, without compatibility promise.
//
// It promises that what Append returned for is read back as it was or reported as damaged; that many appends share one
// sync; that a torn tail is cut and damage elsewhere is an error; that a failed sync ends the log for good. It must not
// know what its records mean, and imports nothing of ours but internal/vfs.
package wal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/raftstream/raftstream/internal/vfs"
)

const (
	// DefaultSegmentBytes is the size at which a segment is sealed and the next one started.
	DefaultSegmentBytes = 64 << 20
	// queueMax bounds the appends that wait for the writer; more of them block in Append.
	queueMax = 256
	// groupBytesMax bounds what is written between two syncs, except for a single larger record.
	groupBytesMax = 16 << 20
	// flushBytes is how much of a group is collected before it is written; bufferMax is the buffer that is kept.
	flushBytes = 1 << 20
	bufferMax  = 8 << 20
)

// Config says where a log is and how it behaves.
type Config struct {
	FS    vfs.FS
	Dir   string // made if need be; holds nothing but the log
	Store string // id of the store, 16 bytes
	// SegmentBytes is the size of a segment, DefaultSegmentBytes if 0.
	SegmentBytes int64
	// ReserveBytes is the free space of the disk below which nothing is appended (rule 10).
	ReserveBytes uint64
	// Fatal is called once, on the goroutine that met it, when a write or sync failed: the process must end. It must
	// not call Close.
	Fatal  func(error)
	Logger *slog.Logger
}

// Position names a record.
type Position struct {
	Segment uint64
	Offset  int64
}

// Stats is what a log holds.
type Stats struct {
	Segments int
	Bytes    int64 // on the disk
	Live     int   // records not released
	Queued   int   // appends that wait for the writer
	// Active is the number of the segment that is appended to; it and those after it are not sealed.
	Active uint64
}

// Recovery says what Open found.
type Recovery struct {
	Records int
	// CutBytes is the length of the torn tail that was cut off, 0 for none; CutFile and CutAt say where.
	CutBytes int64
	CutFile  string
	CutAt    int64
}

// Log is an open log. Its methods may be called from several goroutines; Close joins the one that it owns.
type Log struct {
	cfg       Config
	queue     chan *request
	closing   chan struct{}
	closeOnce sync.Once
	exited    chan struct{} // closed when the writer has ended
	closeErr  error         // of the writer; valid after exited
	recovered Recovery
	w         writer // used by the writer's goroutine only

	mu       sync.Mutex
	segments map[uint64]*segment
	active   uint64
	poison   error
}

// segment is a file of the log.
type segment struct {
	info segmentInfo
	size int64 // Invariant: everything before it is synced
	live int   // records not released
}

// Open opens or creates a log, gives each record found to each (payload is valid during the call only), cuts a torn
// tail and starts to take appends. What was given to each is durable. A record whose bytes are damaged is a
// *CorruptionError, unless nothing proves that it was ever synced: then it is the torn tail.
func Open(c Config, each func(p Position, payload []byte) error) (*Log, error) {
	if len(c.Store) != storeBytes {
		return nil, fmt.Errorf("open log %s: store id %q, expected %d bytes", c.Dir, c.Store, storeBytes)
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = DefaultSegmentBytes
	}
	l := &Log{
		cfg:      c,
		queue:    make(chan *request, queueMax),
		closing:  make(chan struct{}),
		exited:   make(chan struct{}),
		segments: map[uint64]*segment{},
	}
	l.cfg.Fatal = nil // until the log is open its failures are Open's to return
	if err := l.recover(each); err != nil {
		if l.w.file != nil {
			err = errors.Join(err, l.w.file.Close())
		}
		return nil, fmt.Errorf("open log %s: %w", c.Dir, err)
	}
	l.cfg.Fatal = c.Fatal
	go l.write()
	return l, nil
}

// Close ends the log: appends that wait fail with ErrClosed, and a mark is written that proves the last records. It
// may be called again.
func (l *Log) Close() error {
	l.closeOnce.Do(func() { close(l.closing) })
	<-l.exited
	return l.closeErr
}

// Recovered says what Open found.
func (l *Log) Recovered() Recovery { return l.recovered }

// Stats gives what the log holds now.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Segments: len(l.segments), Queued: len(l.queue), Active: l.active}
	for _, seg := range l.segments {
		s.Bytes += seg.size
		s.Live += seg.live
	}
	return s
}

// Append writes a record, the concatenation of parts, and returns when it is synced. The parts must not be changed
// afterwards, also not after an error. An error that is not ErrReserve, and the end of ctx, leave open whether the
// record is in the log; it is not live then and may come up again at the next Open.
func (l *Log) Append(ctx context.Context, parts ...[]byte) (Position, error) {
	r, err := newRequest(parts)
	if err != nil {
		return Position{}, err
	}
	select {
	case <-l.closing:
		return Position{}, ErrClosed
	default:
	}
	select {
	case l.queue <- r:
	case <-ctx.Done():
		return Position{}, ctx.Err()
	case <-l.exited:
		return Position{}, ErrClosed
	}
	select {
	case <-r.done:
		return r.pos, r.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.exited:
		err = ErrClosed
	}
	if r.abandon() {
		return Position{}, err
	}
	<-r.done
	return r.pos, r.err
}

// Release says that records are not needed any more, each once. A sealed segment without live records is deleted.
func (l *Log) Release(positions ...Position) error {
	l.mu.Lock()
	for _, p := range positions {
		if seg := l.segments[p.Segment]; seg != nil && seg.live > 0 {
			seg.live--
		}
	}
	l.mu.Unlock()
	return l.clean()
}

// clean deletes the sealed segments without live records. A segment whose deletion is lost in a crash comes up again
// at the next Open, and is released again by who knows that it is not needed.
func (l *Log) clean() error {
	l.mu.Lock()
	var dead []string
	for n, seg := range l.segments {
		if n != l.active && seg.live == 0 {
			dead = append(dead, l.path(n))
			delete(l.segments, n)
		}
	}
	l.mu.Unlock()
	if len(dead) == 0 {
		return nil
	}
	var errs []error
	for _, name := range dead {
		if err := vfs.RemoveIfExists(l.cfg.FS, name); err != nil {
			errs = append(errs, fmt.Errorf("delete segment: %w", err))
		}
	}
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		errs = append(errs, l.fail(fmt.Errorf("sync directory of the log: %w", err)))
	}
	return errors.Join(errs...)
}

func (l *Log) path(number uint64) string {
	return filepath.Join(l.cfg.Dir, fmt.Sprintf(segmentPattern, number))
}

// fail makes the log unusable and tells the process to end, once. It gives back the error to return.
func (l *Log) fail(err error) error {
	err = fmt.Errorf("%w: %w", ErrPoisoned, err)
	l.mu.Lock()
	first := l.poison == nil
	if first {
		l.poison = err
	}
	l.mu.Unlock()
	if first && l.cfg.Fatal != nil {
		l.cfg.Fatal(err)
	}
	return err
}

// broken gives why the log is unusable, nil if it is not.
func (l *Log) broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.poison
}
