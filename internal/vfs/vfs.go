// Package vfs owns files behind an interface that can fail, so that what is durable can be tested: OS is the real file
// system, Mem one that forgets what was not synced, fails, tears writes and fills up on demand. It promises the
// vocabulary that durable formats need and no more (append, read at, sync, sync of a directory, rename, lock, free
// space); it must not know any format.
//
// Disk assumptions shared by all who write through it: bytes are durable after Sync of their file, names after SyncDir
// of their directory; a rename is atomic; after a failed Sync nothing is known of the file's bytes, so the caller must
// stop and never repeat it.
package vfs

import (
	"errors"
	"io"
)

var (
	// ErrLocked says that another process holds the lock.
	ErrLocked = errors.New("locked by another process")
	// ErrFull says that the disk has no space left (ENOSPC, EDQUOT).
	ErrFull = errors.New("no space left on the disk")
)

// FS is a file system. Its methods may be called from several goroutines. Errors wrap fs.ErrNotExist and fs.ErrExist
// where that is the reason.
type FS interface {
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// Create makes a new, empty file for appending and reading; a file of that name is an error.
	Create(name string) (File, error)
	// Append opens an existing file for appending and reading.
	Append(name string) (File, error)
	// Rename replaces newName by oldName, in the same directory.
	Rename(oldName, newName string) error
	Remove(name string) error
	// List gives the names of a directory's entries, in order.
	List(dir string) ([]string, error)
	// Stat gives the size of a file, and whether it is a directory.
	Stat(name string) (Info, error)
	// MkdirAll makes a directory and those above it, and makes their names durable.
	MkdirAll(dir string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Lock takes the exclusive lock on a file, which is made if need be, until the result is closed or the process
	// ends. ErrLocked says that another holder has it.
	Lock(name string) (io.Closer, error)
	// Free gives the bytes that may still be written to the disk of a directory.
	Free(dir string) (uint64, error)
}

// Info is what Stat tells.
type Info struct {
	Size int64
	Dir  bool
}

// File is an open file. Write appends, always at the end; one goroutine writes. ReadAt may be called at the same time
// by others. An error wrapping ErrFull says that the disk is full; a part of the bytes may be written then.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	// Sync makes all bytes written so far durable. After an error it must not be repeated.
	Sync() error
	// Truncate cuts the file to size.
	Truncate(size int64) error
	Size() (int64, error)
}

// ReadFile reads a whole file of at most limit bytes; a longer one is an error.
func ReadFile(f FS, name string, limit int64) (_ []byte, err error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &SizeError{Name: name, Size: size, Limit: limit}
	}
	data := make([]byte, size)
	if _, err := file.ReadAt(data, 0); err != nil && !(errors.Is(err, io.EOF) && size == 0) {
		return nil, err
	}
	return data, nil
}

// WriteFile replaces a file so that after a crash it holds either what it held before or data, never a mix: it writes
// name+".tmp", syncs it, renames it and syncs the directory. On return data is durable.
func WriteFile(f FS, dir, name string, data []byte) (err error) {
	tmp := name + ".tmp"
	if err := RemoveIfExists(f, tmp); err != nil {
		return err
	}
	file, err := f.Create(tmp)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := f.Rename(tmp, name); err != nil {
		return err
	}
	return f.SyncDir(dir)
}
