// Package datadir owns the layout of a node's data directory: its lock, its identity (node id, generation of this
// start, id of the cluster that it belongs to) and the names of its sub-directories. It promises that one process at a
// time uses a directory, that a node id is made once and a generation never used twice, and that nothing is ever
// deleted here (rule 2). It must not know what the sub-directories hold.
package datadir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
)

// Names in a data directory.
const (
	lockName     = "LOCK"
	identityName = "identity"
	raftName     = "raft"
	walName      = "wal"
	keptName     = "kept"
)

// ErrInUse says that another process uses the data directory.
var ErrInUse = errors.New("in use by another process")

// ClusterError says that a data directory belongs to another cluster. Nothing was changed.
type ClusterError struct {
	Dir       string
	Has, Want string
}

// Error names the directory and both clusters.
func (e *ClusterError) Error() string {
	return fmt.Sprintf("data directory %s belongs to cluster %s, this is cluster %s", e.Dir, e.Has, e.Want)
}

// NameError says that a data directory belongs to a node of another name. Nothing was changed.
type NameError struct {
	Dir       string
	Has, Want string
}

// Error names the directory and both nodes.
func (e *NameError) Error() string {
	return fmt.Sprintf("data directory %s belongs to node %s, this is node %s", e.Dir, e.Has, e.Want)
}

// DamageError says that a data directory cannot be trusted. Nothing was changed.
type DamageError struct {
	File   string
	Reason string
}

// Error names the file and what is wrong, and says what to do.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged: %s; nothing was changed: restore it, or give the node an empty data directory"+
		" (it then is a new member)", e.File, e.Reason)
}

// Dir is an open data directory. StampName, StampRaft and StampCluster are called by one goroutine at a time; the other methods by
// any.
type Dir struct {
	fs   vfs.FS
	path string
	lock io.Closer
	id   atomic.Pointer[identity]
}

// Open creates or opens the data directory of a node and raises its generation, durably. It fails with ErrInUse where
// another process has it and with *DamageError where its identity cannot be read, or is missing beside data.
func Open(f vfs.FS, path string) (*Dir, error) {
	if err := f.MkdirAll(path); err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", path, err)
	}
	lock, err := f.Lock(filepath.Join(path, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("data directory %s: %w", path, ErrInUse)
	} else if err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", path, err)
	}
	d := &Dir{fs: f, path: path, lock: lock}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

func (d *Dir) open() error {
	i, err := d.read()
	if errors.Is(err, fs.ErrNotExist) {
		i, err = d.create()
	}
	if err != nil {
		return err
	}
	i.generation++
	if err := d.write(i); err != nil {
		return err
	}
	for _, sub := range []string{d.Raft(), d.WAL()} {
		if err := d.fs.MkdirAll(sub); err != nil {
			return fmt.Errorf("open data directory %s: %w", d.path, err)
		}
	}
	return nil
}

// read gives the identity; an error wrapping fs.ErrNotExist says that there is none.
func (d *Dir) read() (identity, error) {
	name := filepath.Join(d.path, identityName)
	data, err := vfs.ReadFile(d.fs, name, 4096)
	if tooLong := (*vfs.SizeError)(nil); errors.As(err, &tooLong) {
		return identity{}, &DamageError{File: name, Reason: err.Error()}
	}
	if err != nil {
		return identity{}, fmt.Errorf("read identity: %w", err)
	}
	i, err := decode(data)
	if err != nil {
		return identity{}, &DamageError{File: name, Reason: err.Error()}
	}
	return i, nil
}

// create makes a new identity. Beside data of a lost one it refuses: the node would vote as another one (rule 2).
func (d *Dir) create() (identity, error) {
	for _, sub := range []string{raftName, walName} {
		names, err := d.fs.List(filepath.Join(d.path, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return identity{}, fmt.Errorf("open data directory %s: %w", d.path, err)
		}
		if len(names) > 0 {
			return identity{}, &DamageError{
				File:   filepath.Join(d.path, identityName),
				Reason: fmt.Sprintf("it is missing, but %s holds %s", filepath.Join(d.path, sub), names[0]),
			}
		}
	}
	var b [nodeIDBytes / 2]byte
	if _, err := rand.Read(b[:]); err != nil {
		return identity{}, fmt.Errorf("make node id: %w", err)
	}
	return identity{node: hex.EncodeToString(b[:])}, nil
}

func (d *Dir) write(i identity) error {
	if err := vfs.WriteFile(d.fs, d.path, filepath.Join(d.path, identityName), i.encode()); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	d.id.Store(&i)
	return nil
}

// Node is the node's id: 16 hexadecimal digits, made once, its Raft server id.
func (d *Dir) Node() string { return d.id.Load().node }

// Store is the node's id as that of its store of blocks.
func (d *Dir) Store() id.Store { return id.Store(d.Node()) }

// Generation counts the opens of this directory, this one included.
func (d *Dir) Generation() uint64 { return d.id.Load().generation }

// Cluster is the id of the cluster that the directory belongs to, "" for none yet.
func (d *Dir) Cluster() string { return d.id.Load().cluster }

// StampCluster binds the directory to a cluster, durably, once. Another cluster than the one it is bound to is refused
// with *ClusterError.
func (d *Dir) StampCluster(cluster string) error {
	if cluster == "" || len(cluster) > clusterMaxBytes {
		return fmt.Errorf("cluster id %q: expected 1 to %d bytes", cluster, clusterMaxBytes)
	}
	i := *d.id.Load()
	switch i.cluster {
	case cluster:
		return nil
	case "":
		i.cluster = cluster
		return d.write(i)
	}
	return &ClusterError{Dir: d.path, Has: i.cluster, Want: cluster}
}

// Name is the name of the node that the directory belongs to, "" for none yet.
func (d *Dir) Name() string { return d.id.Load().name }

// StampName binds the directory to a node's name, durably, once: two nodes whose directories were swapped would each
// vote as the other. Another name than the one it is bound to is refused with *NameError.
func (d *Dir) StampName(name string) error {
	if name == "" || len(name) > nameMaxBytes {
		return fmt.Errorf("node name %q: expected 1 to %d bytes", name, nameMaxBytes)
	}
	i := *d.id.Load()
	switch i.name {
	case name:
		return nil
	case "":
		i.name = name
		return d.write(i)
	}
	return &NameError{Dir: d.path, Has: i.name, Want: name}
}

// HasRaft reports whether Raft's state was made in the directory: where it is missing now, votes are forgotten, and the
// node must not run (rule 2).
func (d *Dir) HasRaft() bool { return d.id.Load().raft }

// StampRaft records, durably, that Raft's state is made. It is called once the first, empty state is synced and before
// Raft can vote: only so does a state that is missing say that votes may be forgotten.
func (d *Dir) StampRaft() error {
	i := *d.id.Load()
	if i.raft {
		return nil
	}
	i.raft = true
	return d.write(i)
}

// Path is the directory itself.
func (d *Dir) Path() string { return d.path }

// Raft is the sub-directory of package raftnode.
func (d *Dir) Raft() string { return filepath.Join(d.path, raftName) }

// WAL is the sub-directory of package wal.
func (d *Dir) WAL() string { return filepath.Join(d.path, walName) }

// Kept is where the node's executor puts partitions of persisted streams for which it has no memory. It is scratch: what
// is there at a start belongs to nobody.
func (d *Dir) Kept() string { return filepath.Join(d.path, keptName) }

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }
