package raftnode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Buckets of raft.db, named and filled as raft-boltdb does.
var (
	logsBucket = []byte("logs")
	confBucket = []byte("conf")
)

// errNotFound is what raft expects of a stable store that does not have a key: it knows it by its text.
var errNotFound = errors.New("not found")

// How raft-boltdb encodes and decodes entries; the time as its type itself encodes it.
var (
	msgpackOut = func() *codec.MsgpackHandle {
		h := &codec.MsgpackHandle{}
		h.TimeNotBuiltin = true
		return h
	}()
	msgpackIn = &codec.MsgpackHandle{}
)

// boltStore keeps entries, term and vote in a bbolt file. Every transaction leaves two numbers, the sequences of the
// buckets, in the root page: the transaction's own, and a mark of the log's last entry. They bind the pages of the newest
// transaction together, because bbolt's pages do not tell a page from what was in its place before: a write that the disk
// lost would otherwise be entries, or a vote, that are forgotten without a word.
type boltStore struct{ db *bbolt.DB }

// openStore opens a bbolt file, and makes it unless it is for reading.
func openStore(path string, readOnly bool) (_ *boltStore, err error) {
	options := &bbolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, ReadOnly: readOnly}
	if readOnly {
		options.NoFreelistSync = false
	}
	s := &boltStore{}
	err = protect(func() (err error) {
		if s.db, err = bbolt.Open(path, 0o600, options); err != nil {
			return err
		}
		return s.begin(readOnly)
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: another process uses it", path)
	case err != nil && s.db != nil:
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, protect(s.db.Close)))
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

// begin checks what the file holds, or makes its buckets.
func (s *boltStore) begin(readOnly bool) error {
	fresh := false
	err := s.db.View(func(tx *bbolt.Tx) error {
		logs, conf := tx.Bucket(logsBucket), tx.Bucket(confBucket)
		switch {
		case logs == nil && conf == nil:
			fresh = true
			return nil
		case logs == nil || conf == nil:
			return damaged(s.db.Path(), "one of its buckets is missing")
		}
		return s.bound(tx, logs, conf)
	})
	switch {
	case err != nil || !fresh:
		return err
	case readOnly:
		return damaged(s.db.Path(), "its buckets are missing")
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{logsBucket, confBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return bind(tx, 0)
	})
}

// bind leaves the numbers that bound checks.
func bind(tx *bbolt.Tx, mark uint64) error {
	if err := tx.Bucket(logsBucket).SetSequence(uint64(tx.ID())); err != nil {
		return err
	}
	return tx.Bucket(confBucket).SetSequence(mark)
}

// bound checks that the pages that are reached belong to one transaction. A file that was written before there were such
// numbers has none, until the next transaction.
func (s *boltStore) bound(tx *bbolt.Tx, logs, conf *bbolt.Bucket) error {
	switch id := uint64(tx.ID()); {
	case logs.Sequence() == 0:
		return nil
	case logs.Sequence() != id:
		return damaged(s.db.Path(), "its root page is of transaction %d, expected %d: a write was lost, or an older program wrote",
			logs.Sequence(), id)
	}
	last, value := logs.Cursor().Last()
	if m := markOf(last, value); m != conf.Sequence() && (m != 0 || last == nil) {
		return damaged(s.db.Path(), "its last entry is not the one that was written last: a write was lost")
	}
	return nil
}

// markOf marks an entry by the low halves of term and index, which name one entry of a log; 0 for none, and for one that
// cannot be decoded: whoever reads it says so.
func markOf(key, value []byte) uint64 {
	var l raft.Log
	if len(key) != 8 || codec.NewDecoder(bytes.NewReader(value), msgpackIn).Decode(&l) != nil {
		return 0
	}
	return mark(&l)
}

// lastMark marks the log's last entry before a transaction: it is known, but in a file that was written before there were
// marks, and an entry of a megabyte is not decoded for it.
func lastMark(logs, conf *bbolt.Bucket) uint64 {
	if logs.Sequence() != 0 {
		return conf.Sequence()
	}
	return markOf(logs.Cursor().Last())
}

func mark(l *raft.Log) uint64 { return l.Term<<32 | l.Index&0xffffffff }

