package disk

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

const pageSize = 4096

// unsynced knows, of every file, what the disk would hold where a sync failed: the kernel marks such pages as clean, so
// that they are read back but never written again.
type unsynced struct {
	mu    sync.Mutex
	files map[uint64]*pages // by inode
}

// pages are those of a file that are not on the disk, with what is there instead; nil is nothing, which reads as zeros.
type pages struct {
	size   int64 // at the last good sync
	dirty  map[int64][]byte
	lost   map[int64][]byte // of a sync that failed
	failed bool             // there was no good sync since
}

// of gives what is known of a file, which is taken for synced at its size when it is new here.
func (u *unsynced) of(inode uint64, size int64) *pages {
	p := u.files[inode]
	if p == nil {
		p = &pages{size: size, dirty: map[int64][]byte{}, lost: map[int64][]byte{}}
		u.files[inode] = p
	}
	return p
}

// write is to be called before bytes of a file of the given size change.
func (u *unsynced) write(inode uint64, file io.ReaderAt, size, offset, length int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.of(inode, size)
	for n := offset / pageSize; n*pageSize < offset+length; n++ {
		if _, known := p.dirty[n]; known {
			continue
		}
		if old, known := p.lost[n]; known { // the page as a whole is to be written again
			p.dirty[n] = old
			delete(p.lost, n)
			continue
		}
		var old []byte
		if n*pageSize < size {
			old = make([]byte, min(pageSize, size-n*pageSize))
			if _, err := file.ReadAt(old, n*pageSize); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		p.dirty[n] = old
	}
	return nil
}

// cut is to be called before the end of a file changes.
func (u *unsynced) cut(inode uint64, size, to int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.of(inode, size)
	gone := func(n int64, _ []byte) bool { return n*pageSize >= to }
	maps.DeleteFunc(p.dirty, gone)
	maps.DeleteFunc(p.lost, gone)
}

// synced says that a sync of a file, which has the given size, was good.
func (u *unsynced) synced(inode uint64, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.of(inode, size)
	p.size, p.failed = size, false
	clear(p.dirty)
}

// fail says that a sync of a file failed.
func (u *unsynced) fail(inode uint64, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.of(inode, size)
	maps.Copy(p.lost, p.dirty)
	clear(p.dirty)
	p.failed = true
}

// forget says that a file is deleted.
func (u *unsynced) forget(inode uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.files, inode)
}

// drop makes the files below dir be what the disk holds, and gives the number of pages that changed.
func (u *unsynced) drop(dir string, inode func(fs.FileInfo) uint64) (dropped int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if p := u.files[inode(info)]; p != nil && len(p.lost) > 0 {
			dropped += len(p.lost)
			return p.drop(path)
		}
		return nil
	})
	clear(u.files)
	return dropped, err
}

func (p *pages) drop(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if p.failed {
		size = min(size, p.size) // the new end came with the pages that are lost
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	for n, old := range p.lost {
		at := n * pageSize
		if at >= size {
			continue
		}
		page := make([]byte, min(pageSize, size-at))
		copy(page, old)
		if _, err := f.WriteAt(page, at); err != nil {
			return err
		}
	}
	return f.Sync()
}
