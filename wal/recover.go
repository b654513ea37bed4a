package wal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/raftstream/raftstream/internal/vfs"
)

// recover reads the segments in order, repairs the last one and opens it for appending.
func (l *Log) recover(each func(Position, []byte) error) error {
	if err := l.cfg.FS.MkdirAll(l.cfg.Dir); err != nil {
		return err
	}
	numbers, err := l.list()
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		return l.create(segmentInfo{number: 1, store: l.cfg.Store})
	}
	for i, n := range numbers {
		if err := l.load(n, i == len(numbers)-1, each); err != nil {
			return err
		}
	}
	// What was found may have been written by a process that died before it could sync.
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return err
	}
	return l.clean()
}

// list gives the numbers of the segments, in order, and removes segments that were never finished.
func (l *Log) list() ([]uint64, error) {
	names, err := l.cfg.FS.List(l.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		var n uint64
		if strings.HasSuffix(name, ".wal.tmp") {
			if err := vfs.RemoveIfExists(l.cfg.FS, filepath.Join(l.cfg.Dir, name)); err != nil {
				return nil, err
			}
			continue
		}
		if _, err := fmt.Sscanf(name, segmentPattern, &n); err != nil || fmt.Sprintf(segmentPattern, n) != name {
			return nil, fmt.Errorf("%s is no segment of a log; expected names like %s",
				filepath.Join(l.cfg.Dir, name), fmt.Sprintf(segmentPattern, 1))
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers, nil
}

// load reads a segment; the last one becomes the active one.
func (l *Log) load(number uint64, last bool, each func(Position, []byte) error) (err error) {
	name := l.path(number)
	open := l.cfg.FS.Open
	if last {
		open = l.cfg.FS.Append
	}
	file, err := open(name)
	if err != nil {
		return err
	}
	defer func() {
		if !last || err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	size, err := file.Size()
	if err != nil {
		return err
	}
	info, err := l.readInfo(file, name, number, size)
	if err != nil {
		return err
	}
	seg := &segment{info: info}
	s := scanner{file: file, size: size, salt: info.salt}
	if err := s.scan(func(offset int64, kind uint32, payload []byte) error {
		l.w.proved = kind == kindMark
		if kind == kindMark {
			return nil
		}
		seg.live++
		l.recovered.Records++
		return each(Position{Segment: number, Offset: offset}, payload)
	}); err != nil {
		return err
	}
	if s.damage != nil {
		if err := l.repair(file, name, &s, last); err != nil {
			return err
		}
	}
	seg.size = s.end
	l.segments[number] = seg
	l.active = number
	if !last {
		return nil
	}
	l.w.file, l.w.info, l.w.offset = file, info, s.end
	return file.Sync()
}

// readInfo reads and checks the header of a segment.
func (l *Log) readInfo(file vfs.File, name string, number uint64, size int64) (segmentInfo, error) {
	head := make([]byte, min(size, segmentHeader))
	if _, err := file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return segmentInfo{}, err
	}
	info, err := decodeSegment(head)
	if err != nil {
		return segmentInfo{}, &CorruptionError{File: name, Reason: err.Error()}
	}
	if info.store != l.cfg.Store {
		return segmentInfo{}, &StoreError{File: name, Has: info.store, Want: l.cfg.Store}
	}
	if info.number != number {
		return segmentInfo{}, &CorruptionError{
			File: name, Offset: 16,
			Reason: fmt.Sprintf("it says that it is segment %d, expected %d", info.number, number),
		}
	}
	if prev := l.segments[number-1]; prev != nil && uint64(prev.size) != info.prevSize {
		return segmentInfo{}, &CorruptionError{
			File: l.path(number - 1), Offset: prev.size,
			Reason: fmt.Sprintf("it ends here, expected %d bytes", info.prevSize),
		}
	}
	return info, nil
}

// repair cuts a torn tail off the last segment. Damage that cannot be a torn write is an error.
func (l *Log) repair(file vfs.File, name string, s *scanner, last bool) error {
	damage := &CorruptionError{File: name, Offset: s.end, Reason: s.damage.Error()}
	if !last {
		return damage
	}
	proof, err := s.proof()
	if err != nil {
		return err
	}
	if proof > 0 {
		damage.Reason += fmt.Sprintf("; the record at %d proves that this one was synced", proof)
		return damage
	}
	l.recovered.CutFile, l.recovered.CutAt, l.recovered.CutBytes = name, s.end, s.size-s.end
	if l.cfg.Logger != nil {
		l.cfg.Logger.Warn("cut a torn tail off the log of received blocks", slog.String("file", name),
			slog.Int64("at", s.end), slog.Int64("bytes", s.size-s.end), slog.String("reason", damage.Reason))
	}
	return file.Truncate(s.end)
}

// scanner reads the records of a segment.
type scanner struct {
	file io.ReaderAt
	size int64
	salt uint64

	end    int64 // end of the good records
	damage error // why there are no more before size, nil if there is nothing more
}

// scan gives every good record to each, in order, up to the end or the first damage. An error is one of reading or of
// each.
func (s *scanner) scan(each func(offset int64, kind uint32, payload []byte) error) error {
	in := bufio.NewReaderSize(io.NewSectionReader(s.file, segmentHeader, s.size-segmentHeader), 256<<10)
	s.end = segmentHeader
	var payload []byte
	for s.end < s.size {
		var head [recordHeader]byte
		n, err := io.ReadFull(in, head[:])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		r, err := decodeRecord(head[:n], s.salt, s.end)
		if err != nil {
			s.damage = err
			return nil
		}
		if left := s.size - s.end - recordHeader; int64(r.length) > left {
			s.damage = fmt.Errorf("a record has %d bytes, but %d are left", r.length, left)
			return nil
		}
		payload = slices.Grow(payload[:0], int(r.length))[:r.length]
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		if got := crc32.Checksum(payload, castagnoli); got != r.crc {
			s.damage = fmt.Errorf("checksum of a record is %08x, expected %08x", got, r.crc)
			return nil
		}
		if err := each(s.end, r.kind, payload); err != nil {
			return err
		}
		s.end += recordHeader + int64(r.length)
	}
	return nil
}

// proof looks behind the damage for a record that was written after the damaged one was synced, and gives its offset,
// 0 for none. Records of the damaged one's own group prove nothing: a crash may keep any part of an unsynced write.
func (s *scanner) proof() (int64, error) {
	const chunk = 1 << 20
	magic := binary.LittleEndian.AppendUint32(nil, recordMagic)
	buf := make([]byte, chunk+recordHeader-1)
	for base := s.end + 1; base < s.size; base += chunk {
		n, err := s.file.ReadAt(buf[:min(int64(len(buf)), s.size-base)], base)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for at := 0; at < n; at++ {
			i := bytes.Index(buf[at:n], magic)
			if i < 0 {
				break
			}
			at += i
			r, err := decodeRecord(buf[at:n], s.salt, base+int64(at))
			if err == nil && int64(r.synced) > s.end {
				return base + int64(at), nil
			}
		}
	}
	return 0, nil
}
