package persist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/raftstream/raftstream/internal/vfs"
)

// A file holds one partition (docs/formats/kept.md): the magic, the length of the records in bytes, their CRC32C, then
// the records. It is scratch: it is never synced, and no later process reads it.
const (
	fileMagic  = "RSKP\x00\x00\x00\x01" // the last byte is the version
	fileHeader = len(fileMagic) + 8 + 4
	fileSuffix = ".kept"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("damaged file")

func (s *Store) name(number uint64) string {
	return filepath.Join(s.cfg.Dir, fmt.Sprintf("%016x%s", number, fileSuffix))
}

// clear makes the directory, without files of kept partitions.
func clear(f vfs.FS, dir string) error {
	if err := f.MkdirAll(dir); err != nil {
		return err
	}
	names, err := f.List(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !strings.HasSuffix(n, fileSuffix) {
			continue
		}
		if err := f.Remove(filepath.Join(dir, n)); err != nil {
			return err
		}
	}
	return nil
}

// write writes an entry's chunks to a new file.
func (s *Store) write(name string, e *entry) (err error) {
	free, err := s.cfg.FS.Free(s.cfg.Dir)
	if err != nil {
		return err
	}
	if free < s.cfg.ReserveBytes+uint64(e.size) {
		return fmt.Errorf("%w: %d bytes are free, %d are left to others", vfs.ErrFull, free, s.cfg.ReserveBytes)
	}
	length, sum := uint64(0), uint32(0)
	for _, c := range e.chunks {
		length += uint64(len(c))
		sum = crc32.Update(sum, castagnoli, c)
	}
	head := append(make([]byte, 0, fileHeader), fileMagic...)
	head = binary.LittleEndian.AppendUint64(head, length)
	head = binary.LittleEndian.AppendUint32(head, sum)
	file, err := s.cfg.FS.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(head); err != nil {
		return err
	}
	for _, c := range e.chunks {
		if _, err := file.Write(c); err != nil {
			return err
		}
	}
	return nil
}

// read gives the records of a file of at most size bytes.
func read(f vfs.FS, name string, size int64) ([]byte, error) {
	data, err := vfs.ReadFile(f, name, size+int64(fileHeader))
	if err != nil {
		return nil, err
	}
	if len(data) < fileHeader || string(data[:len(fileMagic)]) != fileMagic {
		return nil, fmt.Errorf("%w: %d bytes are no kept partition of version 1", errDamaged, len(data))
	}
	head, records := data[len(fileMagic):fileHeader], data[fileHeader:]
	if length := binary.LittleEndian.Uint64(head); length != uint64(len(records)) {
		return nil, fmt.Errorf("%w: %d bytes of records, expected %d", errDamaged, len(records), length)
	}
	if sum, want := crc32.Checksum(records, castagnoli), binary.LittleEndian.Uint32(head[8:]); sum != want {
		return nil, fmt.Errorf("%w: records have CRC32C %08x, expected %08x", errDamaged, sum, want)
	}
	return records, nil
}

// remove removes a file that is not needed any more; one that stays is removed at the next start.
func (s *Store) remove(name string) {
	if err := s.cfg.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("a file of a kept partition cannot be removed", "file", name, "error", err)
	}
}
