//go:build linux || darwin || freebsd

package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OS is the operating system's files.
type OS struct{}

var _ FS = OS{}

type osFile struct{ *os.File }

// Open opens an existing file for reading.
func (OS) Open(name string) (File, error) { return open(name, os.O_RDONLY) }

// Create makes a new file.
func (OS) Create(name string) (File, error) {
	return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND)
}

// Append opens an existing file for appending.
func (OS) Append(name string) (File, error) { return open(name, os.O_RDWR|os.O_APPEND) }

func open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, full(err)
	}
	return osFile{f}, nil
}

// Rename replaces newName by oldName.
func (OS) Rename(oldName, newName string) error { return full(os.Rename(oldName, newName)) }

// Remove removes a file.
func (OS) Remove(name string) error { return os.Remove(name) }

// List gives the names in a directory, in order.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Stat gives a file's size.
func (OS) Stat(name string) (Info, error) {
	i, err := os.Stat(name)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: i.Size(), Dir: i.IsDir()}, nil
}

// MkdirAll makes a directory and those above it; each new name is synced in its parent.
func (o OS) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	if i, err := os.Stat(dir); err == nil {
		if !i.IsDir() {
			return fmt.Errorf("make directory %s: a file of that name is there", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return full(err)
	}
	return o.SyncDir(parent)
}

// SyncDir makes the names in a directory durable.
func (OS) SyncDir(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// Lock takes an exclusive advisory lock (flock). The file stays when the lock is given back.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, full(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f, nil
}

// Free gives the bytes that may still be written by an unprivileged process.
func (OS) Free(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

// Write appends p.
func (f osFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, full(err)
}

// Size gives the file's length.
func (f osFile) Size() (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

// full marks the errors of a full disk as ErrFull.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// LockShared takes a shared advisory lock on a file that is there, without changing it: many may hold it, and nobody who
// wants it alone. It is no method of FS: only who looks at the files of a process that is over needs it.
func (OS) LockShared(name string) (io.Closer, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f, nil
}
