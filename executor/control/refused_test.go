package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/executor/control"
	"github.com/raftstream/raftstream/executor/job"
)

// dials answers every dial with what the test says.
type dials struct{ answer func() error }

func (d *dials) Dial(context.Context, job.Hello) (job.Link, error) { return nil, d.answer() }

func TestRefusedDialIsAWarningOncePerReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		d := &dials{func() error {
			n++
			if n%2 == 0 {
				return job.ErrNotLeader
			}
			reason := "a newer start of the store is known"
			if n > 20 {
				reason = "it belongs to another cluster"
			}
			refused := fmt.Errorf("127.0.0.1:1: %w", fmt.Errorf("%w: %s", job.ErrRefused, reason))
			return errors.Join(fmt.Errorf("dial %d: no answer", n), refused)
		}}
		var out bytes.Buffer
		c := control.New(control.Config{
			Dialer: d, Hello: job.Hello{Store: store}, Handler: &worker{}, Logger: slog.New(slog.NewTextHandler(&out, nil)),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		pass(2 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		log := out.String()
		if n < 40 || strings.Count(log, "level=WARN") != 2 {
			t.Errorf("%d dials gave the log %s, expected one warning for each of two reasons", n, log)
		}
		for _, want := range []string{"a newer start", "another cluster", string(store)} {
			if !strings.Contains(log, want) {
				t.Errorf("log %s, expected %q in it", log, want)
			}
		}
	})
}
