package vfs

import (
	"fmt"
	"io"
	"slices"
)

// memFile is an open file of a Mem.
type memFile struct {
	m    *Mem
	n    *inode
	name string
}

// Write appends p; a fault or a full disk writes only a part of it.
func (f *memFile) Write(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n := len(p)
	fault := f.m.start(OpWrite, f.name, len(p))
	err := fault.Err
	if err != nil {
		n = min(n, fault.Partial)
	}
	if f.m.free >= 0 {
		if int64(n) > f.m.free {
			n = int(f.m.free)
			if err == nil {
				err = ErrFull
			}
		}
		f.m.free -= int64(n)
	}
	f.n.data = append(f.n.data, p[:n]...)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", f.name, err)
	}
	return n, nil
}

// ReadAt reads at an offset.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if fault := f.m.start(OpRead, f.name, len(p)); fault.Err != nil {
		return 0, fmt.Errorf("read %s: %w", f.name, fault.Err)
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Sync makes the bytes durable.
func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if fault := f.m.start(OpSync, f.name, 0); fault.Err != nil {
		return fmt.Errorf("sync %s: %w", f.name, fault.Err)
	}
	f.n.synced = f.n.data[:len(f.n.data):len(f.n.data)]
	return nil
}

// Truncate cuts the file; the bytes that were synced before stay what a crash may bring back.
func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if fault := f.m.start(OpTruncate, f.name, 0); fault.Err != nil {
		return fmt.Errorf("truncate %s: %w", f.name, fault.Err)
	}
	if f.m.free >= 0 {
		f.m.free += int64(len(f.n.data)) - size
	}
	f.n.data = slices.Clone(f.n.data[:size])
	return nil
}

// Size gives the file's length.
func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if fault := f.m.start(OpStat, f.name, 0); fault.Err != nil {
		return 0, fmt.Errorf("stat %s: %w", f.name, fault.Err)
	}
	return int64(len(f.n.data)), nil
}

// Close closes the file; it makes nothing durable.
func (f *memFile) Close() error { return nil }
