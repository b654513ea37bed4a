package dstream

import (
	"bufio"
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/id"
)

// FuzzObjectFile reads arbitrary bytes, with checksums made right so that what is behind them is reached: an error, or
// records that are written as the same groups.
func FuzzObjectFile(f *testing.F) {
	rows, err := codec.For[KV[string, []int64]]()
	if err != nil {
		f.Fatal(err)
	}
	var w bytes.Buffer
	out := bufio.NewWriter(&w)
	o := &objectWriter[KV[string, []int64]]{w: out, codec: rows, group: make([]byte, groupHeaderSize)}
	for _, v := range []KV[string, []int64]{{Key: "a", Value: []int64{1, 2}}, {}} {
		if err := o.write(&v); err != nil {
			f.Fatal(err)
		}
	}
	if err := errors.Join(o.end(), out.Flush()); err != nil {
		f.Fatal(err)
	}
	header := objectHeader(rows.Name)
	f.Add(w.Bytes()[len(header):], true)
	f.Add(w.Bytes()[len(header):], false)
	f.Add([]byte{0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 1}, true)
	f.Fuzz(func(t *testing.T, groups []byte, mend bool) {
		b := append(bytes.Clone(header), groups...)
		if mend {
			mendGroups(b[len(header):])
		}
		r := &objectReader[KV[string, []int64]]{codec: rows, left: int64(len(b)), sum: crc32.New(castagnoli)}
		r.r = bufio.NewReader(bytes.NewReader(b))
		n := int64(0)
		err := r.read(func(KV[string, []int64]) bool { n++; return true })
		if n != r.records || err == nil && r.left != 0 {
			t.Errorf("%d records given, %d counted, %d bytes left, error %v", n, r.records, r.left, err)
		}
	})
}

// mendGroups makes the checksums of groups right, as far as there are groups.
func mendGroups(b []byte) {
	for len(b) >= groupHeaderSize {
		size := int(uint32(b[8]) | uint32(b[9])<<8 | uint32(b[10])<<16 | uint32(b[11])<<24)
		if size > len(b)-groupHeaderSize {
			return
		}
		crc := crc32.Checksum(b[4:groupHeaderSize+size], castagnoli)
		b[0], b[1], b[2], b[3] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
		b = b[groupHeaderSize+size:]
	}
}

// Conformance: "saveAs file names".
func TestSaveAsFileNames(t *testing.T) {
	for _, c := range []struct {
		prefix, suffix string
		at             id.Time
		want           string
	}{
		{"p", "txt", 1000, "p-1000.txt"},
		{"p", "", 1000, "p-1000"},
		{"", "txt", 1000, "1000.txt"},
		{"", "", 1000, "1000"},
		{"hdfs://x/dir/p", "", 2500, "hdfs://x/dir/p-2500"},
	} {
		if got := (savedFiles[int]{prefix: c.prefix, suffix: c.suffix}).directory(c.at); got != c.want {
			t.Errorf("prefix %q, suffix %q at %d: %q, want %q", c.prefix, c.suffix, c.at, got, c.want)
		}
	}
}

// BenchmarkObjectFile writes a record to a part and reads it back, without the disk.
func BenchmarkObjectFile(b *testing.B) {
	rows, err := codec.For[KV[string, int64]]()
	if err != nil {
		b.Fatal(err)
	}
	v := KV[string, int64]{Key: "some key", Value: 1234}
	var file bytes.Buffer
	w := bufio.NewWriterSize(&file, fileBufferSize)
	o := &objectWriter[KV[string, int64]]{w: w, codec: rows, group: make([]byte, groupHeaderSize, groupHeaderSize+groupBytes)}
	b.ReportAllocs()
	for range b.N {
		if err := o.write(&v); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(o.end(), w.Flush()); err != nil {
		b.Fatal(err)
	}
	r := &objectReader[KV[string, int64]]{codec: rows, left: int64(file.Len()), sum: crc32.New(castagnoli)}
	r.r = bufio.NewReaderSize(io.TeeReader(&file, r.sum), fileBufferSize)
	if err := r.read(func(KV[string, int64]) bool { return true }); err != nil {
		b.Fatal(err)
	}
}
