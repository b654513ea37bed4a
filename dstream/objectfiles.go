package dstream

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/raftstream/raftstream/internal/codec"
)

// The format of object files is described in docs/formats/objects.md. All numbers are little-endian.
const (
	objectMagic   = "RSOB\x00\x00\x00"
	objectVersion = 1

	objectHeaderSize = len(objectMagic) + 1 + 4 + 4 // then the name of the type
	groupHeaderSize  = 4 + 4 + 4
	groupTotalSize   = 8 // of the last group, which has no rows

	groupBytes    = 64 << 10 // a group is written when it has as many
	maxGroupBytes = 1 << 30  // a record has about as many at most
	maxObjectType = 1 << 20  // bytes of a type's name
)

// SaveAsObjectFiles writes every batch as a directory <prefix>-<batch ms>[.<suffix>] of one file per partition, with the
// records in their binary encoding, for ReadObjectFiles. T needs a codec. For the rest it is like SaveAsTextFiles: the
// directory is complete when it holds _SUCCESS, and a batch that is run again changes nothing (rule 13).
func (s *DStream[T]) SaveAsObjectFiles(prefix, suffix string) {
	const op = "saveAsObjectFiles"
	rows, err := codec.For[T]()
	if err == nil && len(rows.Name) > maxObjectType {
		err = fmt.Errorf("type %s... has a name of %d bytes, at most %d are written", rows.Name[:100], len(rows.Name), maxObjectType)
	}
	if err != nil {
		s.c.fail(op, err)
	}
	s.saveFiles(op, "an object", prefix, suffix, func(w *bufio.Writer) partWriter[T] {
		return &objectWriter[T]{w: w, codec: rows, group: make([]byte, groupHeaderSize, groupHeaderSize+groupBytes)}
	})
}

// objectWriter writes groups of records.
type objectWriter[T any] struct {
	w     *bufio.Writer
	codec *codec.Codec[T]
	begun bool   // the header is written
	total uint64 // records of all groups
	count uint32 // records of this group
	group []byte // its header, to be filled in, and its rows
}

func (o *objectWriter[T]) write(v *T) error {
	o.group = o.codec.AppendRow(o.group, v)
	o.count++
	if len(o.group)-groupHeaderSize < groupBytes {
		return nil
	}
	return o.flush()
}

func (o *objectWriter[T]) end() error {
	if o.count > 0 {
		if err := o.flush(); err != nil {
			return err
		}
	}
	o.group = binary.LittleEndian.AppendUint64(o.group, o.total)
	return o.flush()
}

// flush writes the group and begins the next one.
func (o *objectWriter[T]) flush() error {
	if !o.begun {
		o.begun = true
		if _, err := o.w.Write(objectHeader(o.codec.Name)); err != nil {
			return err
		}
	}
	size := len(o.group) - groupHeaderSize
	if size > maxGroupBytes {
		return fmt.Errorf("a group of %d records has %d bytes, at most %d fit", o.count, size, maxGroupBytes)
	}
	binary.LittleEndian.PutUint32(o.group[4:], o.count)
	binary.LittleEndian.PutUint32(o.group[8:], uint32(size))
	binary.LittleEndian.PutUint32(o.group, crc32.Checksum(o.group[4:], castagnoli))
	_, err := o.w.Write(o.group)
	o.total += uint64(o.count)
	o.count, o.group = 0, o.group[:groupHeaderSize]
	return err
}

// objectHeader is the start of a file of records of a type.
func objectHeader(name string) []byte {
	b := append([]byte(objectMagic), objectVersion)
	b = append(b, 0, 0, 0, 0) // the checksum
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	binary.LittleEndian.PutUint32(b[len(objectMagic)+1:], crc32.Checksum(b[len(objectMagic)+1+4:], castagnoli))
	return b
}
