// Package clock owns faults of wall clocks. It builds a program whose time.Now is off by what a file says, and moves
// that file: jumps, drift, strobes. Only the wall clock of the processes that map the file is touched, in their own code and
// in that of others alike; the monotonic clock, timers and the machine's clock are not. It promises to count the readings
// that were off, so that a fault proves itself, and to fail where the Go toolchain is not the one that it knows how to
// change. It must not know what the processes do with the time.
package clock

import (
	"bytes"
	"context"
	_ "embed" // the code that is added to package time
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Variable names the environment variable that gives a program its file. Without it the program's clock is right.
const Variable = "CHAOS_CLOCK"

// skewed is added to package time. Its name keeps it out of this package's own build.
//
//go:embed skew.go.txt
var skewed []byte

// What Now begins with, and what it begins with in a skewed program.
const (
	rightNow = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	wrongNow = rightNow + "\tsec, nsec = chaosSkewed(sec, nsec)\n"
)

// Build builds a program whose wall clock can be skewed, from a package of the module of the current directory. It needs
// the Go toolchain with the sources of its standard library, most of which it compiles the first time.
func Build(ctx context.Context, pkg, out string, tags ...string) (err error) {
	dir, err := os.MkdirTemp("", "chaos-clock-")
	if err != nil {
		return fmt.Errorf("build %s with a clock that can be skewed: %w", pkg, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	overlay, err := Overlay(ctx, dir)
	if err != nil {
		return err
	}
	args := []string{"build", "-overlay", overlay, "-o", out}
	if len(tags) > 0 {
		args = append(args, "-tags", strings.Join(tags, ","))
	}
	if text, err := exec.CommandContext(ctx, "go", append(args, pkg)...).CombinedOutput(); err != nil {
		return fmt.Errorf("build %s with a clock that can be skewed: %w\n%s", pkg, err, text)
	}
	return nil
}

// Overlay writes what the flag -overlay of a go command needs to build programs whose clock can be skewed, into a directory
// that must last as long as the command, and gives the file's name. It is made of the standard library in use.
func Overlay(ctx context.Context, dir string) (file string, err error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find the standard library: %w", err)
	}
	library := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(library, "time.go"))
	if err != nil {
		return "", fmt.Errorf("read the standard library: %w", err)
	}
	if source, err = patch(source); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(library, "time.go"), err)
	}
	// Absolute names: a go command reads them from where it runs.
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("write an overlay: %w", err)
	}
	now, skew := filepath.Join(dir, "time.go"), filepath.Join(dir, "skew.go")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(library, "time.go"):          now,
		filepath.Join(library, "zz_chaos_skew.go"): skew,
	}})
	file = filepath.Join(dir, "overlay.json")
	if err := errors.Join(err, os.WriteFile(now, source, 0o600), os.WriteFile(skew, skewed, 0o600), os.WriteFile(file, text, 0o600)); err != nil {
		return "", fmt.Errorf("write an overlay: %w", err)
	}
	return file, nil
}

// patch makes Now ask for the skew.
func patch(source []byte) ([]byte, error) {
	if n := bytes.Count(source, []byte(rightNow)); n != 1 {
		return nil, fmt.Errorf("the beginning of Now that this package knows is there %d times, expected 1: another version of Go, see rightNow", n)
	}
	return bytes.Replace(source, []byte(rightNow), []byte(wrongNow), 1), nil
}
