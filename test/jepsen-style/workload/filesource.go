package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// files puts files into a directory that batches read themselves, without a receiver: each line of a file that is there
// is in the output once. A file is a producer, its lines are the producer's records.
type files struct {
	app   *application
	actor *actor
	wrote int64 // records
	next  int   // file
}

const (
	filesPace  = 250 * time.Millisecond
	filesInput = "in" // folder below the workload's
)

func (*files) Name() string { return "files" }

func (w *files) Start(ctx context.Context, e *Env) (err error) {
	dir := filepath.Join(e.Dir, filesInput)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	w.actor = newActor(e, w.Name(), "")
	w.app, err = begin(ctx, e, &raftstreamv1.SubmitRequest{
		Program: "grep", Name: w.Name(), BatchMs: 500,
		Params: map[string]string{"source": "files:" + dir, "pattern": ".", "out": filepath.Join(e.Dir, outputsPrefix)},
	})
	return err
}

func (w *files) Run(ctx context.Context, e *Env) error {
	random := rand.New(rand.NewPCG(e.Seed, 77))
	var broken error
	every(ctx, filesPace, func() {
		most := max(1, 2*e.Rate*int(filesPace/time.Millisecond)/1000)
		if err := w.put(filepath.Join(e.Dir, filesInput), 1+random.IntN(most)); err != nil && broken == nil {
			broken = err
		}
	})
	return broken
}

// put is one operation: a file of so many lines, which is renamed into the directory when it is whole and durable.
func (w *files) put(dir string, lines int) error {
	name := fmt.Sprintf("f%d", w.next)
	w.next++
	asked := history.Range{App: w.app.Name, ID: w.app.ID, Producer: name, First: 1, Last: uint64(lines)}
	w.wrote += int64(lines)
	return w.actor.send(history.Add, asked, func() (reply, error) {
		var text bytes.Buffer
		for n := range lines {
			text.WriteString(identity(name, uint64(n)+1))
			text.WriteByte('\n')
		}
		temporary := filepath.Join(dir, "."+name)
		f, err := os.Create(temporary)
		if err != nil {
			return reply{}, err
		}
		_, err = f.Write(text.Bytes())
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return reply{}, err
		}
		return reply{}, os.Rename(temporary, filepath.Join(dir, name))
	})
}

// Finish waits until everything was planned: a file that no batch has taken is not received.
func (w *files) Finish(ctx context.Context, e *Env) error {
	c, err := e.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := w.taken(ctx, c); err != nil {
		return err
	}
	return w.app.drain(ctx, e)
}

func (w *files) taken(ctx context.Context, c *client.Client) error {
	received := int64(0)
	err := until(ctx, func() (bool, error) {
		r, err := c.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: w.app.ID})
		received = r.GetApp().GetRecordsReceived()
		return received >= w.wrote, err
	})
	if err != nil {
		return fmt.Errorf("%d records of files were taken, %d are there: %w", received, w.wrote, err)
	}
	return nil
}

func (w *files) Check(dir string, run *checker.Run) []checker.Result {
	v, err := gather(w.Name(), dir, run)
	if err != nil {
		return []checker.Result{unknown("exactly-once", w.Name(), err)}
	}
	return v.once()[:2]
}
