// Package files owns the source that reads the text files of a directory: complete files, each once, in the batch that
// was planned to read it (rule 12). It promises that every line is in exactly one batch, whatever fails between the plan
// and the end of the batch, and that a file which is not what it was when it was planned is never read as if it were. It
// must not know the engine.
//
// Every executor must see the directory under the same path, and whoever writes the files follows three rules: a file is
// complete when it stops changing (or is renamed into place when it is complete), it never changes afterwards, and its
// name is never used again.
package files

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
)

const (
	// MaxFiles bounds the files of the directory that are looked at, and the names whose position is kept. Files that
	// were taken have to be removed before there are more.
	MaxFiles = 10_000
	// MaxLine bounds a line in bytes, without its end. A file with a longer one is not taken.
	MaxLine = 16 << 20

	// partBytes bounds a part: what one task reads, and holds in memory.
	partBytes = 32 << 20
	// defaultSettle is long enough for a writer that writes a file in one go.
	defaultSettle = time.Second
)

// Option changes a default of the stream.
type Option func(*Source) error

// Settle says for how long a file must have the same size and modification time before it is taken; 1 s if it is not
// said. 0 takes a file when it is first seen: for files that are renamed into the directory when they are complete.
func Settle(d time.Duration) Option {
	return func(s *Source) error {
		if d < 0 {
			return fmt.Errorf("Settle(%v): expected 0 or more", d)
		}
		s.settle = d
		return nil
	}
}

// TextStream is the stream of the lines of the files in dir (Spark: textFileStream). Sub-directories are not entered;
// names that begin with '.' or '_' or end in '~', '.tmp', '.part' or '._COPYING_' are left alone. A line ends in "\n" or
// "\r\n", or where its file ends.
func TextStream(c *dstream.Context, dir string, opts ...Option) *dstream.DStream[string] {
	s, err := New(dir, opts...)
	return dstream.DirectStream(c, s, dstream.Source("files"), dstream.Check(err))
}

// Source reads the text files of a directory. A partition of it is a file, by its base name; the position of a file is
// the number of its bytes, when it was taken.
type Source struct {
	dir    string
	settle time.Duration

	mu      sync.Mutex // held while a plan is made
	planner planner
}

var _ connector.DirectSource[string] = (*Source)(nil)

// New makes the source of dir. A relative path counts from the working directory of each process.
func New(dir string, opts ...Option) (*Source, error) {
	s := &Source{dir: dir, settle: defaultSettle}
	var errs []error
	if dir == "" || strings.ContainsRune(dir, 0) {
		errs = append(errs, fmt.Errorf("directory %q, expected a path that every executor sees", dir))
	}
	for _, o := range opts {
		errs = append(errs, o(s))
	}
	return s, errors.Join(errs...)
}

// temporary tells whether a name is one that writers and copying programs give to files that are not complete.
func temporary(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	for _, end := range []string{"~", ".tmp", ".part", "._COPYING_"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
