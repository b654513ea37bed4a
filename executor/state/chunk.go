package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// A chunk of a checkpoint is described in docs/formats/checkpoint.md.
const (
	chunkVersion = 1
	chunkHeader  = 60
	// chunkBytes is about how long a chunk is; State.Encode may make it twice as long.
	chunkBytes = 4 << 20
	// full and last are the bits of a chunk's flags.
	flagFull, flagLast = 1, 2
)

// magic begins a chunk. Its last byte is no text.
const magic = "RSSTA\r\n\x1a"

// header binds a chunk to its place, so that a piece that is not the one that was asked for is found out. The bytes
// themselves are guarded by the CRC32C of the block in which they travel.
type header struct {
	app     id.App
	stream  id.Stream
	part    int
	version job.Version // that the whole of the chunks leads to
	since   id.Time     // version that changes are given against; that of version if full
	number  int         // from 0, of the chunks that lead to version
	full    bool
	last    bool // no more chunks lead to version
}

func (h *header) append(b []byte) []byte {
	var flags uint32
	if h.full {
		flags |= flagFull
	}
	if h.last {
		flags |= flagLast
	}
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, chunkVersion)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.app))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.stream))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.part))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.version.Time))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.version.Attempt))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.since))
	return binary.LittleEndian.AppendUint32(b, uint32(h.number))
}

func parseHeader(b []byte) (h header, err error) {
	if len(b) < chunkHeader || string(b[:len(magic)]) != magic {
		return h, fmt.Errorf("%d bytes that are no chunk of keyed state", len(b))
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != chunkVersion {
		return h, fmt.Errorf("chunk of version %d, this program reads version %d", v, chunkVersion)
	}
	flags := binary.LittleEndian.Uint32(b[12:])
	h = header{
		app:    id.App(binary.LittleEndian.Uint64(b[16:])),
		stream: id.Stream(binary.LittleEndian.Uint32(b[24:])),
		part:   int(binary.LittleEndian.Uint32(b[28:])),
		version: job.Version{
			Time:    id.Time(binary.LittleEndian.Uint64(b[32:])),
			Attempt: id.Attempt(binary.LittleEndian.Uint64(b[40:])),
		},
		since:  id.Time(binary.LittleEndian.Uint64(b[48:])),
		number: int(binary.LittleEndian.Uint32(b[56:])),
		full:   flags&flagFull != 0,
		last:   flags&flagLast != 0,
	}
	return h, nil
}

// encode makes chunks of a state. A full image has at least one, also of an empty partition, so that a partition whose
// pieces are lost is never taken for an empty one; no change makes no chunk. The last chunk says that it is the last.
func encode(
	ctx context.Context, app id.App, at job.Held, s dataset.State, full bool, since id.Time, each func(chunk []byte, rows int64) error,
) error {
	h := header{app: app, stream: at.Stream, part: at.Part, version: at.Version, since: since, full: full}
	if full {
		h.since = at.Version.Time
	}
	var err error
	var held []byte // a chunk waits for the next one: whether it is the last is not known before
	var rows int64
	send := func(last bool) bool {
		h.last = last
		h.append(held[:0])
		err = each(held, rows)
		h.number++
		return err == nil
	}
	s.Encode(since, full, chunkBytes, func(chunk []byte, n int64) bool {
		if err = context.Cause(ctx); err != nil {
			return false
		}
		if held != nil && !send(false) {
			return false
		}
		held = append(make([]byte, chunkHeader, chunkHeader+len(chunk)), chunk...)
		rows = n
		return true
	})
	if err != nil {
		return err
	}
	if held == nil && full {
		held, rows = make([]byte, chunkHeader), 0
	}
	if held != nil {
		send(true)
	}
	return err
}

// Restore decodes the chunks of a partition's chain into an empty state: a full image, and changes that follow each
// other up to the version asked for, or end before it where nothing changed after. What is out of its place, or
// missing in the middle, is an error, and the state is of no use then.
func Restore(app id.App, at job.Held, into dataset.State, chunks iter.Seq2[[]byte, error]) error {
	prev := header{last: true, version: job.Version{Time: math.MinInt64}}
	n := 0
	for chunk, err := range chunks {
		if err != nil {
			return fmt.Errorf("%s: %w", name(at), err)
		}
		h, err := parseHeader(chunk)
		if err == nil {
			err = h.follows(&prev, app, at, n)
		}
		if err == nil && len(chunk) > chunkHeader {
			err = into.Decode(chunk[chunkHeader:], h.version.Time)
		}
		if err != nil {
			return fmt.Errorf("%s, piece %d of its checkpoint: %w", name(at), n, err)
		}
		prev = h
		n++
	}
	if n == 0 || !prev.last {
		return fmt.Errorf("%s: its checkpoint ends after %d pieces, more are expected", name(at), n)
	}
	return nil
}

// follows checks that a chunk is the one that comes after prev.
func (h *header) follows(prev *header, app id.App, at job.Held, n int) error {
	switch {
	case h.app != app || h.stream != at.Stream || h.part != at.Part:
		return fmt.Errorf("it is of application %d, stream %d, partition %d", h.app, h.stream, h.part)
	case h.version.Time > at.Version.Time:
		return fmt.Errorf("it leads to %d, which is later", h.version.Time)
	case n == 0 && !h.full:
		return fmt.Errorf("it has changes after %d, expected an image", h.since)
	case n > 0 && h.full && prev.last:
		return fmt.Errorf("it begins an image in the middle")
	case prev.last && h.number != 0 || !prev.last && (h.number != prev.number+1 || h.version != prev.version || h.full != prev.full):
		return fmt.Errorf("it is chunk %d of version %d, after chunk %d of version %d", h.number, h.version.Time, prev.number, prev.version.Time)
	case prev.last && !h.full && (h.since < prev.version.Time || h.version.Time <= h.since):
		return fmt.Errorf("it has changes from %d to %d, expected changes after %d", h.since, h.version.Time, prev.version.Time)
	}
	return nil
}
