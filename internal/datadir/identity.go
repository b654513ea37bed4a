package datadir

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The identity file is described byte by byte in docs/formats/datadir.md.
const (
	identityMagic   = "RSNODE\r\n"
	identityVersion = 2 // differs from 1 in what package raftnode writes into raft.db, which programs of version 1 would undo
	oldestVersion   = 1
	identityFixed   = 8 + 4 + 8 + 16 + 2 + 2 + 1 // magic, version, generation, node id, lengths of cluster id and name, marks
	nodeIDBytes     = 16
	clusterMaxBytes = 64
	nameMaxBytes    = 128

	markRaft = 1 // Raft's state was made; further marks are of newer programs
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identity is what the identity file holds.
type identity struct {
	node       string
	generation uint64
	cluster    string
	name       string
	raft       bool // Raft's state was made in this directory
}

func (i identity) encode() []byte {
	b := make([]byte, 0, identityFixed+len(i.cluster)+len(i.name)+4)
	b = append(b, identityMagic...)
	b = binary.LittleEndian.AppendUint32(b, identityVersion)
	b = binary.LittleEndian.AppendUint64(b, i.generation)
	b = append(b, i.node...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(i.cluster)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(i.name)))
	mark := byte(0)
	if i.raft {
		mark = markRaft
	}
	b = append(b, mark)
	b = append(b, i.cluster...)
	b = append(b, i.name...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decode reads an identity; the error says what was expected and what was found.
func decode(b []byte) (identity, error) {
	if len(b) < identityFixed+4 {
		return identity{}, fmt.Errorf("it has %d bytes, expected at least %d", len(b), identityFixed+4)
	}
	if !bytes.HasPrefix(b, []byte(identityMagic)) {
		return identity{}, fmt.Errorf("it starts with %q, expected %q", b[:len(identityMagic)], identityMagic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v < oldestVersion || v > identityVersion {
		return identity{}, fmt.Errorf("its format version is %d, this program reads versions %d to %d", v, oldestVersion, identityVersion)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return identity{}, fmt.Errorf("its checksum is %08x, expected %08x", got, sum)
	}
	i := identity{generation: binary.LittleEndian.Uint64(b[12:]), node: string(b[20 : 20+nodeIDBytes])}
	cluster, name := int(binary.LittleEndian.Uint16(b[36:])), int(binary.LittleEndian.Uint16(b[38:]))
	if cluster > clusterMaxBytes || name > nameMaxBytes || identityFixed+cluster+name != len(body) {
		return identity{}, fmt.Errorf("its cluster id has %d bytes and its name %d, expected %d together", cluster, name, len(body)-identityFixed)
	}
	mark := body[40]
	if mark&^markRaft != 0 {
		return identity{}, fmt.Errorf("its marks are %#x, this program knows %#x", mark, markRaft)
	}
	i.raft = mark&markRaft != 0
	i.cluster = string(body[identityFixed : identityFixed+cluster])
	i.name = string(body[identityFixed+cluster:])
	return i, checkNodeID(i.node)
}

func checkNodeID(s string) error {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return fmt.Errorf("its node id is %q, expected %d hexadecimal digits", s, nodeIDBytes)
		}
	}
	return nil
}
