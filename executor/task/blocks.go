package task

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Blocks reads received blocks from the store of this executor, else from those that the order names.
type Blocks struct {
	Store     id.Store                                    // of this executor
	Local     func(id.Block) (job.BlockData, error)       // job.ErrNoBlock where it is not held
	Peer      func(s id.Store) (peer job.Peer, open bool) // the executor of a store with an open session
	Executors job.Executors
}

// Read gives the bytes of a block, checked against the order's length and CRC32C. A damaged copy is as good as none:
// the next holder is asked. When no holder has it, the error is a *job.TaskError of class MissingFault that says what
// each of them answered (rule 8).
func (r *Blocks) Read(ctx context.Context, b *job.Block) ([]byte, error) {
	var why []string
	try := func(where string, get func() (job.BlockData, error)) []byte {
		d, err := get()
		if err == nil {
			err = verify(b, d.Data)
		}
		if err == nil {
			return d.Data
		}
		why = append(why, where+": "+err.Error())
		return nil
	}
	if data := try("here", func() (job.BlockData, error) { return r.Local(b.ID) }); data != nil {
		return data, nil
	}
	for _, s := range b.Stores {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if s == r.Store {
			continue
		}
		peer, open := r.Peer(s)
		if !open {
			why = append(why, "store "+string(s)+": no open session")
			continue
		}
		if data := try(peer.Name, func() (job.BlockData, error) { return r.Executors.Get(ctx, peer, b.ID) }); data != nil {
			return data, nil
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, &job.TaskError{
		Fault: job.MissingFault,
		Block: b.ID,
		Text:  clip(fmt.Sprintf("block %v has no holder that answers: %s", b.ID, strings.Join(why, "; ")), maxText),
	}
}

// verify checks a copy. It gives no nil data for a good one: an empty block does not exist.
func verify(b *job.Block, data []byte) error {
	if int64(len(data)) != b.Bytes || len(data) == 0 {
		return fmt.Errorf("copy has %d bytes, expected %d", len(data), b.Bytes)
	}
	if crc := crc32.Checksum(data, castagnoli); crc != b.CRC {
		return fmt.Errorf("copy has CRC32C %08x, expected %08x", crc, b.CRC)
	}
	return nil
}
