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

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
)

const (
	temporaryName  = "_temporary"
	fileBufferSize = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// directories is an output that writes a directory per batch.
type directories interface{ directory(at id.Time) string }

// savedFiles is an output of one file per partition, in a directory per batch.
type savedFiles[T any] struct {
	output
	prefix, suffix string
	kind           string // of the files, for people
	format         func(w *bufio.Writer) partWriter[T]
}

// A partWriter writes the records of one part in the format of its files.
type partWriter[T any] interface {
	// write is given the next record, which is valid during the call.
	write(v *T) error
	// end writes what is missing after the last record.
	end() error
}

// saveFiles adds the output operation op.
func (s *DStream[T]) saveFiles(op, kind, prefix, suffix string, format func(w *bufio.Writer) partWriter[T]) {
	out := s.output(op)
	if strings.ContainsAny(suffix, "/\x00") || strings.ContainsRune(prefix, 0) {
		s.c.fail(op, fmt.Errorf("prefix %q, suffix %q: expected a path and an ending without '/'", prefix, suffix))
		return
	}
	o := savedFiles[T]{output: out, prefix: prefix, suffix: suffix, kind: kind, format: format}
	for _, other := range s.c.outputs {
		if d, ok := other.(directories); ok && d.directory(0) == o.directory(0) {
			s.c.fail(op, fmt.Errorf("prefix %q and suffix %q are those of %s already", prefix, suffix, other.Name()))
		}
	}
	s.c.outputs = append(s.c.outputs, o)
}

// directory is where a batch goes (Spark: rddToFileName).
func (o savedFiles[T]) directory(at id.Time) string {
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

// Run writes one part. Where the batch is complete already, the part is left as it is; keyed state goes on by the task
// all the same.
func (o savedFiles[T]) Run(t dataset.Task, d dataset.Dataset, part int) []byte {
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
func (o savedFiles[T]) committed(dir string, app id.App, at id.Time, part int) (*savedPart, error) {
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
func (o savedFiles[T]) write(t dataset.Task, n *lineage.Node[T], dir string, part int) (p *savedPart, err error) {
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
	failpoint.Hit(failpoint.PartSynced)
	if err := os.Rename(temporary, filepath.Join(dir, p.Name)); err != nil {
		return nil, err
	}
	failpoint.Hit(failpoint.PartNamed)
	renamed = true
	return p, syncDir(dir)
}

// fill writes the records of a partition.
func (o savedFiles[T]) fill(f *os.File, t dataset.Task, n *lineage.Node[T], part int) (*savedPart, error) {
	sum := &summed{f: f}
	w := bufio.NewWriterSize(sum, fileBufferSize)
	out := o.format(w)
	p := &savedPart{Name: partName(part)}
	var err error
	v := new(T)
	n.Each(t, part, func(r T) bool {
		*v = r
		if err = out.write(v); err != nil {
			err = fmt.Errorf("record %d as %s: %w", p.Records+1, o.kind, err)
			return false
		}
		p.Records++
		return true
	})
	if err == nil {
		err = out.end()
	}
	if err == nil {
		err = w.Flush()
	}
	p.Bytes, p.CRC32C = sum.n, hexCRC(sum.crc)
	return p, err
}

// summed counts and sums up what is written to a file.
type summed struct {
	f   *os.File
	n   int64
	crc uint32
}

func (s *summed) Write(b []byte) (int, error) {
	n, err := s.f.Write(b)
	s.n += int64(n)
	s.crc = crc32.Update(s.crc, castagnoli, b[:n])
	return n, err
}

// Commit completes the batch's directory: it checks that all parts are there as the tasks wrote them, then writes
// _SUCCESS. The directory of a batch that is complete is left alone.
func (o savedFiles[T]) Commit(ctx context.Context, b dataset.Batch, receipts [][]byte) error {
	dir := o.directory(b.Time)
	s := &success{
		Format: successFormat, Version: successVersion, Application: b.App, BatchMS: b.Time, Output: o.name,
		Parts: make([]savedPart, len(receipts)),
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

func (o savedFiles[T]) commit(ctx context.Context, dir string, s *success) error {
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
