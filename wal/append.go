package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/vfs"
)

// request is an append on its way to the disk.
type request struct {
	parts [][]byte
	size  int
	crc   uint32
	fate  atomic.Uint32 // waiting, abandoned by its caller, or answered
	done  chan struct{} // closed when pos and err are set
	pos   Position
	err   error
}

const (
	waiting uint32 = iota
	abandoned
	answered
)

func newRequest(parts [][]byte) (*request, error) {
	r := &request{parts: parts, done: make(chan struct{})}
	for _, p := range parts {
		r.size += len(p)
		r.crc = crc32.Update(r.crc, castagnoli, p)
	}
	if r.size == 0 || r.size > MaxRecord {
		return nil, fmt.Errorf("append: record of %d bytes, expected 1 to %d", r.size, MaxRecord)
	}
	return r, nil
}

// abandon says that nobody waits for the request any more; false: it is answered.
func (r *request) abandon() bool { return r.fate.CompareAndSwap(waiting, abandoned) }

// answer gives the outcome to the caller; false: the caller has gone.
func (r *request) answer(p Position, err error) bool {
	took := r.fate.CompareAndSwap(waiting, answered)
	r.pos, r.err = p, err
	close(r.done)
	return took
}

// writer is the state of the goroutine that writes.
type writer struct {
	file   vfs.File // of the active segment
	info   segmentInfo
	offset int64 // end of the active segment. Invariant: everything before it is synced between two groups
	proved bool  // a later record or mark proves that all records are synced
	group  []*request
	buf    []byte
}

// write is the writer: it takes what waits, writes it, syncs once and answers.
func (l *Log) write() {
	defer close(l.exited)
	for {
		select {
		case r := <-l.queue:
			l.collect(r)
			l.commit()
		case <-l.closing:
			l.closeErr = l.finish()
			return
		}
	}
}

// collect makes the next group: r and what else waits, up to the bounds.
func (l *Log) collect(r *request) {
	l.w.group = append(l.w.group[:0], r)
	for bytes := r.size; bytes < groupBytesMax && len(l.w.group) < queueMax; {
		select {
		case r := <-l.queue:
			l.w.group = append(l.w.group, r)
			bytes += r.size
		default:
			return
		}
	}
}

// commit makes the group durable, or none of it, and answers.
func (l *Log) commit() {
	bytes := int64(0)
	for _, r := range l.w.group {
		bytes += recordHeader + int64(r.size)
	}
	start := l.w.offset
	err := l.prepare(bytes)
	if err == nil {
		start = l.w.offset
		err = l.writeGroup()
	}
	if err != nil {
		for _, r := range l.w.group {
			r.answer(Position{}, err)
		}
		return
	}
	l.mu.Lock()
	seg := l.segments[l.w.info.number]
	seg.size = l.w.offset
	seg.live += len(l.w.group)
	l.mu.Unlock()
	for _, r := range l.w.group {
		p := Position{Segment: l.w.info.number, Offset: start}
		start += recordHeader + int64(r.size)
		if !r.answer(p, nil) {
			l.mu.Lock()
			seg.live-- // nobody knows of the record
			l.mu.Unlock()
		}
	}
}

// prepare sees to it that the active segment and the disk have room for a group.
func (l *Log) prepare(bytes int64) error {
	if err := l.broken(); err != nil {
		return err
	}
	free, err := l.cfg.FS.Free(l.cfg.Dir)
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	if free < l.cfg.ReserveBytes+uint64(bytes) {
		return fmt.Errorf("append %d bytes to %s: %w: %d bytes are free, %d are kept free",
			bytes, l.cfg.Dir, ErrReserve, free, l.cfg.ReserveBytes)
	}
	if l.w.offset > segmentHeader && l.w.offset+bytes > l.cfg.SegmentBytes {
		return l.rotate()
	}
	return nil
}

