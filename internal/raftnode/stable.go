package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sync"
)

// stableKey is the one key that is used on disk, stableMagic opens its value; the last byte is the version.
const (
	stableKey   = "raftstream"
	stableMagic = "RSS\x01"
)

// stable is raft's term and vote, and whose they are. Everything is one checksummed record: a key that a flipped bit
// hides would otherwise be a vote forgotten.
type stable struct {
	disk disk
	file string
	turn chan struct{} // held by who stores: raft's main loop, or its handler of heartbeats

	mu     sync.Mutex
	id     string
	values map[string][]byte
}

// openStable reads the record of node id. Without one, it is written if that is right: there is nothing else (fresh),
// and there never was (not had).
func openStable(d disk, file, id string, fresh, had bool) (*stable, error) {
	s := &stable{disk: d, file: file, turn: make(chan struct{}, 1), id: id, values: map[string][]byte{}}
	raw, err := d.Get([]byte(stableKey))
	switch {
	case errors.Is(err, errNotFound) && fresh && had:
		return nil, forgotten(file, id)
	case errors.Is(err, errNotFound) && fresh:
		if err := d.Set([]byte(stableKey), s.encode(s.values)); err != nil {
			return nil, fmt.Errorf("open %s: %w", file, err)
		}
		return s, nil
	case errors.Is(err, errNotFound):
		return nil, damaged(file, "term and vote are missing, though there are entries or snapshots")
	case err != nil:
		return nil, damaged(file, "term and vote cannot be read: %v", err)
	}
	owner, values, ok := decodeStable(raw)
	if !ok {
		return nil, damaged(file, "the checksum over term and vote does not match")
	}
	if owner != id {
		return nil, fmt.Errorf("%s belongs to node %s, this is node %s: a data directory is never copied or shared",
			file, owner, id)
	}
	s.values = values
	return s, nil
}

// forgotten says that the state of a node that had one is gone.
func forgotten(file, id string) error {
	return damaged(file, "it is missing or empty, but node %s has had raft state here: it would vote again as the voter "+
		"that it was; restore nothing older", id)
}

// encode gives magic, CRC32C of the rest, then owner, and keys and values in order of the key, each with its length.
func (s *stable) encode(values map[string][]byte) []byte {
	b := append([]byte(stableMagic), 0, 0, 0, 0)
	b = appendBytes(b, []byte(s.id))
	for _, k := range slices.Sorted(maps.Keys(values)) {
		b = appendBytes(appendBytes(b, []byte(k)), values[k])
	}
	binary.BigEndian.PutUint32(b[len(stableMagic):], crc32.Checksum(b[len(stableMagic)+4:], castagnoli))
	return b
}

func appendBytes(b, field []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

func cutBytes(b []byte) (field, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

func decodeStable(b []byte) (owner string, values map[string][]byte, ok bool) {
	head := len(stableMagic) + 4
	if len(b) < head || string(b[:len(stableMagic)]) != stableMagic ||
		binary.BigEndian.Uint32(b[len(stableMagic):]) != crc32.Checksum(b[head:], castagnoli) {
		return "", nil, false
	}
	name, b, ok := cutBytes(b[head:])
	values = map[string][]byte{}
	for ok && len(b) > 0 {
		var k, v []byte
		if k, b, ok = cutBytes(b); !ok {
			break
		}
		if v, b, ok = cutBytes(b); ok {
			values[string(k)] = slices.Clone(v)
		}
	}
	return string(name), values, ok
}

// Set stores a value of raft's; synced when it returns.
func (s *stable) Set(key, value []byte) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.mu.Lock()
	next := maps.Clone(s.values)
	s.mu.Unlock()
	next[string(key)] = slices.Clone(value)
	if err := s.disk.Set([]byte(stableKey), s.encode(next)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = next
	return nil
}

// Get gives a value of raft's or errNotFound.
func (s *stable) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return slices.Clone(v), nil
}

// SetUint64 stores a number of raft's; synced when it returns.
func (s *stable) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 gives a number of raft's or errNotFound.
func (s *stable) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, damaged(s.file, "%s has %d bytes, expected 8", key, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}
