package dstream

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
)

const (
	temporaryName  = "_temporary"
	textBufferSize = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SaveAsTextFiles writes every batch as a directory <prefix>-<batch ms>[.<suffix>] of one file per partition, with one
// record a line: a KV as key, tab, value; what has AppendText or MarshalText by that; anything else by Go's default
// format. The directory is complete when it holds _SUCCESS, which names the application, the parts and their checksums;
// nothing partial is ever visible under its final name, and a batch that is run again changes nothing (rule 13).
//
// prefix must lead to the same directory on every executor: the coordinator looks for what the others wrote. A relative
// one counts from the working directory of each process. Applications that run at the same time need prefixes of
// their own.
func (s *DStream[T]) SaveAsTextFiles(prefix, suffix string) {
	out := s.output("saveAsTextFiles")
	if strings.ContainsAny(suffix, "/\x00") || strings.ContainsRune(prefix, 0) {
		s.c.fail("saveAsTextFiles", fmt.Errorf("prefix %q, suffix %q: expected a path and an ending without '/'", prefix, suffix))
		return
	}
	o := textFiles[T]{output: out, prefix: prefix, suffix: suffix, text: rdd.TextOf[T]()}
	for _, other := range s.c.outputs {
		if d, ok := other.(directories); ok && d.directory(0) == o.directory(0) {
			s.c.fail("saveAsTextFiles", fmt.Errorf("prefix %q and suffix %q are those of %s already", prefix, suffix, other.Name()))
		}
	}
	s.c.outputs = append(s.c.outputs, o)
}

// directories is an output that writes a directory per batch.
type directories interface{ directory(at id.Time) string }

type textFiles[T any] struct {
	output
	prefix, suffix string
	text           rdd.Text[T]
}

// directory is where a batch goes (Spark: rddToFileName).
func (o textFiles[T]) directory(at id.Time) string {
	name := fmt.Sprint(int64(at))
	if o.prefix != "" {
		name = o.prefix + "-" + name
	}
	if o.suffix != "" {
		name += "." + o.suffix
	}
	return name
}

func partName(part int) string { return fmt.Sprintf("part-%05d", part) }

// Run writes one part. Where the batch is complete already, the part is left as it is.
func (o textFiles[T]) Run(t dataset.Task, d dataset.Dataset, part int) []byte {
	b := t.Batch()
	dir := o.directory(b.Time)
	if p, err := o.committed(dir, b.App, b.Time, part); err != nil {
		t.Fail(err)
	} else if p != nil && p.verify(dir) == nil {
		return p.receipt()
	}
	p, err := o.write(t, node[T](t, d), dir, part)
	if err != nil {
		t.Fail(fmt.Errorf("%s, partition %d: %w", o.name, part, err))
	}
	return p.receipt()
}

// committed gives the part as the batch's _SUCCESS has it; nil if there is none.
func (o textFiles[T]) committed(dir string, app id.App, at id.Time, part int) (*textPart, error) {
	s, err := readSuccess(dir)
	if s == nil || err != nil {
		return nil, err
	}
	if err := s.belongs(dir, app, at, o.name); err != nil {
		return nil, err
	}
	if part >= len(s.Parts) {
		return nil, fmt.Errorf("%s is complete with %d parts, partition %d is not among them", dir, len(s.Parts), part)
	}
	return &s.Parts[part], nil
}

// write writes the part under a name of its own and renames it when it is synced. The deferred clean-up also runs when
// the task is unwound.
func (o textFiles[T]) write(t dataset.Task, n *lineage.Node[T], dir string, part int) (p *textPart, err error) {
	b := t.Batch()
	if err := makeDir(filepath.Join(dir, temporaryName)); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s.%d.%d.%s", partName(part), b.Attempt, b.Try, rand.Text())
	temporary := filepath.Join(dir, temporaryName, name)
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	renamed := false
	defer func() {
		if !renamed {
			// What stays behind after a failure here is removed with the directory when the batch is complete.
			_ = f.Close()
			_ = os.Remove(temporary)
		}
	}()
	if p, err = o.fill(f, t, n, part); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	// Another run of the batch may have completed it meanwhile.
	if done, err := o.committed(dir, b.App, b.Time, part); err != nil {
		return nil, err
	} else if done != nil && *done != *p {
		return nil, fmt.Errorf("%s is complete and holds another %s: %+v, now %+v (do the functions depend on more than their arguments?)",
			dir, p.Name, *done, *p)
	}
	if err := os.Rename(temporary, filepath.Join(dir, p.Name)); err != nil {
		return nil, err
	}
	renamed = true
	return p, syncDir(dir)
}

// fill writes the records of a partition as lines.
func (o textFiles[T]) fill(f *os.File, t dataset.Task, n *lineage.Node[T], part int) (*textPart, error) {
	p := &textPart{Name: partName(part)}
	w := bufio.NewWriterSize(f, textBufferSize)
	var line []byte
	var crc uint32
	var err error
	v := new(T)
	n.Each(t, part, func(r T) bool {
		*v = r
		if line, err = o.text(line[:0], v); err != nil {
			err = fmt.Errorf("record %d as text: %w", p.Records+1, err)
			return false
		}
		line = append(line, '\n')
		crc = crc32.Update(crc, castagnoli, line)
		p.Records++
		p.Bytes += int64(len(line))
		_, err = w.Write(line)
		return err == nil
	})
	if err == nil {
		err = w.Flush()
	}
	p.CRC32C = hexCRC(crc)
	return p, err
}

// Commit completes the batch's directory: it checks that all parts are there as the tasks wrote them, then writes
// _SUCCESS. The directory of a batch that is complete is left alone.
func (o textFiles[T]) Commit(ctx context.Context, b dataset.Batch, receipts [][]byte) error {
	dir := o.directory(b.Time)
	s := &success{
		Format: successFormat, Version: successVersion, Application: b.App, BatchMS: b.Time, Output: o.name,
		Parts: make([]textPart, len(receipts)),
	}
	for i, r := range receipts {
		if err := json.Unmarshal(r, &s.Parts[i]); err != nil {
			return fmt.Errorf("%s: receipt of partition %d: %w", o.name, i, err)
		}
	}
	if err := o.commit(ctx, dir, s); err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	return nil
}

func (o textFiles[T]) commit(ctx context.Context, dir string, s *success) error {
	done, err := readSuccess(dir)
	if err != nil {
		return err
	}
	if done != nil {
		if err := done.belongs(dir, s.Application, s.BatchMS, o.name); err != nil {
			return err
		}
		if !done.equal(s) {
			return fmt.Errorf("%s is complete and holds other parts than this run of the batch made", dir)
		}
		return os.RemoveAll(filepath.Join(dir, temporaryName))
	}
	if err := makeDir(dir); err != nil {
		return err
	}
	for i := range s.Parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.Parts[i].verify(dir); err != nil {
			where, _ := filepath.Abs(dir) // for people; dir itself is in err
			return fmt.Errorf("%w (do all executors share the directory %s?)", err, where)
		}
	}
	if err := s.alone(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, temporaryName)); err != nil {
		return err
	}
	if err := s.write(dir); err != nil {
		return err
	}
	// Who made the directory may have died before its name was durable.
	return syncDir(filepath.Dir(dir))
}

// makeDir makes a directory and its parents, and syncs what was made.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrNotExist) {
		if err = makeDir(filepath.Dir(dir)); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if errors.Is(err, os.ErrExist) {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is a file, expected a directory", dir)
		}
		return err
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// syncDir makes names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
