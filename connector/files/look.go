package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"
)

// file is what the planner has seen of a file of the directory. It only delays a file, or saves reading it again: a
// planner that starts anew comes to the same plans, later.
type file struct {
	name    string
	size    int64
	mtime   time.Time
	since   time.Time // when it was first seen with this size and time
	scan    scan
	wrong   string // why it is not taken, or what happened to it after it was; "" where all is well
	refused bool   // it will not be taken as it is
}

// look notes what a file is now. A file that has changed is looked at from the beginning.
func (f *file) look(info os.FileInfo, now time.Time) {
	if f.is(info) {
		return
	}
	*f = file{name: f.name, size: info.Size(), mtime: info.ModTime(), since: now}
}

func (f *file) is(info os.FileInfo) bool {
	return !f.since.IsZero() && f.size == info.Size() && f.mtime.Equal(info.ModTime())
}

// before is the order in which files are taken: as they were modified, then by name.
func (f *file) before(other *file) bool {
	if !f.mtime.Equal(other.mtime) {
		return f.mtime.Before(other.mtime)
	}
	return f.name < other.name
}

// mark names the file for who removes files.
func (f *file) mark() string { return stamp(f.mtime) + " " + f.name }

// listChunk is how many names are read from the directory at once.
const listChunk = 1024

// list gives the names of the files that may be taken, in the directory's order, and complains about others that look
// like it.
func list(ctx context.Context, dir string) (names, strange []string, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list the directory of the source, which every executor must see: %w", err)
	}
	defer func() { _ = d.Close() }() // it was read only
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, context.Cause(ctx)
		}
		entries, err := d.ReadDir(listChunk)
		for _, e := range entries {
			name := e.Name()
			switch {
			case temporary(name) || !(e.Type().IsRegular() || e.Type()&os.ModeSymlink != 0):
			case !utf8.ValidString(name):
				strange = append(strange, fmt.Sprintf("file %q: its name is not UTF-8; rename it", name))
			default:
				names = append(names, name)
			}
		}
		if len(names)+len(strange) > MaxFiles {
			return nil, nil, fmt.Errorf("%s holds more than %d files: remove those that have been taken and cleaned, up to the mark of the stream", dir, MaxFiles)
		}
		if errors.Is(err, io.EOF) {
			return names, strange, nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("list the directory of the source: %w", err)
		}
	}
}
