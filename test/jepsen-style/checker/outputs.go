package checker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Saved is what an output operation that saves files has written: a directory for each batch (docs/formats/output.md).
type Saved struct {
	Prefix  string
	Batches []SavedBatch // in order of time; the complete ones
}

// SavedBatch is the directory of one batch, which is complete.
type SavedBatch struct {
	Time    int64 // of the batch, in Unix milliseconds
	Dir     string
	App     uint64
	Output  string
	Records int64
	Parts   []string // paths of the files, in order of partition
}

// successFile is the content of _SUCCESS.
type successFile struct {
	Format      string `json:"format"`
	Version     int    `json:"version"`
	Application uint64 `json:"application"`
	BatchMS     int64  `json:"batch_ms"`
	Output      string `json:"output"`
	Parts       []struct {
		Name    string `json:"name"`
		Records int64  `json:"records"`
		Bytes   int64  `json:"bytes"`
		CRC32C  string `json:"crc32c"`
	} `json:"parts"`
	CRC32C string `json:"crc32c"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Outputs reads what SaveAsTextFiles or SaveAsObjectFiles wrote under prefix and suffix, after the application has ended,
// and checks that every directory is complete: its _SUCCESS and all parts are whole, nothing else is there, and no
// temporary name is left. Batches whose times are given up may be incomplete: an application that was stopped at once
// leaves such a one behind.
func Outputs(workload, prefix, suffix string, givenUp ...int64) (*Saved, Result) {
	j := Judging("outputs", workload)
	s := &Saved{Prefix: prefix}
	dirs, err := directories(prefix, suffix)
	if err != nil {
		j.Doubt("%v", err)
		return s, j.Result()
	}
	for at, dir := range dirs {
		b, err := readBatch(dir, at)
		switch {
		case err == nil:
			s.Batches = append(s.Batches, *b)
			j.See("batches", 1)
			j.See("records", b.Records)
		case slices.Contains(givenUp, at):
			j.Found.Counts["given up"]++
		default:
			j.Bad("%v", err)
		}
	}
	slices.SortFunc(s.Batches, func(a, b SavedBatch) int { return int(a.Time - b.Time) })
	for i := range s.Batches {
		if a, b := s.Batches[0], s.Batches[i]; a.App != b.App || a.Output != b.Output {
			j.Bad("%s is of application %d and %s, %s of %d and %s", a.Dir, a.App, a.Output, b.Dir, b.App, b.Output)
		}
	}
	return s, j.Result()
}

// directories finds the directories of batches by time. A prefix without any is nothing to see, not an error.
func directories(prefix, suffix string) (map[int64]string, error) {
	entries, err := os.ReadDir(filepath.Dir(prefix))
	if err != nil {
		return nil, fmt.Errorf("read outputs: %w", err)
	}
	if suffix != "" {
		suffix = "." + suffix
	}
	dirs := map[int64]string{}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(prefix)+"-")
		rest, with := strings.CutSuffix(rest, suffix)
		at, err := strconv.ParseInt(rest, 10, 64)
		if ok && with && err == nil && e.IsDir() {
			dirs[at] = filepath.Join(filepath.Dir(prefix), e.Name())
		}
	}
	return dirs, nil
}

// readBatch reads and checks one directory.
func readBatch(dir string, at int64) (*SavedBatch, error) {
	s, err := readSuccess(filepath.Join(dir, "_SUCCESS"))
	if err != nil {
		return nil, fmt.Errorf("%s is not complete: %w", dir, err)
	}
	if s.BatchMS != at {
		return nil, fmt.Errorf("%s says that it is batch %d", dir, s.BatchMS)
	}
	b := &SavedBatch{Time: at, Dir: dir, App: s.Application, Output: s.Output}
	known := map[string]bool{"_SUCCESS": true}
	for i, p := range s.Parts {
		if want := fmt.Sprintf("part-%05d", i); p.Name != want {
			return nil, fmt.Errorf("%s names %q as part %d, expected %s", dir, p.Name, i, want)
		}
		path := filepath.Join(dir, p.Name)
		n, crc, err := sumOf(path)
		if err != nil {
			return nil, fmt.Errorf("part of a complete batch: %w", err)
		}
		if n != p.Bytes || crc != p.CRC32C {
			return nil, fmt.Errorf("%s has %d bytes with checksum %s, its _SUCCESS says %d with %s", path, n, crc, p.Bytes, p.CRC32C)
		}
		known[p.Name] = true
		b.Parts = append(b.Parts, path)
		b.Records += p.Records
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read a batch: %w", err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			return nil, fmt.Errorf("%s holds %s, which its _SUCCESS does not name", dir, e.Name())
		}
	}
	return b, nil
}

// readSuccess reads a _SUCCESS file and checks its checksum over the very bytes that are there.
func readSuccess(path string) (*successFile, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var s successFile
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s.Format != "raftstream-output" || s.Version != 1 {
		return nil, fmt.Errorf("%s has format %q, version %d", path, s.Format, s.Version)
	}
	text := bytes.TrimSuffix(b, []byte("\n"))
	member := fmt.Appendf(nil, `"crc32c":%q}`, s.CRC32C)
	if !bytes.HasSuffix(text, member) {
		return nil, fmt.Errorf("%s does not end with its checksum", path)
	}
	text = append(bytes.TrimSuffix(text, member), `"crc32c":""}`...)
	if sum := fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)); sum != s.CRC32C {
		return nil, fmt.Errorf("%s has checksum %s, it says %s", path, sum, s.CRC32C)
	}
	return &s, nil
}

// sumOf gives the size and the checksum of a file.
func sumOf(path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close() // only read
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, f)
	return n, fmt.Sprintf("%08x", sum.Sum32()), err
}

// Lines gives the lines of a batch of text files, without their ends, in order of partition. line is valid during the call.
// An error of the function ends it.
func (b *SavedBatch) Lines(each func(line []byte) error) error {
	for _, path := range b.Parts {
		if err := linesOf(path, each); err != nil {
			return err
		}
	}
	return nil
}

// linesOf calls each with every line of a file. A last line without an end is a line.
func linesOf(path string, each func(line []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	lines := bufio.NewReaderSize(f, 256<<10)
	var long []byte // the beginning of a line that does not fit
	for {
		part, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		line := part
		if len(long) > 0 {
			line = append(long, part...)
			long = long[:0]
		}
		if len(line) > 0 {
			if err := each(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
}
