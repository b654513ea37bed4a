package dstream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/raftstream/raftstream/internal/codec"
)

// ReadObjectFiles gives the records of a directory that SaveAsObjectFiles has completed, in the order of partitions. An
// error is the last thing that it gives: a directory without _SUCCESS, records of another type, or damage, which is
// noticed before a record of the damaged group is given. Strings are views into what was read: strings.Clone what is
// kept for long.
func ReadObjectFiles[T any](dir string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := readObjects(dir, func(v T) bool { return yield(v, nil) })
		if err != nil && !errors.Is(err, errStopped) {
			yield(*new(T), fmt.Errorf("object files of %s: %w", dir, err))
		}
	}
}

// errStopped says that the consumer wants no more.
var errStopped = errors.New("stopped")

func readObjects[T any](dir string, yield func(T) bool) error {
	rows, err := codec.For[T]()
	if err != nil {
		return err
	}
	s, err := readSuccess(dir)
	if err != nil {
		return err
	}
	if s == nil {
		return fmt.Errorf("the batch is not complete: there is no %s", successName)
	}
	for i := range s.Parts {
		if err := readObjectPart(dir, &s.Parts[i], rows, yield); err != nil {
			return err
		}
	}
	return nil
}

// readObjectPart reads the file of a part and compares it with what _SUCCESS says of it.
func readObjectPart[T any](dir string, p *savedPart, rows *codec.Codec[T], yield func(T) bool) error {
	f, err := os.Open(filepath.Join(dir, p.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != p.Bytes {
		return fmt.Errorf("%s has %d bytes, expected %d", p.Name, info.Size(), p.Bytes)
	}
	r := &objectReader[T]{codec: rows, left: p.Bytes, sum: crc32.New(castagnoli)}
	r.r = bufio.NewReaderSize(io.TeeReader(io.LimitReader(f, p.Bytes), r.sum), fileBufferSize)
	if err := r.read(yield); err != nil {
		if !errors.Is(err, errStopped) {
			err = fmt.Errorf("%s, after %d records: %w", p.Name, r.records, err)
		}
		return err
	}
	if crc := hexCRC(r.sum.Sum32()); crc != p.CRC32C || r.records != p.Records {
		return fmt.Errorf("%s has %d records and checksum %s, expected %d and %s", p.Name, r.records, crc, p.Records, p.CRC32C)
	}
	return nil
}

// objectReader reads one file.
type objectReader[T any] struct {
	r       *bufio.Reader
	sum     hash.Hash32
	codec   *codec.Codec[T]
	left    int64 // bytes of the file
	records int64 // given so far
}

// take reads n bytes into memory of their own.
func (o *objectReader[T]) take(n int, what string) ([]byte, error) {
	if int64(n) > o.left {
		return nil, fmt.Errorf("%s is cut off: %d bytes expected, %d left", what, n, o.left)
	}
	o.left -= int64(n)
	b := make([]byte, n)
	_, err := io.ReadFull(o.r, b)
	return b, err
}

// read gives the records of all groups and checks that the last group is the end of the file.
func (o *objectReader[T]) read(yield func(T) bool) error {
	if err := o.header(); err != nil {
		return err
	}
	for {
		h, err := o.take(groupHeaderSize, "a group")
		if err != nil {
			return err
		}
		crc, count, size := binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint32(h[8:])
		if size > maxGroupBytes {
			return fmt.Errorf("a group of %d bytes, at most %d expected", size, maxGroupBytes)
		}
		b, err := o.take(int(size), "a group")
		if err != nil {
			return err
		}
		if crc32.Update(crc32.Checksum(h[4:], castagnoli), castagnoli, b) != crc {
			return errors.New("a group is damaged: its checksum is wrong")
		}
		if count == 0 {
			return o.end(b)
		}
		if err := o.group(b, count, yield); err != nil {
			return err
		}
	}
}

// header checks that the file holds records of T.
func (o *objectReader[T]) header() error {
	b, err := o.take(objectHeaderSize, "the header")
	if err != nil {
		return err
	}
	if string(b[:len(objectMagic)]) != objectMagic {
		return errors.New("this is no object file")
	}
	if v := b[len(objectMagic)]; v != objectVersion {
		return fmt.Errorf("format version %d, expected %d", v, objectVersion)
	}
	b = b[len(objectMagic)+1:]
	crc, size := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if size > maxObjectType {
		return fmt.Errorf("the name of the type has %d bytes, at most %d expected", size, maxObjectType)
	}
	name, err := o.take(int(size), "the name of the type")
	if err != nil {
		return err
	}
	if crc32.Update(crc32.Checksum(b[4:8], castagnoli), castagnoli, name) != crc {
		return errors.New("the header is damaged: its checksum is wrong")
	}
	if string(name) != o.codec.Name {
		return fmt.Errorf("the records are of type %s, expected %s", name, o.codec.Name)
	}
	return nil
}

func (o *objectReader[T]) group(b []byte, count uint32, yield func(T) bool) (err error) {
	var v T
	for range count {
		if b, err = o.codec.ReadRow(b, &v); err != nil {
			return err
		}
		o.records++
		if !yield(v) {
			return errStopped
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%d bytes after the last record of a group", len(b))
	}
	return nil
}

// end checks the last group.
func (o *objectReader[T]) end(b []byte) error {
	if len(b) != groupTotalSize || binary.LittleEndian.Uint64(b) != uint64(o.records) || o.left > 0 {
		return errors.New("the last group does not fit the file")
	}
	return nil
}
