package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The format is described byte by byte, with its crash cases, in docs/formats/wal.md. All numbers are little-endian.
const (
	segmentMagic   = "RSWAL\r\n\x1a"
	formatVersion  = 1
	segmentHeader  = 64
	storeBytes     = 16
	recordMagic    = 0x1e5a77ec
	recordHeader   = 28
	segmentPattern = "%016x.wal"
)

// MaxRecord bounds the payload of one record, in bytes.
const MaxRecord = 32 << 20

// Kinds of records.
const (
	kindData = 1
	kindMark = 2 // no payload: written when the log is closed, to prove what precedes it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentInfo is what the header of a segment holds.
type segmentInfo struct {
	number   uint64
	salt     uint64 // random; enters every record's checksum, so that no payload can pass for a record
	prevSize uint64 // final size of segment number-1, 0 for the first
	store    string
}

func (i segmentInfo) encode() []byte {
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint64(b[16:], i.number)
	binary.LittleEndian.PutUint64(b[24:], i.salt)
	binary.LittleEndian.PutUint64(b[32:], i.prevSize)
	copy(b[40:40+storeBytes], i.store)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// decodeSegment reads the header of a segment; the error says what was expected and what was found.
func decodeSegment(b []byte) (segmentInfo, error) {
	if len(b) < segmentHeader {
		return segmentInfo{}, fmt.Errorf("it has %d bytes, expected a header of %d", len(b), segmentHeader)
	}
	b = b[:segmentHeader]
	if string(b[:8]) != segmentMagic {
		return segmentInfo{}, fmt.Errorf("it starts with %q, expected %q", b[:8], segmentMagic)
	}
	want, got := binary.LittleEndian.Uint32(b[60:]), crc32.Checksum(b[:60], castagnoli)
	if want != got {
		return segmentInfo{}, fmt.Errorf("checksum of the segment header is %08x, expected %08x", got, want)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return segmentInfo{}, fmt.Errorf("format version %d, this program reads version %d", v, formatVersion)
	}
	return segmentInfo{
		number:   binary.LittleEndian.Uint64(b[16:]),
		salt:     binary.LittleEndian.Uint64(b[24:]),
		prevSize: binary.LittleEndian.Uint64(b[32:]),
		store:    string(b[40 : 40+storeBytes]),
	}, nil
}

// record is the header of a record.
type record struct {
	kind   uint32
	synced uint64 // everything before this offset was synced when the record was written
	length uint32 // of the payload
	crc    uint32 // of the payload
}

// appendTo appends the header as it stands at offset of a segment with the salt.
func (r record) appendTo(b []byte, salt uint64, offset int64) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, recordMagic)
	b = binary.LittleEndian.AppendUint32(b, r.kind)
	b = binary.LittleEndian.AppendUint64(b, r.synced)
	b = binary.LittleEndian.AppendUint32(b, r.length)
	b = binary.LittleEndian.AppendUint32(b, r.crc)
	return binary.LittleEndian.AppendUint32(b, headerCRC(b[at:], salt, offset))
}

// headerCRC binds a record's header to its place: the same bytes elsewhere are no record.
func headerCRC(b []byte, salt uint64, offset int64) uint32 {
	var place [16]byte
	binary.LittleEndian.PutUint64(place[:], salt)
	binary.LittleEndian.PutUint64(place[8:], uint64(offset))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, b)
}

// decodeRecord reads a record's header found at offset; the error says what is wrong with it.
func decodeRecord(b []byte, salt uint64, offset int64) (record, error) {
	if len(b) < recordHeader {
		return record{}, fmt.Errorf("the header of a record has %d bytes, expected %d", len(b), recordHeader)
	}
	b = b[:recordHeader]
	if m := binary.LittleEndian.Uint32(b); m != recordMagic {
		return record{}, fmt.Errorf("a record starts with %08x, expected %08x", m, uint32(recordMagic))
	}
	want, got := binary.LittleEndian.Uint32(b[24:]), headerCRC(b[:24], salt, offset)
	if want != got {
		return record{}, fmt.Errorf("checksum of a record's header is %08x, expected %08x", got, want)
	}
	r := record{
		kind:   binary.LittleEndian.Uint32(b[4:]),
		synced: binary.LittleEndian.Uint64(b[8:]),
		length: binary.LittleEndian.Uint32(b[16:]),
		crc:    binary.LittleEndian.Uint32(b[20:]),
	}
	switch {
	case r.kind != kindData && r.kind != kindMark:
		return record{}, fmt.Errorf("a record is of kind %d, expected %d or %d", r.kind, kindData, kindMark)
	case r.length > MaxRecord:
		return record{}, fmt.Errorf("a record has %d bytes, expected at most %d", r.length, MaxRecord)
	case r.synced > uint64(offset):
		return record{}, fmt.Errorf("a record at %d says that %d bytes were synced before it", offset, r.synced)
	}
	return r, nil
}
