package zoo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Caught tells how a bug was caught.
type Caught struct {
	Bug    *Bug
	Took   time.Duration // of the test that failed, without its compilation
	Output string        // of that test
}

// limit bounds a test: a bug that hangs it is found by its own limits, or not at all.
const limit = 5 * time.Minute

// Hunt runs the bug's test against the engine with the bug, in the module at root; it writes into dir. An error says why
// the bug does not count as caught; Output is then what there is of it.
func (b *Bug) Hunt(ctx context.Context, root, dir string) (Caught, error) {
	c := Caught{Bug: b}
	overlay, err := b.Overlay(root, dir)
	if err != nil {
		return c, err
	}
	env := []string{"GOFLAGS=-overlay=" + overlay} // by the environment, so that builds inside the test have it too
	binary, err := b.Catch.compile(ctx, root, dir, env)
	if err != nil {
		return c, fmt.Errorf("bug %s: the edited code does not compile: mend the bug's edit: %w", b, err)
	}
	start := time.Now()
	c.Output, err = b.Catch.run(ctx, root, binary, env)
	c.Took = time.Since(start)
	var failed *exec.ExitError
	switch {
	case err == nil:
		return c, fmt.Errorf("bug %s is not caught by %v: there is a hole in the tests", b, b.Catch)
	case !errors.As(err, &failed):
		return c, fmt.Errorf("bug %s: %v: %w", b, b.Catch, err)
	case !strings.Contains(c.Output, b.Expect):
		return c, fmt.Errorf("bug %s: %v fails, and not for the reason expected, %q", b, b.Catch, b.Expect)
	}
	return c, nil
}

// Pass runs the test against the engine as it is. An error, with its output, says that it proves nothing.
func (t Test) Pass(ctx context.Context, root, dir string) error {
	binary, err := t.compile(ctx, root, dir, nil)
	if err != nil {
		return err
	}
	out, err := t.run(ctx, root, binary, nil)
	switch {
	case err != nil:
		return fmt.Errorf("%v fails without any bug: %w\n%s", t, err, out)
	case strings.Contains(out, "no tests to run"):
		return fmt.Errorf("%v: no such test", t)
	case strings.Contains(out, "--- SKIP"):
		return fmt.Errorf("%v is skipped here: %w\n%s", t, ErrSkipped, out)
	}
	return nil
}

// ErrSkipped says that a test does not run on this machine.
var ErrSkipped = errors.New("nothing can be said of its bugs")

// compile builds the test's binary, apart from running it, so that code that does not compile is told from a test that
// fails. The binary lies in dir.
func (t Test) compile(ctx context.Context, root, dir string, env []string) (string, error) {
	binary := filepath.Join(dir, "zoo.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-o", binary, "./"+t.Package)
	cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return binary, nil
}

// run runs the binary where go test would.
func (t Test) run(ctx context.Context, root, binary string, env []string) (string, error) {
	args := append([]string{"-test.v", "-test.run=" + t.Run, "-test.failfast", "-test.timeout=" + limit.String()}, strings.Fields(t.Args)...)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = filepath.Join(root, filepath.FromSlash(t.Package))
	// A failure that is wanted leaves no file behind, and need not be the smallest one.
	cmd.Env = append(os.Environ(), append(env, "RAPID_NOFAILFILE=1", "RAPID_SHRINKTIME=1s")...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