// update runs a transaction. f gives the mark of what is the last entry after it; it must find that out before it changes
// anything, because a cursor of bbolt's that meets a page without keys, as deletions leave it until they are committed,
// may go round for ever.
func (s *boltStore) update(f func(logs, conf *bbolt.Bucket) (mark uint64, err error)) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		mark, err := f(tx.Bucket(logsBucket), tx.Bucket(confBucket))
		if err != nil {
			return err
		}
		return bind(tx, mark)
	})
}

func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// StoreLogs appends entries in one transaction; synced when it returns.
func (s *boltStore) StoreLogs(entries []*raft.Log) error {
	return s.update(func(logs, conf *bbolt.Bucket) (uint64, error) {
		k, _ := logs.Cursor().Last()
		last, named := bytes.Clone(k), lastMark(logs, conf)
		encoder := codec.NewEncoder(nil, msgpackOut)
		for _, e := range entries {
			var value bytes.Buffer
			value.Grow(len(e.Data) + len(e.Extensions) + entryHead)
			encoder.Reset(&value)
			if err := encoder.Encode(e); err != nil {
				return 0, fmt.Errorf("encode entry %d: %w", e.Index, err)
			}
			key := indexKey(e.Index)
			if err := logs.Put(key, value.Bytes()); err != nil {
				return 0, err
			}
			if bytes.Compare(key, last) >= 0 {
				last, named = key, mark(e)
			}
		}
		return named, nil
	})
}

// StoreLog appends one entry.
func (s *boltStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// entryHead is more than what the encoding of an entry adds to its data and extensions.
const entryHead = 128

// DeleteRange deletes entries from low to high in one transaction.
func (s *boltStore) DeleteRange(low, high uint64) error {
	return s.update(func(logs, conf *bbolt.Bucket) (named uint64, err error) {
		var dead [][]byte
		c := logs.Cursor()
		k, _ := c.Seek(indexKey(low))
		for ; len(k) == 8 && binary.BigEndian.Uint64(k) <= high; k, _ = c.Next() {
			dead = append(dead, bytes.Clone(k))
		}
		switch {
		case k != nil || len(dead) == 0:
			named = lastMark(logs, conf)
		default: // the end of the log goes
			c := logs.Cursor()
			c.Seek(dead[0])
			named = markOf(c.Prev())
		}
		for _, k := range dead {
			if err := logs.Delete(k); err != nil {
				return 0, err
			}
		}
		return named, nil
	})
}

// GetLog reads an entry, or gives raft.ErrLogNotFound.
func (s *boltStore) GetLog(index uint64, l *raft.Log) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		value := tx.Bucket(logsBucket).Get(indexKey(index))
		if value == nil {
			return raft.ErrLogNotFound
		}
		return codec.NewDecoder(bytes.NewReader(value), msgpackIn).Decode(l) // from a reader: nothing of it is a view of the page
	})
}

// FirstIndex gives the first entry's index, 0 for an empty log.
func (s *boltStore) FirstIndex() (uint64, error) { return s.edge((*bbolt.Cursor).First) }

// LastIndex gives the last entry's index, 0 for an empty log.
func (s *boltStore) LastIndex() (uint64, error) { return s.edge((*bbolt.Cursor).Last) }

func (s *boltStore) edge(of func(*bbolt.Cursor) (key, value []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		k, _ := of(tx.Bucket(logsBucket).Cursor())
		switch {
		case k == nil:
			return nil
		case len(k) != 8:
			return fmt.Errorf("the key of an entry has %d bytes, expected 8", len(k))
		}
		index = binary.BigEndian.Uint64(k)
		return nil
	})
	return index, err
}

// Set stores a value; synced when it returns.
func (s *boltStore) Set(key, value []byte) error {
	return s.update(func(logs, conf *bbolt.Bucket) (uint64, error) {
		return lastMark(logs, conf), conf.Put(key, value)
	})
}

// Get reads a value, or gives errNotFound.
func (s *boltStore) Get(key []byte) (value []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		if value = bytes.Clone(tx.Bucket(confBucket).Get(key)); value == nil {
			return errNotFound
		}
		return nil
	})
	return value, err
}

// Close closes the file.
func (s *boltStore) Close() error { return s.db.Close() }
