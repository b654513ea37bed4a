package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// A snapshot is a header, chunks of records, and a trailer with the state's hash (docs/formats/ledger.md). Every part
// is a frame: length, CRC32C, body.
const (
	snapshotMagic   = "RSLEDGER"
	snapshotVersion = 2 // 1 had no keyed state and no direct sources
	oldestSnapshot  = 1 // still read
	// chunkRecords and chunkBytes bound a chunk, whichever is reached first.
	chunkRecords = 1024
	chunkBytes   = 1 << 20
	// maxFrame bounds what is believed of a frame's length: a chunk, and one record of the largest size.
	maxFrame = 64 << 20
)

// Hash is a canonical hash of the whole state: equal on every node at equal applied index.
func (v View) Hash() [32]byte {
	h := sha256.New()
	var scratch []byte
	for t, m := range v.state().records() {
		b, err := appendRecord(scratch[:0], t, m)
		if err != nil {
			panic("fsm: a record that was decoded does not encode: " + err.Error())
		}
		h.Write(b)
		scratch = b
	}
	return [32]byte(h.Sum(nil))
}

// appendRecord appends a record: type, length, message.
func appendRecord(dst []byte, t recordType, m proto.Message) ([]byte, error) {
	dst = append(dst, byte(t))
	dst = binary.AppendUvarint(dst, uint64(proto.Size(m)))
	out, err := marshalOptions.MarshalAppend(dst, m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return out, nil
}

// WriteSnapshot writes the view as a snapshot: header, checksummed chunks, trailer. It may run while the Machine goes
// on. The caller syncs and closes w.
func (v View) WriteSnapshot(w io.Writer) error {
	sw := &snapshotWriter{w: bufio.NewWriterSize(w, 1<<16), sum: sha256.New()}
	sw.header(v.state())
	for t, m := range v.state().records() {
		if sw.err != nil {
			break
		}
		sw.record(t, m)
	}
	sw.flush()
	sw.frame(nil)
	sw.frame(sw.sum.Sum(nil))
	if sw.err == nil {
		sw.err = sw.w.Flush()
	}
	if sw.err != nil {
		return fmt.Errorf("write snapshot of index %d: %w", v.Index(), sw.err)
	}
	return nil
}

type snapshotWriter struct {
	w     *bufio.Writer
	sum   hash.Hash
	chunk []byte
	in    int // records in chunk
	err   error
}

func (w *snapshotWriter) header(s *state) {
	body, err := marshal(&ledgerpb.SnapshotHeader{Index: s.index, Records: s.count()})
	w.write(append([]byte(snapshotMagic), snapshotVersion), err)
	w.frame(body)
}

func (w *snapshotWriter) record(t recordType, m proto.Message) {
	start := len(w.chunk)
	chunk, err := appendRecord(w.chunk, t, m)
	if err != nil {
		w.err = err
		return
	}
	w.sum.Write(chunk[start:])
	w.chunk = chunk
	if w.in++; w.in >= chunkRecords || len(w.chunk) >= chunkBytes {
		w.flush()
	}
}

func (w *snapshotWriter) flush() {
	if w.in > 0 {
		w.frame(w.chunk)
		w.chunk, w.in = w.chunk[:0], 0
	}
}

func (w *snapshotWriter) frame(body []byte) {
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(body)))
	binary.LittleEndian.PutUint32(head[4:], frameSum(head[:4], body))
	w.write(head[:], nil)
	w.write(body, nil)
}

func (w *snapshotWriter) write(b []byte, err error) {
	if w.err == nil {
		w.err = err
	}
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
}

// frameSum covers the length too, so that an empty frame is not made of a damaged one.
func frameSum(length, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, body)
}

// Restore replaces the state by a snapshot. On an error, which has ErrUnreadable in its chain unless r failed, the
// state is as before.
func (m *Machine) Restore(r io.Reader) error {
	s, err := readSnapshot(r)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	m.s, m.view = s, View{}
	return nil
}

func readSnapshot(r io.Reader) (*state, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	header, err := readHeader(br)
	if err != nil {
		return nil, err
	}
	s := newState()
	n := uint64(0)
	for {
		body, err := readFrame(br)
		if err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", n, header.GetRecords(), err)
		}
		if len(body) == 0 {
			break
		}
		got, err := restoreChunk(s, body)
		if n += got; err != nil {
			return nil, fmt.Errorf("record %d of %d: %w: %w", n, header.GetRecords(), err, ErrUnreadable)
		}
	}
	sum, err := readFrame(br)
	if err != nil {
		return nil, fmt.Errorf("trailer: %w", err)
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("bytes follow the trailer: %w", ErrUnreadable)
	}
	if n != header.GetRecords() || s.index != header.GetIndex() {
		return nil, fmt.Errorf("%d records of index %d, expected %d of %d: %w", n, s.index, header.GetRecords(),
			header.GetIndex(), ErrUnreadable)
	}
	// The hash is taken of what was built, not of what was read: it also proves that nothing was lost in between.
	if got := (View{s: s}).Hash(); !bytes.Equal(got[:], sum) {
		return nil, fmt.Errorf("state has hash %x, expected %x: %w", got, sum, ErrUnreadable)
	}
	return s, nil
}

func readHeader(r io.Reader) (*ledgerpb.SnapshotHeader, error) {
	head := make([]byte, len(snapshotMagic)+1)
	if err := readFull(r, head); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if magic := string(head[:len(snapshotMagic)]); magic != snapshotMagic {
		return nil, fmt.Errorf("starts with %q, expected %q: %w", magic, snapshotMagic, ErrUnreadable)
	}
	if v := head[len(snapshotMagic)]; v < oldestSnapshot || v > snapshotVersion {
		return nil, fmt.Errorf("has version %d, expected %d to %d: %w", v, oldestSnapshot, snapshotVersion, ErrUnreadable)
	}
	body, err := readFrame(r)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	h, err := unmarshal[*ledgerpb.SnapshotHeader](body)
	if err != nil {
		return nil, fmt.Errorf("header: %w: %w", err, ErrUnreadable)
	}
	return h, nil
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [8]byte
	if err := readFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes, expected at most %d: %w", size, maxFrame, ErrUnreadable)
	}
	// The buffer grows as bytes arrive: a damaged length does not reserve memory.
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(size)); err != nil {
		return nil, short(err)
	}
	if got, want := frameSum(head[:4], body.Bytes()), binary.LittleEndian.Uint32(head[4:]); got != want {
		return nil, fmt.Errorf("frame of %d bytes has CRC %08x, expected %08x: %w", size, got, want, ErrUnreadable)
	}
	return body.Bytes(), nil
}

func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	return short(err)
}

// short tells a snapshot that ends too early, which is damage, from a reader that failed, which is not.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("ends too early: %w", ErrUnreadable)
	}
	return err
}

// restoreChunk puts the records of a chunk into s and returns how many it came to.
func restoreChunk(s *state, body []byte) (uint64, error) {
	n := uint64(0)
	for len(body) > 0 {
		n++
		t := recordType(body[0])
		size, w := binary.Uvarint(body[1:])
		if w <= 0 || size > uint64(len(body)-1-w) {
			return n, errors.New("damaged length")
		}
		body = body[1+w:]
		if err := restoreRecord(s, t, body[:size]); err != nil {
			return n, err
		}
		body = body[size:]
	}
	return n, nil
}
