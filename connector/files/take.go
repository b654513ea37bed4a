package files

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/raftstream/raftstream/connector"
)

const (
	// planBytes bounds what the parts take of connector.MaxPlanBytes; forgotten names, mark and warning have the rest.
	planBytes = connector.MaxPlanBytes / 2
	// around is what the encoding of a plan adds to the texts of a part or a name, at most.
	around = 64
)

// taking is one plan on its way.
type taking struct {
	*planner
	dir     string
	settle  time.Duration
	request connector.PlanRequest
	plan    connector.Plan
	files   map[*file]struct{} // that are in the plan
	kept    int                // positions that are kept, with those of the plan
	bytes   int64              // of the parts
	records int64              // of the parts
	encoded int                // what the parts take in the plan
}

// take puts files into the plan until one does not fit or the time is over. What was read of a file until then is not
// read again.
func (t *taking) take(ctx context.Context, waiting []*file, stop func() bool) error {
	for _, f := range waiting {
		if !t.complete(f) || t.tooLarge(f) {
			continue
		}
		if t.full(f) || stop() {
			return nil
		}
		err := t.scanFile(ctx, filepath.Join(t.dir, f.name), f, stop)
		switch {
		case errors.Is(err, errLater):
			continue
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			_, f.refused = errors.AsType[*lineError](err)
			f.wrong = fmt.Sprintf("file %q is not taken: %v", f.name, err)
			continue
		}
		if !t.add(f) {
			return nil
		}
	}
	return nil
}

// complete tells whether a file may be taken: it has not changed for long enough, and trying it is not in vain.
func (t *taking) complete(f *file) bool {
	return !f.since.IsZero() && !f.refused && t.now.Sub(f.since) >= t.settle
}

// tooLarge refuses a file that no batch can hold.
func (t *taking) tooLarge(f *file) bool {
	parts := (f.size + partBytes - 1) / partBytes
	switch r := t.request; {
	case f.size > r.MaxBytes:
		f.wrong = fmt.Sprintf("file %q is not taken: it has %d bytes, a batch holds at most %d; split it", f.name, f.size, r.MaxBytes)
	case parts > int64(r.MaxParts):
		f.wrong = fmt.Sprintf("file %q is not taken: it makes %d parts, a batch has at most %d; split it", f.name, parts, r.MaxParts)
	default:
		return false
	}
	return true
}

// full tells whether the file has to wait for the next batch. It is asked before the file is read.
func (t *taking) full(f *file) bool {
	if t.kept >= MaxFiles {
		f.wrong = fmt.Sprintf("file %q is not taken: the names of %d files that were taken are kept; remove files that were taken, names are forgotten a while later", f.name, t.kept)
		return true
	}
	return len(t.plan.Parts) > 0 && (t.bytes+f.size > t.request.MaxBytes || len(t.plan.Parts) >= t.request.MaxParts || t.over(1))
}

// over tells whether so many records more are beyond the plan's limit.
func (t *taking) over(more int64) bool {
	return t.request.MaxRecords > 0 && t.records+more > t.request.MaxRecords
}

// add puts a file that is scanned into the plan, unless it does not fit.
func (t *taking) add(f *file) bool {
	parts := f.plannedParts()
	size := len(f.name)
	records := int64(0)
	for i := range parts {
		size += len(parts[i].Data) + around
		records += parts[i].Records
	}
	if len(t.plan.Parts) > 0 && t.over(records) {
		return false
	}
	if len(t.plan.Parts)+len(parts) > t.request.MaxParts || t.encoded+size > planBytes {
		if len(t.plan.Parts) == 0 {
			f.wrong = fmt.Sprintf("file %q is not taken: it makes %d parts, more than a plan holds; split it", f.name, len(parts))
			f.refused = true
		}
		return false
	}
	t.plan.Parts = append(t.plan.Parts, parts...)
	t.files[f] = struct{}{}
	t.bytes += f.size
	t.records += records
	t.encoded += size
	t.kept++
	return true
}
