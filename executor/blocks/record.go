package blocks

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// The payload of a record of the log is described in docs/formats/wal.md.
const (
	recordVersion = 1
	recordHeader  = 44
)

// MaxBlock bounds a block's bytes.
const MaxBlock = 12 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHeader(b []byte, d *job.BlockData) []byte {
	b = binary.LittleEndian.AppendUint32(b, recordVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.ID.App))
	b = binary.LittleEndian.AppendUint32(b, uint32(d.ID.Stream))
	b = binary.LittleEndian.AppendUint64(b, uint64(d.ID.Instance))
	b = binary.LittleEndian.AppendUint64(b, d.ID.Number)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.Records))
	return binary.LittleEndian.AppendUint32(b, d.CRC)
}

// decodeBlock reads a record; Data is a view into it. The log has checked the bytes; what is wrong here was written
// wrong, or by another program.
func decodeBlock(b []byte) (job.BlockData, error) {
	if len(b) <= recordHeader {
		return job.BlockData{}, fmt.Errorf("record of %d bytes, expected more than %d", len(b), recordHeader)
	}
	if v := binary.LittleEndian.Uint32(b); v != recordVersion {
		return job.BlockData{}, fmt.Errorf("record of version %d, this program reads version %d", v, recordVersion)
	}
	d := job.BlockData{
		ID: id.Block{
			App:      id.App(binary.LittleEndian.Uint64(b[4:])),
			Stream:   id.Stream(binary.LittleEndian.Uint32(b[12:])),
			Instance: id.Instance(binary.LittleEndian.Uint64(b[16:])),
			Number:   binary.LittleEndian.Uint64(b[24:]),
		},
		Records: int64(binary.LittleEndian.Uint64(b[32:])),
		CRC:     binary.LittleEndian.Uint32(b[40:]),
		Data:    b[recordHeader:len(b):len(b)],
	}
	return d, check(&d)
}

// check says what is wrong with a block.
func check(d *job.BlockData) error {
	if len(d.Data) == 0 || len(d.Data) > MaxBlock {
		return fmt.Errorf("block %v has %d bytes, expected 1 to %d", d.ID, len(d.Data), MaxBlock)
	}
	if d.Records <= 0 || d.ID.Number == 0 {
		return fmt.Errorf("block %v has %d records, expected a number from 1 and at least one record", d.ID, d.Records)
	}
	if crc := crc32.Checksum(d.Data, castagnoli); crc != d.CRC {
		return fmt.Errorf("block %v has CRC32C %08x, expected %08x", d.ID, crc, d.CRC)
	}
	return nil
}
