package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/raftstream/raftstream/client"
)

// Exit statuses of every command.
const (
	statusDone        = 0
	statusFailed      = 1 // refused or failed
	statusUsage       = 2
	statusUnreachable = 3 // no node or no leader within the timeout
)

// Main is the main function of a binary whose applications are registered. It does not return. Each of more makes one more
// command of the binary; it finds the flag --output, and may return errors with a method ExitStatus() int, which is the
// exit status of the process then. An error without text has been said already.
func Main(more ...func() *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	e := &env{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.LookupEnv, more: more}
	status := e.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// env is what a command has of the process that it runs in.
type env struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) (string, bool)
	more     []func() *cobra.Command
}

// run runs one command line and gives its exit status.
func (e *env) run(ctx context.Context, args []string) int {
	root := e.rootCommand()
	root.SetArgs(args)
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return statusDone
	}
	var said *saidError
	if !errors.As(err, &said) && err.Error() != "" {
		fmt.Fprintf(e.err, "raftstream: %s\n", oneLineFirst(err))
	}
	return statusOf(err)
}

// usageError is wrong usage: the command was not tried.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// saidError is a failure whose reason the command has printed itself.
type saidError struct{ err error }

func (s *saidError) Error() string { return s.err.Error() }
func (s *saidError) Unwrap() error { return s.err }

func statusOf(err error) int {
	var usage *usageError
	var own interface{ ExitStatus() int }
	switch {
	case errors.As(err, &own):
		return own.ExitStatus()
	case errors.As(err, &usage):
		return statusUsage
	case errors.Is(err, client.ErrUnreachable):
		return statusUnreachable
	}
	return statusFailed
}

// oneLineFirst makes sure that the reason is the first line: scripts and people read that one.
func oneLineFirst(err error) string {
	return strings.TrimSpace(err.Error())
}
