package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
)

// Read gives the payload of a record; the bytes belong to the caller. ErrNoRecord says that the segment is not there
// (any more); bytes that changed on the disk are a *CorruptionError.
func (l *Log) Read(p Position) (_ []byte, err error) {
	l.mu.Lock()
	seg := l.segments[p.Segment]
	var size int64
	if seg != nil {
		size = seg.size
	}
	l.mu.Unlock()
	if seg == nil || p.Offset < segmentHeader || p.Offset+recordHeader > size {
		return nil, fmt.Errorf("read segment %d at %d: %w", p.Segment, p.Offset, ErrNoRecord)
	}
	name := l.path(p.Segment)
	file, err := l.cfg.FS.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read segment %d at %d: %w", p.Segment, p.Offset, ErrNoRecord)
	} else if err != nil {
		return nil, fmt.Errorf("read segment %d: %w", p.Segment, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	head := make([]byte, recordHeader)
	if err := readFull(file, head, p.Offset); err != nil {
		return nil, corrupt(name, p.Offset, err)
	}
	r, err := decodeRecord(head, seg.info.salt, p.Offset)
	if err != nil {
		return nil, &CorruptionError{File: name, Offset: p.Offset, Reason: err.Error()}
	}
	if r.kind != kindData {
		return nil, fmt.Errorf("read segment %d at %d: %w", p.Segment, p.Offset, ErrNoRecord)
	}
	payload := make([]byte, r.length)
	if err := readFull(file, payload, p.Offset+recordHeader); err != nil {
		return nil, corrupt(name, p.Offset, err)
	}
	if got := crc32.Checksum(payload, castagnoli); got != r.crc {
		return nil, &CorruptionError{
			File: name, Offset: p.Offset,
			Reason: fmt.Sprintf("checksum of the record is %08x, expected %08x", got, r.crc),
		}
	}
	return payload, nil
}

func readFull(file io.ReaderAt, b []byte, at int64) error {
	if n, err := file.ReadAt(b, at); n < len(b) {
		return err
	}
	return nil
}

// corrupt makes a file that ends too early a damage; other errors of reading stay what they are.
func corrupt(name string, at int64, err error) error {
	if errors.Is(err, io.EOF) {
		return &CorruptionError{File: name, Offset: at, Reason: "the file ends within the record"}
	}
	return fmt.Errorf("read: %w", err)
}
