package files

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/raftstream/raftstream/connector"
)

// partVersion is the format of part; docs/formats/parts.md describes it.
const partVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// part is a connector.Part's Data: a run of whole lines of one file, and what the file was when it was planned.
type part struct {
	Version int    `json:"v"`
	Name    string `json:"name"`     // base name
	Size    int64  `json:"size"`     // of the file, in bytes
	MTimeNS int64  `json:"mtime_ns"` // of the file, since 1970
	Offset  int64  `json:"offset"`
	Length  int64  `json:"length"`
	CRC     uint32 `json:"crc32c"` // of the part's bytes
}

func (p *part) encode() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("files: a part of plain fields failed to marshal: " + err.Error())
	}
	return b
}

func decodePart(b []byte) (*part, error) {
	p := &part{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("decode a part of a files plan: %w", err)
	}
	switch {
	case p.Version != partVersion:
		return nil, fmt.Errorf("a part of a files plan has format %d, expected %d", p.Version, partVersion)
	case p.Name == "" || p.Name == "." || p.Name == ".." || filepath.Base(p.Name) != p.Name:
		return nil, fmt.Errorf("a part of a files plan names %q, expected a file of the directory", p.Name)
	case p.Offset < 0 || p.Length < 0 || p.Length > partBytes || p.Offset > p.Size-p.Length:
		return nil, fmt.Errorf("a part of a files plan has %d bytes at %d of file %q of %d bytes", p.Length, p.Offset, p.Name, p.Size)
	}
	return p, nil
}

// missing is a connector.ErrMissing about the part's file.
func (p *part) missing(dir, format string, args ...any) error {
	return fmt.Errorf("%w: file %q of %s: %s", connector.ErrMissing, p.Name, dir, fmt.Sprintf(format, args...))
}

func (p *part) modified() string { return stamp(time.Unix(0, p.MTimeNS)) }

// same checks that the file is what it was when it was planned.
func (p *part) same(dir string, info os.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return p.missing(dir, "it is a %v, expected a regular file", info.Mode().Type())
	case info.Size() != p.Size:
		return p.missing(dir, "it has %d bytes, planned were %d", info.Size(), p.Size)
	case info.ModTime().UnixNano() != p.MTimeNS:
		return p.missing(dir, "it was modified at %s, planned was %s", stamp(info.ModTime()), p.modified())
	}
	return nil
}

// stamp writes a modification time so that it can be compared.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }
