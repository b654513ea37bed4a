package workload

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

// application is one that a workload has submitted, as its folder remembers it.
type application struct {
	Name    string `json:"name"`
	ID      uint64 `json:"id"`
	BatchMS int64  `json:"batch_ms"`
	Seed    uint64 `json:"seed"` // of the run: the texts of records follow from it
}

const (
	applicationFile = "application.json"
	outputsPrefix   = "out" // prefix of output directories below the workload's folder
)

// begin submits a workload's application, waits until its inputs are open, and notes it in the workload's folder.
// params may name the workload's folder as {dir}.
func begin(ctx context.Context, e *Env, r *raftstreamv1.SubmitRequest) (*application, error) {
	if err := os.MkdirAll(e.Dir, 0o755); err != nil {
		return nil, err
	}
	c, err := e.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r.RequestId = fmt.Sprintf("%s-%d", r.GetName(), e.Seed)
	reply, err := c.Submit(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("submit %s: %w", r.GetName(), err)
	}
	a := &application{Name: r.GetName(), ID: reply.GetId(), BatchMS: cmp.Or(r.GetBatchMs(), 1000), Seed: e.Seed}
	if err := a.open(ctx, c); err != nil {
		return nil, fmt.Errorf("inputs of %s: %w", a.Name, err)
	}
	b, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return a, os.WriteFile(filepath.Join(e.Dir, applicationFile), b, 0o644)
}

// open waits until every receiver of the application runs.
func (a *application) open(ctx context.Context, c *client.Client) error {
	return until(ctx, func() (bool, error) {
		r, err := c.ListReceivers(ctx, &raftstreamv1.ListReceiversRequest{Id: a.ID})
		if err != nil {
			return false, err
		}
		for _, in := range r.GetReceivers() {
			if in.GetKind() == raftstreamv1.ReceiverKind_RECEIVER_KIND_RECEIVER && in.GetState() != raftstreamv1.ReceiverState_RECEIVER_STATE_ACTIVE {
				return false, nil
			}
		}
		return len(r.GetReceivers()) > 0, nil
	})
}

// drain lets the application process all that was received, and waits until it has stopped.
func (a *application) drain(ctx context.Context, e *Env) error {
	c, err := e.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Stop(ctx, &raftstreamv1.StopRequest{Id: a.ID}); err != nil {
		return fmt.Errorf("stop %s: %w", a.Name, err)
	}
	var last *raftstreamv1.App
	err = until(ctx, func() (bool, error) {
		r, err := c.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: a.ID})
		if err != nil {
			return false, err
		}
		last = r.GetApp()
		if last.GetState() == raftstreamv1.AppState_APP_STATE_FAILED {
			return false, errors.New(last.GetError())
		}
		return last.GetState() == raftstreamv1.AppState_APP_STATE_STOPPED, nil
	})
	if err != nil {
		return fmt.Errorf("%s does not come to its end (%d batches pending, %d records queued, coordinator %q): %w",
			a.Name, last.GetPendingBatches(), last.GetRecordsQueued(), last.GetCoordinator(), err)
	}
	return nil
}

// applicationOf reads what begin has noted.
func applicationOf(dir string) (*application, error) {
	b, err := os.ReadFile(filepath.Join(dir, applicationFile))
	if err != nil {
		return nil, err
	}
	a := new(application)
	return a, json.Unmarshal(b, a)
}
