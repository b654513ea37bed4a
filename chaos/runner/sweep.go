package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raftstream/raftstream/chaos/disk"
)

// How long processes that were killed may take to be gone, and how often that is looked at.
const (
	endTime  = 10 * time.Second
	endEvery = 10 * time.Millisecond
)

// Swept is what a dead runner had left.
type Swept struct {
	Folder    string // of its run
	Processes int    // that were ended
	Mounts    int    // that were undone
}

// String says it in a line.
func (s Swept) String() string {
	return fmt.Sprintf("swept what a dead runner left of %s: %d processes, %d mounts", s.Folder, s.Processes, s.Mounts)
}

// Sweep ends what dead runners left, by the marks in dir, and gives what that was. A runner is dead when the kernel has given
// back the lock of its mark. What cannot be swept keeps its mark, and is told in the error.
func Sweep(dir string) ([]Swept, error) {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err := own(dir); err != nil {
		return nil, fmt.Errorf("look for dead runners: %w", err)
	}
	marks, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil {
		return nil, fmt.Errorf("look for dead runners: %w", err)
	}
	var all []Swept
	var errs []error
	for _, path := range marks {
		s, dead, err := sweep(path)
		if dead {
			all = append(all, s)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep by the mark %s: %w", path, err))
		}
	}
	return all, errors.Join(errs...)
}

// sweep looks at one mark, and holds its lock while it works: others who come take the runner for a living one.
func sweep(path string) (s Swept, dead bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil // its run ended just now
	}
	if err != nil {
		return s, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return s, false, nil // its runner lives
	}
	if err != nil || !named(f, path) {
		return s, false, err
	}
	var n note
	if err := json.NewDecoder(io.LimitReader(f, 1<<16)).Decode(&n); err != nil {
		return s, false, fmt.Errorf("it cannot be read: %w", err)
	}
	if err := n.check(); err != nil {
		return s, false, err
	}
	s.Folder = n.Folders[0]
	if s.Processes, err = n.endProcesses(); err != nil {
		return s, true, err
	}
	for _, folder := range n.Folders {
		mounts, err := disk.Sweep(folder)
		s.Mounts += len(mounts)
		if err != nil {
			return s, true, err
		}
	}
	return s, true, os.Remove(path)
}

// named reports whether the open file still is what its name says: somebody may have swept it, and removed it.
func named(f *os.File, path string) bool {
	open, err := f.Stat()
	now, gone := os.Lstat(path)
	return err == nil && gone == nil && os.SameFile(open, now)
}

// endProcesses ends the nodes of the run and gives their number: who may have come to write to its disks is gone then.
func (n *note) endProcesses() (ended int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("look for processes: %w", err)
	}
	var waiting []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !n.started(pid) {
			continue
		}
		p, err := os.FindProcess(pid)
		if err != nil {
			return ended, fmt.Errorf("end process %d: %w", pid, err)
		}
		if n.started(pid) { // looked at again: what p holds cannot become another process any more
			err = p.Kill()
			waiting = append(waiting, pid)
		}
		if err = errors.Join(err, p.Release()); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return ended, fmt.Errorf("end process %d: %w", pid, err)
		}
	}
	return len(waiting), await(waiting)
}

// await waits until processes that were killed are over.
func await(pids []int) error {
	late := time.NewTimer(endTime)
	defer late.Stop()
	again := time.NewTicker(endEvery)
	defer again.Stop()
	for slices.ContainsFunc(pids, func(pid int) bool { return !over(pid) }) {
		select {
		case <-again.C:
		case <-late.C:
			return fmt.Errorf("of processes %v some are there yet %v after they were killed", pids, endTime)
		}
	}
	return nil
}

// over reports whether a process has ended with all its threads. Only then are its files closed: it loses its binary and its
// arguments, which name it, a moment before.
func over(pid int) bool {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return err != nil || !slices.ContainsFunc(threads, func(t os.DirEntry) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, t.Name()))
		behind := strings.LastIndex(string(b), ") ") // the command's name
		return err == nil && behind >= 0 && !strings.HasPrefix(string(b[behind+2:]), "Z") && !strings.HasPrefix(string(b[behind+2:]), "X")
	})
}

// started reports whether a process is a node of the run: it runs the run's binary, on a data directory below its folder. One
// that has ended, and waits for somebody to hear of it, has neither.
func (n *note) started(pid int) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil || strings.TrimSuffix(exe, " (deleted)") != n.Binary {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := strings.Split(string(line), "\x00")
	i := slices.Index(args, "--data")
	return i >= 0 && i+1 < len(args) && slices.ContainsFunc(n.Folders, func(f string) bool {
		return strings.HasPrefix(filepath.Clean(args[i+1]), f+"/")
	})
}
