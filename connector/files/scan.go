package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/raftstream/raftstream/connector"
)

// limits are those of a scan, in bytes: a line is shorter than a part.
type limits struct{ buffer, part, line int64 }

var usual = limits{buffer: 1 << 20, part: partBytes, line: MaxLine}

// errLater says that a scan stopped where its time ended, and goes on from there.
var errLater = errors.New("the scan is not finished")

// lineError says that a file cannot be taken as it is: trying again does not help.
type lineError struct{ offset, most int64 }

func (e *lineError) Error() string {
	return fmt.Sprintf("the line at byte %d is longer than %d bytes", e.offset, e.most)
}

// scan cuts a file into parts at line ends while it reads it, once. It can be stopped and goes on where it was, so that
// a file of any size gets through in slices of time.
type scan struct {
	parts []cut
	at    int64 // what is before it is read
	open  cut   // the part that is being made, up to the last line end
	sum   uint32
}

// cut is one part of a file.
type cut struct {
	offset, length int64
	crc            uint32
	lines          int64
}

// run scans until the file's size. stop is asked now and then whether the time is over.
func (s *scan) run(f io.ReaderAt, size int64, l limits, stop func() bool) error {
	buf := make([]byte, min(l.buffer, size))
	for s.at < size {
		if stop() {
			return errLater
		}
		most := min(size, s.open.offset+l.part) - s.at
		n, err := f.ReadAt(buf[:min(int64(len(buf)), most)], s.at)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // it has become shorter
			}
			return err
		}
		if err := s.take(buf[:n], l.line); err != nil {
			return err
		}
		switch s.at {
		case size:
			s.last()
		case s.open.offset + l.part:
			s.close()
		}
	}
	return nil
}

// take goes on over the next bytes of the file.
func (s *scan) take(b []byte, longest int64) error {
	begin := s.open.offset + s.open.length // of the line that b goes on with
	if first := bytes.IndexByte(b, '\n'); first < 0 {
		s.sum = crc32.Update(s.sum, castagnoli, b)
		s.at += int64(len(b))
		return tooLong(begin, s.at, longest)
	} else if err := tooLong(begin, s.at+int64(first), longest); err != nil {
		return err
	}
	whole := bytes.LastIndexByte(b, '\n') + 1
	s.sum = crc32.Update(s.sum, castagnoli, b[:whole])
	s.open.length = s.at + int64(whole) - s.open.offset
	s.open.crc = s.sum
	s.open.lines += int64(bytes.Count(b[:whole], []byte{'\n'}))
	s.sum = crc32.Update(s.sum, castagnoli, b[whole:])
	s.at += int64(len(b))
	return nil
}

func tooLong(begin, end, longest int64) error {
	if end-begin > longest {
		return &lineError{begin, longest}
	}
	return nil
}

// close ends the open part at its last line end, and goes back there. A full part has one, because a line is shorter
// than a part.
func (s *scan) close() {
	s.parts = append(s.parts, s.open)
	s.at = s.open.offset + s.open.length
	s.open, s.sum = cut{offset: s.at}, 0
}

// last ends the last part where the file ends; a line may end there too.
func (s *scan) last() {
	if end := s.open.offset + s.open.length; end < s.at {
		s.open.length += s.at - end
		s.open.crc = s.sum
		s.open.lines++
	}
	s.close()
}

// scanFile goes on with the scan of a file. An error that is neither errLater nor a *lineError may be gone next time.
func (p *planner) scanFile(ctx context.Context, path string, f *file, stop func() bool) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was read only
	err = f.scan.run(in, f.size, usual, func() bool { return stop() || ctx.Err() != nil })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !f.is(info) {
		f.look(info, p.now)
		return errLater // it is not complete after all
	}
	return nil
}

// plannedParts makes the parts of a file that is scanned. The first one carries the position: the file is taken whole.
func (f *file) plannedParts() []connector.Part {
	parts := make([]connector.Part, 0, len(f.scan.parts))
	for _, c := range f.scan.parts {
		p := part{
			Version: partVersion, Name: f.name, Size: f.size, MTimeNS: f.mtime.UnixNano(),
			Offset: c.offset, Length: c.length, CRC: c.crc,
		}
		parts = append(parts, connector.Part{Data: p.encode(), Records: c.lines, Bytes: c.length})
	}
	parts[0].Ranges = []connector.Range{{Partition: f.name, First: 1, Last: uint64(f.size)}}
	return parts
}
