package dstream

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	successName      = "_SUCCESS"
	temporarySuccess = "._SUCCESS." // then something random

	successFormat  = "raftstream-output"
	successVersion = 1
	maxSuccess     = 64 << 20 // bytes of a _SUCCESS file, several times MaxPartitions parts
)

// success is the content of _SUCCESS (docs/formats/output.md).
type success struct {
	Format      string      `json:"format"`
	Version     int         `json:"version"`
	Application id.App      `json:"application"`
	BatchMS     id.Time     `json:"batch_ms"`
	Output      string      `json:"output"`
	Parts       []savedPart `json:"parts"`
	CRC32C      string      `json:"crc32c"` // of this JSON with an empty crc32c
}

// savedPart describes one part file; it is also the receipt of the task that wrote it.
type savedPart struct {
	Name    string `json:"name"`
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"`
	CRC32C  string `json:"crc32c"`
}

func hexCRC(crc uint32) string { return fmt.Sprintf("%08x", crc) }

func (p *savedPart) receipt() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("dstream: a part of plain fields failed to marshal: " + err.Error())
	}
	return b
}

// verify reads the part's file and compares it with its description.
func (p *savedPart) verify(dir string) error {
	f, err := os.Open(filepath.Join(dir, p.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if crc := hexCRC(sum.Sum32()); n != p.Bytes || crc != p.CRC32C {
		return fmt.Errorf("%s has %d bytes with checksum %s, expected %d with %s", f.Name(), n, crc, p.Bytes, p.CRC32C)
	}
	return nil
}

// encode gives the file's content, with its checksum.
func (s success) encode() []byte {
	marshal := func() []byte {
		b, err := json.Marshal(s)
		if err != nil {
			panic("dstream: a list of parts failed to marshal: " + err.Error())
		}
		return b
	}
	s.CRC32C = ""
	s.CRC32C = hexCRC(crc32.Checksum(marshal(), castagnoli))
	return append(marshal(), '\n')
}

// readSuccess reads a directory's _SUCCESS; nil if there is none.
func readSuccess(dir string) (*success, error) {
	f, err := os.Open(filepath.Join(dir, successName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSuccess+1))
	if err != nil {
		return nil, err
	}
	var s success
	if len(b) > maxSuccess || json.Unmarshal(b, &s) != nil || s.Format != successFormat {
		return nil, fmt.Errorf("%s was not written by raftstream, or is damaged", f.Name())
	}
	if s.Version != successVersion {
		return nil, fmt.Errorf("%s has format version %d, expected %d", f.Name(), s.Version, successVersion)
	}
	if !bytes.Equal(s.encode(), b) {
		return nil, fmt.Errorf("%s is damaged: its checksum is wrong", f.Name())
	}
	return &s, nil
}

// belongs checks that the directory is the application's own, for the same batch and output.
func (s *success) belongs(dir string, app id.App, at id.Time, output string) error {
	switch {
	case s.Application != app:
		return fmt.Errorf("%s holds a complete batch of application %d, and application %d was to write there: give each its own prefix", dir, s.Application, app)
	case s.BatchMS != at || s.Output != output:
		return fmt.Errorf("%s holds batch %d of output %q, expected batch %d of %q", dir, s.BatchMS, s.Output, at, output)
	}
	return nil
}

func (s *success) equal(o *success) bool { return slices.Equal(s.Parts, o.Parts) }

// alone checks that the directory holds no parts but those of s: a reader would take them for results. It removes what
// an interrupted write of _SUCCESS left.
func (s *success) alone(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporarySuccess) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
		known := slices.ContainsFunc(s.Parts, func(p savedPart) bool { return p.Name == e.Name() })
		if !known && strings.HasPrefix(e.Name(), "part-") {
			return fmt.Errorf("%s is not of this batch: remove it, or give the application its own prefix", filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

// write makes the file visible under its name when it is durable.
func (s *success) write(dir string) error {
	failpoint.Hit(failpoint.OutputSuccess)
	temporary := filepath.Join(dir, temporarySuccess+rand.Text())
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(s.encode())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temporary, filepath.Join(dir, successName))
	}
	if err != nil {
		_ = os.Remove(temporary) // the error that counts is err
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	failpoint.Hit(failpoint.OutputCommitted)
	return nil
}