// writeGroup writes and syncs the group at the end of the active segment. A full disk leaves the segment as it was;
// every other failure is the end of the log.
func (l *Log) writeGroup() error {
	synced, end := l.w.offset, l.w.offset
	var err error
	for _, r := range l.w.group {
		h := record{kind: kindData, synced: uint64(synced), length: uint32(r.size), crc: r.crc}
		l.w.buf = h.appendTo(l.w.buf, l.w.info.salt, end)
		for _, p := range r.parts {
			l.w.buf = append(l.w.buf, p...)
		}
		end += recordHeader + int64(r.size)
		if err = l.flush(flushBytes); err != nil {
			break
		}
	}
	if err == nil {
		err = l.flush(1)
	}
	if errors.Is(err, vfs.ErrFull) {
		l.w.buf = l.w.buf[:0]
		if cut := l.w.file.Truncate(synced); cut != nil {
			return l.fail(fmt.Errorf("undo an append on a full disk: %w", errors.Join(cut, err)))
		}
		return fmt.Errorf("append to %s: %w: %w", l.path(l.w.info.number), ErrReserve, err)
	}
	if err != nil {
		return l.fail(fmt.Errorf("append: %w", err))
	}
	failpoint.Hit(failpoint.WALWritten)
	if err := l.w.file.Sync(); err != nil {
		return l.fail(fmt.Errorf("append: %w", err))
	}
	failpoint.Hit(failpoint.WALSynced)
	l.w.offset, l.w.proved = end, false
	return nil
}

// flush writes the buffer out if it holds at least that many bytes.
func (l *Log) flush(least int) error {
	if len(l.w.buf) < least {
		return nil
	}
	_, err := l.w.file.Write(l.w.buf)
	l.w.buf = l.w.buf[:0]
	if cap(l.w.buf) > bufferMax {
		l.w.buf = nil
	}
	return err
}

// rotate seals the active segment and starts the next one. On a full disk the active segment stays.
func (l *Log) rotate() error {
	next := segmentInfo{number: l.w.info.number + 1, prevSize: uint64(l.w.offset), store: l.cfg.Store}
	old := l.w.file
	if err := l.create(next); errors.Is(err, vfs.ErrFull) && !errors.Is(err, ErrPoisoned) {
		return fmt.Errorf("start a segment: %w: %w", ErrReserve, err)
	} else if err != nil {
		return err
	}
	if err := old.Close(); err != nil {
		return l.fail(fmt.Errorf("seal a segment: %w", err))
	}
	return l.clean()
}

// create makes a segment durable under its name and makes it the active one. Its header is complete before it has the
// name, so that a segment without a good header is damage, never a crash.
func (l *Log) create(info segmentInfo) error {
	var salt [8]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return fmt.Errorf("start a segment: %w", err)
	}
	info.salt = binary.LittleEndian.Uint64(salt[:])
	name := l.path(info.number)
	tmp := name + ".tmp"
	if err := vfs.RemoveIfExists(l.cfg.FS, tmp); err != nil {
		return l.fail(fmt.Errorf("start a segment: %w", err))
	}
	file, err := l.cfg.FS.Create(tmp)
	if err != nil {
		return l.soft(err)
	}
	if _, err := file.Write(info.encode()); err != nil {
		return l.soft(errors.Join(err, file.Close()))
	}
	if err := file.Sync(); err != nil {
		return l.fail(fmt.Errorf("start a segment: %w", errors.Join(err, file.Close())))
	}
	failpoint.Hit(failpoint.WALSegment)
	if err := l.cfg.FS.Rename(tmp, name); err != nil {
		return l.soft(errors.Join(err, file.Close()))
	}
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return l.fail(fmt.Errorf("start a segment: %w", errors.Join(err, file.Close())))
	}
	l.w.file, l.w.info, l.w.offset, l.w.proved = file, info, segmentHeader, true
	l.mu.Lock()
	l.segments[info.number] = &segment{info: info, size: segmentHeader}
	l.active = info.number
	l.mu.Unlock()
	return nil
}

// soft lets a full disk pass as an error of its own; everything else is the end of the log.
func (l *Log) soft(err error) error {
	if errors.Is(err, vfs.ErrFull) {
		return err
	}
	return l.fail(fmt.Errorf("start a segment: %w", err))
}

// finish fails what waits and closes the active segment, with a mark that proves its last records.
func (l *Log) finish() error {
	for {
		select {
		case r := <-l.queue:
			r.answer(Position{}, ErrClosed)
			continue
		default:
		}
		break
	}
	var err error
	if l.broken() == nil && !l.w.proved {
		err = l.mark()
	}
	return errors.Join(err, l.w.file.Close())
}

func (l *Log) mark() error {
	l.w.group = l.w.group[:0]
	h := record{kind: kindMark, synced: uint64(l.w.offset)}
	_, err := l.w.file.Write(h.appendTo(nil, l.w.info.salt, l.w.offset))
	if err == nil {
		err = l.w.file.Sync()
	}
	if errors.Is(err, vfs.ErrFull) {
		return nil // the mark is a convenience: a torn one is cut at the next Open
	}
	if err != nil {
		return fmt.Errorf("mark the end of the log: %w", err)
	}
	return nil
}
