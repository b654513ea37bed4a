package programs

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"
	"strconv"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

type journalParams struct {
	Dir string `json:"dir"` // of the sink and of object files, on a path that all nodes share
}

// Objects is the prefix, below the folder, of the object files that program journal writes.
const Objects = "objects"

// journal brings every record to a transactional sink, and writes it as object files.
func journal(c *dstream.Context, p journalParams) error {
	lines := ingest.TextStream(c)
	dstream.To(lines, Journal(p))
	lines.SaveAsObjectFiles(filepath.Join(p.Dir, Objects), "")
	return nil
}

// Journal is a transactional sink of files. Parts are written where nobody looks, under names that no other attempt has;
// a commit is a file that names the parts of a batch, made by a link, of which the file system lets one succeed: later
// ones change nothing, whoever makes them, and note that they came.
type Journal struct{ Dir string }

// Part is the receipt of a written partition, and what a commit says of it.
type Part struct {
	File    string `json:"file"`
	Index   int    `json:"index"`
	Count   int    `json:"count"`
	Attempt int    `json:"attempt"`
	Records int64  `json:"records"`
	CRC32C  uint32 `json:"crc32c"`
}

// Committed is the content of a commit, or of a note of one that came late.
type Committed struct {
	Output string `json:"output"`
	Time   int64  `json:"time_ms"`
	Parts  []Part `json:"parts"`
	// Later is a batch that was committed before this one although its time is later, 0 for none: first commits come in
	// the order of times.
	Later int64 `json:"later,omitempty"`
}

// Folders of a Journal below its own.
const (
	JournalParts   = "parts"
	JournalCommits = "commits"
	JournalLate    = "late"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write writes a part under a name of its own.
func (j Journal) Write(ctx context.Context, p connector.Partition, seq iter.Seq[string]) (_ []byte, err error) {
	dir, err := j.folder(JournalParts)
	if err != nil {
		return nil, err
	}
	part := Part{
		File:  fmt.Sprintf("%s-%d-%d-%d-%s", p.Output, p.Time.UnixMilli(), p.Index, p.Attempt, rand.Text()),
		Index: p.Index, Count: p.Count, Attempt: p.Attempt,
	}
	f, err := os.OpenFile(filepath.Join(dir, part.File), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := crc32.New(castagnoli)
	w := bufio.NewWriter(f)
	for line := range seq {
		line += "\n"
		_, _ = sum.Write([]byte(line)) // never fails
		if _, err := w.WriteString(line); err != nil {
			return nil, err
		}
		part.Records++
	}
	part.CRC32C = sum.Sum32()
	if err := errors.Join(w.Flush(), f.Sync(), ctx.Err()); err != nil {
		return nil, err
	}
	return json.Marshal(part)
}

// Commit makes the commit, if there is none.
func (j Journal) Commit(_ context.Context, b connector.Batch, receipts [][]byte) error {
	c := Committed{Output: b.Output, Time: b.Time.UnixMilli(), Parts: []Part{}}
	for _, r := range receipts {
		var p Part
		if err := json.Unmarshal(r, &p); err != nil {
			return fmt.Errorf("receipt %q: %w", r, err)
		}
		c.Parts = append(c.Parts, p)
	}
	dir, err := j.folder(JournalCommits)
	if err != nil {
		return err
	}
	if c.Later, err = later(dir, c.Time); err != nil {
		return err
	}
	content, err := json.Marshal(c)
	if err != nil {
		return err
	}
	err = once(filepath.Join(dir, strconv.FormatInt(c.Time, 10)), content)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	late, err := j.folder(JournalLate)
	if err != nil {
		return err
	}
	return replace(filepath.Join(late, fmt.Sprintf("%d-%s", c.Time, rand.Text())), content)
}

func (j Journal) folder(name string) (string, error) {
	dir := filepath.Join(j.Dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// later gives the highest batch time that is committed, if it is after t.
func later(dir string, t int64) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	highest := int64(0)
	for _, e := range entries {
		if at, err := strconv.ParseInt(e.Name(), 10, 64); err == nil && at > t {
			highest = max(highest, at)
		}
	}
	return highest, nil
}

// once makes a file with its whole content, durable, or fails with os.ErrExist where there is one.
func once(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
