package workload

import (
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/programs"
)

// newSink brings records that are all different to a transactional sink and to object files, by program journal.
func newSink() Workload {
	return &fed{
		name: "sink",
		submit: func(e *Env) *raftstreamv1.SubmitRequest {
			return &raftstreamv1.SubmitRequest{Program: "journal", BatchMs: 500, BlockMs: 50, Params: map[string]string{"dir": e.Dir}}
		},
		text: func(uint64) text { return identity },
		check: func(v *evidence) []checker.Result {
			_, objects := checker.Outputs(v.workload, filepath.Join(v.dir, programs.Objects), "")
			commits, j := journalOf(v)
			inJournal := exactlyOnce(v.workload, v.acked, v.maybe, commits.records)
			inObjects := exactlyOnce(v.workload, v.acked, v.maybe, func(each func(where, record string) error) error {
				return objectsOf(v, commits, j, each)
			})
			inJournal.Checker, inObjects.Checker = inJournal.Checker+" in the sink", inObjects.Checker+" in object files"
			return []checker.Result{objects, j.Result(), inJournal, inObjects, v.positions()}
		},
	}
}

// commits are the batches that a sink has committed, by time.
type commits struct {
	dir     string
	batches []programs.Committed
}

// journalOf reads what the sink has, and checks that every commit is whole and came in order.
func journalOf(v *evidence) (commits, *checker.Judge) {
	j := checker.Judging("commits", v.workload)
	c := commits{dir: v.dir}
	entries, err := os.ReadDir(filepath.Join(v.dir, programs.JournalCommits))
	if err != nil {
		j.Doubt("%v", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // of a process that ended before its link
		}
		var b programs.Committed
		text, err := os.ReadFile(filepath.Join(v.dir, programs.JournalCommits, e.Name()))
		if err == nil {
			err = json.Unmarshal(text, &b)
		}
		if err != nil || strconv.FormatInt(b.Time, 10) != e.Name() {
			j.Bad("commit %s of batch %d: %v", e.Name(), b.Time, err)
			continue
		}
		j.See("commits", 1)
		if b.Later != 0 {
			j.Bad("batch %d was committed first after batch %d was", b.Time, b.Later)
		}
		for i, p := range b.Parts {
			if p.Index != i || p.Count != len(b.Parts) {
				j.Bad("batch %d: receipt %d of %d is that of partition %d of %d", b.Time, i, len(b.Parts), p.Index, p.Count)
			}
			text, err := os.ReadFile(filepath.Join(v.dir, programs.JournalParts, p.File))
			if sum := crc32.Checksum(text, castagnoli); err != nil || sum != p.CRC32C {
				j.Bad("batch %d: part %s has checksum %08x, its receipt says %08x: %v", b.Time, p.File, sum, p.CRC32C, err)
			}
		}
		c.batches = append(c.batches, b)
	}
	late, err := os.ReadDir(filepath.Join(v.dir, programs.JournalLate))
	if err != nil && !os.IsNotExist(err) {
		j.Doubt("%v", err)
	}
	j.Found.Counts["late commits that changed nothing"] = int64(len(late))
	return c, j
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// records gives what the committed parts hold.
func (c commits) records(each func(where, record string) error) error {
	for _, b := range c.batches {
		for _, p := range b.Parts {
			where := filepath.Join(c.dir, programs.JournalParts, p.File)
			text, err := os.ReadFile(where)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				if err := each(where, strings.TrimSuffix(line, "\n")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// objectsOf gives what the object files hold, and holds the number of records of each batch against that of the sink's.
func objectsOf(v *evidence, c commits, j *checker.Judge, each func(where, record string) error) error {
	dirs, err := filepath.Glob(filepath.Join(v.dir, programs.Objects+"-*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		n := int64(0)
		for record, err := range dstream.ReadObjectFiles[string](dir) {
			if err != nil {
				return err
			}
			n++
			if err := each(dir, record); err != nil {
				return err
			}
		}
		_, at, _ := strings.Cut(filepath.Base(dir), "-")
		i := slices.IndexFunc(c.batches, func(b programs.Committed) bool { return strconv.FormatInt(b.Time, 10) == at })
		committed := int64(0)
		if i >= 0 {
			for _, p := range c.batches[i].Parts {
				committed += p.Records
			}
		}
		if committed != n {
			j.Bad("%s has %d records, the sink has %d of that batch", dir, n, committed)
		}
	}
	return nil
}
