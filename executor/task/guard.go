package task

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
)

const (
	// maxFrames bounds the frames of a panic that are searched for user code.
	maxFrames = 512
	// maxText bounds the text of a fault in bytes: it travels to the ledger.
	maxText = 2 << 10
	// maxStack bounds the stack that is logged, in bytes.
	maxStack = 8 << 10
)

// failure is what dataset.Task.Fail panics with.
type failure struct{ err error }

// Fault is why guarded code did not end well: Err for the coordinator, Stack for the log ("" where there is none).
type Fault struct {
	Err   *job.TaskError
	Stack string
}

// Guard runs user code on a goroutine of its own and waits for it. A panic, a runtime.Goexit or an error of it is a
// fault: a *job.TaskError stays what it is, everything else is a UserFault, with operator and place where app knows
// them. What ends after ctx is attributed to the end of ctx. A panic never leaves Guard; a panic on a goroutine that
// user code started itself does end the process, as everywhere in Go.
func Guard(ctx context.Context, app dataset.App, f func() error) *Fault {
	var result *Fault
	done := make(chan struct{})
	go func() {
		defer close(done)
		returned := false
		defer func() {
			if v := recover(); v != nil {
				result = recovered(app, v)
			} else if !returned {
				result = blamed(app, "user code called runtime.Goexit")
			}
		}()
		if err := f(); err != nil {
			result = &Fault{Err: classify(err)}
		}
		returned = true
	}()
	<-done
	if ctx.Err() != nil {
		return &Fault{Err: canceled(ctx)}
	}
	return result
}

// recovered makes a fault of what a panic carried.
func recovered(app dataset.App, v any) *Fault {
	if f, ok := v.(*failure); ok {
		return &Fault{Err: classify(f.err)}
	}
	return blamed(app, "panic: "+fmt.Sprint(v))
}

// blamed makes a fault of user code that unwinds. It is called by a deferred function, while the stack still stands.
func blamed(app dataset.App, text string) *Fault {
	te := &job.TaskError{Fault: job.UserFault, Text: clip(text, maxText)}
	if app != nil {
		frames := make([]uintptr, maxFrames)
		te.Operator, te.At = app.Blame(frames[:runtime.Callers(0, frames)])
	}
	return &Fault{Err: te, Stack: clip(string(debug.Stack()), maxStack)}
}

func classify(err error) *job.TaskError {
	if te, ok := errors.AsType[*job.TaskError](err); ok {
		return te
	}
	if errors.Is(err, connector.ErrMissing) { // of a direct source: the batch waits for it to come back (rules 8 and 12)
		return &job.TaskError{Fault: job.MissingFault, Text: clip(err.Error(), maxText)}
	}
	return &job.TaskError{Fault: job.UserFault, Text: clip(err.Error(), maxText)}
}

// canceled says why ctx ended.
func canceled(ctx context.Context) *job.TaskError {
	cause := context.Cause(ctx)
	if te, ok := errors.AsType[*job.TaskError](cause); ok {
		return te
	}
	return &job.TaskError{Fault: job.LostFault, Text: "canceled: " + cause.Error()}
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
