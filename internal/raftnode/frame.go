package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entryMagic opens the frame of an entry; its last byte is the version.
const (
	entryMagic = "RSE\x01"
	entryFrame = len(entryMagic) + 4
)

// checked gives every entry a checksum of its own over index, term, type, extensions and data, because raft-boltdb
// returns flipped bits silently (rule 15). The frame is kept in front of the entry's extensions, so that data is
// neither copied nor moved. What is damaged is never handed on.
type checked struct {
	disk  disk
	file  string
	fatal func(error) error // ends the process; returns the error where it does not

	snapshots *snapshots // may be nil
}

func checksum(l *raft.Log, extensions []byte) uint32 {
	var head [21]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	binary.BigEndian.PutUint32(head[17:], uint32(len(extensions)))
	crc := crc32.Update(0, castagnoli, head[:])
	crc = crc32.Update(crc, castagnoli, extensions)
	return crc32.Update(crc, castagnoli, l.Data)
}

// StoreLogs stores the entries with their frames. When it returns they are synced.
func (c *checked) StoreLogs(logs []*raft.Log) error {
	framed := make([]*raft.Log, len(logs))
	copies := make([]raft.Log, len(logs))
	for i, l := range logs {
		copies[i] = *l
		frame := make([]byte, 0, entryFrame+len(l.Extensions))
		frame = append(frame, entryMagic...)
		frame = binary.BigEndian.AppendUint32(frame, checksum(l, l.Extensions))
		copies[i].Extensions = append(frame, l.Extensions...)
		framed[i] = &copies[i]
	}
	return c.disk.StoreLogs(framed)
}

// StoreLog stores one entry.
func (c *checked) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// GetLog reads an entry; a damaged one ends the process.
func (c *checked) GetLog(index uint64, l *raft.Log) error {
	err := c.read(index, l)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return c.fatal(err)
	}
	return err
}

// read is GetLog that leaves it to the caller what damage means.
func (c *checked) read(index uint64, l *raft.Log) error {
	var stored raft.Log
	err := c.disk.GetLog(index, &stored)
	switch {
	case errors.Is(err, raft.ErrLogNotFound):
		return err
	case err != nil:
		return damaged(c.thing(index), "cannot be read: %v", err)
	case len(stored.Extensions) < entryFrame || string(stored.Extensions[:len(entryMagic)]) != entryMagic:
		return damaged(c.thing(index), "has no frame of version 1")
	case stored.Index != index:
		return damaged(c.thing(index), "calls itself entry %d", stored.Index)
	}
	want := binary.BigEndian.Uint32(stored.Extensions[len(entryMagic):])
	extensions := stored.Extensions[entryFrame:]
	if got := checksum(&stored, extensions); got != want {
		return damaged(c.thing(index), "checksum is %08x, expected %08x", got, want)
	}
	*l = stored
	l.Extensions = extensions
	if len(extensions) == 0 {
		l.Extensions = nil
	}
	return nil
}

func (c *checked) thing(index uint64) string { return fmt.Sprintf("%s: entry %d", c.file, index) }

// FirstIndex gives the first entry's index, 0 for an empty log.
func (c *checked) FirstIndex() (uint64, error) { return c.disk.FirstIndex() }

// LastIndex gives the last entry's index, 0 for an empty log.
func (c *checked) LastIndex() (uint64, error) { return c.disk.LastIndex() }

// deleteChunk bounds one transaction of DeleteRange, so that appends wait for a short while only.
const deleteChunk = 1024

// DeleteRange deletes entries from low to high. A crash half-way leaves no gap: a range at the log's end is deleted
// from its end, any other from its beginning.
//
// Entries behind a snapshot stay: after it has installed one, raft deletes the whole log, but remembers where that ended,
// and would look there for entries. The leader's entries replace them, like any others that conflict.
func (c *checked) DeleteRange(low, high uint64) error {
	if c.snapshots != nil {
		if last := c.snapshots.newest().index; low <= last {
			high = min(high, last)
		}
	}
	first, err := c.disk.FirstIndex()
	if err != nil {
		return fmt.Errorf("delete entries %d to %d: %w", low, high, err)
	}
	fromStart := low <= first // decided before low is moved
	low = max(low, first, 1)
	for low <= high {
		from, to := low, min(high, low+deleteChunk-1)
		if !fromStart {
			from, to = max(low, high-min(high, deleteChunk-1)), high
		}
		if err := c.disk.DeleteRange(from, to); err != nil {
			return fmt.Errorf("delete entries %d to %d: %w", from, to, err)
		}
		if fromStart {
			low = to + 1
		} else {
			high = from - 1
		}
	}
	return nil
}

// IsMonotonic says that the log has no gaps: a snapshot from the leader replaces all entries up to it, so that a gap is
// damage and a conflicting entry at the snapshot's index cannot stay.
func (c *checked) IsMonotonic() bool { return true }
