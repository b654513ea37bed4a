package workload

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
)

// receiver runs program cursor: a receiver of a source that sends again what is not acknowledged. Nobody sends; the
// cursors say what the source was told to be safe.
type receiver struct{ app *application }

const (
	receiverPartitions = 3
	cursors            = "cursors" // folder below the workload's
)

func (*receiver) Name() string { return "receiver" }

func (w *receiver) Start(ctx context.Context, e *Env) (err error) {
	dir := filepath.Join(e.Dir, cursors)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	w.app, err = begin(ctx, e, &raftstreamv1.SubmitRequest{
		Program: "cursor", Name: w.Name(), BatchMs: 500, BlockMs: 50,
		Params: map[string]string{
			"dir": dir, "out": filepath.Join(e.Dir, outputsPrefix),
			"partitions": strconv.Itoa(receiverPartitions), "rate": strconv.Itoa(max(1, e.Rate/receiverPartitions)),
		},
	})
	return err
}

func (*receiver) Run(ctx context.Context, _ *Env) error {
	<-ctx.Done()
	return nil
}

func (w *receiver) Finish(ctx context.Context, e *Env) error { return w.app.drain(ctx, e) }

func (w *receiver) Check(dir string, _ *checker.Run) []checker.Result {
	saved, outputs := checker.Outputs(w.Name(), filepath.Join(dir, outputsPrefix), "")
	results := []checker.Result{outputs}
	highest := map[string]uint64{}
	for i := range saved.Batches {
		err := saved.Batches[i].Lines(func(line []byte) error {
			if p, n, err := identified(string(line)); err == nil {
				highest[p] = max(highest[p], n)
			}
			return nil
		})
		if err != nil {
			return append(results, unknown("exactly-once", w.Name(), err))
		}
	}
	j := checker.Judging("cursors", w.Name())
	sure, acked := &checker.IDs{}, int64(0)
	for k := range receiverPartitions {
		name := fmt.Sprintf("s%d", k)
		at, err := cursorOf(filepath.Join(dir, cursors, "cursor-"+name))
		if err != nil {
			j.Doubt("%v", err)
			continue
		}
		j.See("cursors", 1)
		acked += int64(at)
		if at > highest[name] {
			j.Bad("the cursor of %s is at %d, the outputs end at %d", name, at, highest[name])
		}
		// What is stored is stored in order: all before the last record that was is stored, too.
		if last := max(at, highest[name]); last > 0 {
			sure.Add(name, 1, last)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, cursors))
	if err != nil {
		j.Doubt("%v", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "violation-") {
			text, err := os.ReadFile(filepath.Join(dir, cursors, e.Name()))
			j.Bad("%s: %s %v", e.Name(), text, err)
		}
	}
	once := heldAgainst(w.Name(), sure, &checker.IDs{}, saved)
	once.Counts["acknowledged"] = acked // to the source: not all that is stored
	return append(results, j.Result(), once)
}

// cursorOf reads a cursor; there is none before the first acknowledgement.
func cursorOf(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(b), 10, 64)
}
