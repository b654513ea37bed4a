package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/raftstream/raftstream/internal/vfs"
)

// Stopped is the data directory of a node that does not run, opened to be looked at: nothing in it is changed. Until
// Close no node can start on it.
type Stopped struct {
	dir  Dir
	lock io.Closer // nil where the directory has no lock file: then no node has ever run on it, or this is a copy
}

// Inspect opens the data directory of a node that does not run. It fails with ErrInUse while the node runs, with
// fs.ErrNotExist in its chain where there is no data directory, and with *DamageError where its identity cannot be read.
func Inspect(path string) (*Stopped, error) {
	files := vfs.OS{}
	lock, err := files.LockShared(filepath.Join(path, lockName))
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return nil, fmt.Errorf("data directory %s: %w: stop the node first", path, ErrInUse)
	case errors.Is(err, fs.ErrNotExist):
		lock = nil
	case err != nil:
		return nil, fmt.Errorf("look at data directory %s: %w", path, err)
	}
	s := &Stopped{dir: Dir{fs: files, path: path}, lock: lock}
	i, err := s.dir.read()
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s is no data directory of a node: %w", path, err)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.dir.id.Store(&i)
	return s, nil
}

// Node is the node's id.
func (s *Stopped) Node() string { return s.dir.Node() }

// Name is the node's name, "" for none yet.
func (s *Stopped) Name() string { return s.dir.Name() }

// Cluster is the id of the node's cluster, "" for none yet.
func (s *Stopped) Cluster() string { return s.dir.Cluster() }

// Raft is the sub-directory of package raftnode.
func (s *Stopped) Raft() string { return s.dir.Raft() }

// Close lets nodes start again.
func (s *Stopped) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}
