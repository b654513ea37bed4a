package files

import (
	"context"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/raftstream/raftstream/connector"
)

// Read yields the lines of a part, as views into one string that holds all of it. Nothing is yielded before the whole
// part is found to be what was planned.
func (s *Source) Read(ctx context.Context, cp connector.Part, yield func(string) bool) error {
	p, err := decodePart(cp.Data)
	if err != nil {
		return err
	}
	text, err := s.load(ctx, p)
	if err != nil {
		return err
	}
	for text != "" {
		line, rest, _ := strings.Cut(text, "\n")
		if !yield(strings.TrimSuffix(line, "\r")) {
			return nil
		}
		text = rest
	}
	return nil
}

// load reads a part and checks it.
func (s *Source) load(ctx context.Context, p *part) (string, error) {
	f, err := os.Open(filepath.Join(s.dir, p.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", p.missing(s.dir, "it does not exist, planned were %d bytes modified at %s", p.Size, p.modified())
	} else if err != nil {
		return "", p.missing(s.dir, "%v", err)
	}
	defer func() { _ = f.Close() }() // it was read only
	if err := p.check(s.dir, f); err != nil {
		return "", err
	}
	var text strings.Builder
	text.Grow(int(p.Length))
	sum := crc32.New(castagnoli)
	if err := copyPart(ctx, &text, sum, io.NewSectionReader(f, p.Offset, p.Length), make([]byte, min(p.Length, copyBuffer))); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", p.missing(s.dir, "read %d bytes at %d: %v", p.Length, p.Offset, err)
	}
	if int64(text.Len()) != p.Length || sum.Sum32() != p.CRC {
		return "", p.missing(s.dir, "%d bytes at %d have checksum %08x, planned were %d with %08x",
			text.Len(), p.Offset, sum.Sum32(), p.Length, p.CRC)
	}
	return text.String(), nil
}

// check compares an open file with the plan.
func (p *part) check(dir string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return p.missing(dir, "%v", err)
	}
	return p.same(dir, info)
}

// copyBuffer is how much is read between two looks at the context.
const copyBuffer = 1 << 20

func copyPart(ctx context.Context, text *strings.Builder, sum hash.Hash32, r io.Reader, buf []byte) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		text.Write(buf[:n])
		sum.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
