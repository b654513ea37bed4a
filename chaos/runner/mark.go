// Package runner owns what a process that runs clusters leaves behind when it is killed: nodes that go on, and disks that
// stay mounted. Every run holds a mark for as long as it lasts; who comes later finds the marks of dead runners and ends what
// they started. It promises to touch nothing that the mark of a dead runner does not name, and no run whose runner lives. It
// must not know what runs are about.
//
// What is held by open files goes with the last process that has them, and needs no sweeping: network namespaces and their
// links, connections to FUSE. Control groups that a dead maker left are removed by whoever makes the next one: see chaos/limits.
package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ending is that of the names of marks: a file without it is not locked yet, and says nothing.
const ending = ".run"

// Dir is where the marks of this user are, on this machine: raftstream-runs-UID below os.TempDir. Users do not see each
// other's: what a mark names is ended, so nobody else may write one.
func Dir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("raftstream-runs-%d", os.Geteuid()))
}

// Mark says that a run is under way. It is a file that is locked for as long as the process lives.
type Mark struct {
	file *os.File
	path string
}

// note is what a mark holds.
type note struct {
	Folders []string  `json:"folders"` // the run's folder, as it was given and without symbolic links
	Binary  string    `json:"binary"`  // that nodes run, without symbolic links
	Pid     int       `json:"pid"`     // of the runner; for people
	Began   time.Time `json:"began"`
}

// Begin marks a run, in the directory of marks: its folder, which exists, and the binary of its nodes. The caller keeps the
// mark until nothing of the run is left, and ends it then.
func Begin(dir, folder, binary string) (*Mark, error) {
	n, err := noteOf(folder, binary)
	if err != nil {
		return nil, fmt.Errorf("mark a run: %w", err)
	}
	if err := own(dir); err != nil {
		return nil, fmt.Errorf("mark a run: %w", err)
	}
	f, err := os.CreateTemp(dir, "mark-*")
	if err != nil {
		return nil, fmt.Errorf("mark a run: %w", err)
	}
	m := &Mark{file: f, path: f.Name() + ending}
	if err := m.write(n); err != nil {
		return nil, fmt.Errorf("mark a run: %w", errors.Join(err, os.Remove(f.Name()), f.Close()))
	}
	return m, nil
}

// write locks the mark before it has its name: nobody ever sees one of a living runner that is free.
func (m *Mark) write(n note) error {
	if err := unix.Flock(int(m.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	if err := json.NewEncoder(m.file).Encode(n); err != nil {
		return err
	}
	return os.Rename(m.file.Name(), m.path)
}

// End removes the mark: nothing of the run is left.
func (m *Mark) End() error {
	if err := errors.Join(os.Remove(m.path), m.file.Close()); err != nil {
		return fmt.Errorf("end the mark of a run: %w", err)
	}
	return nil
}

func noteOf(folder, binary string) (note, error) {
	n := note{Pid: os.Getpid(), Began: time.Now().UTC()}
	given, err := filepath.Abs(folder)
	if err != nil {
		return n, err
	}
	real, err := filepath.EvalSymlinks(given)
	if err != nil {
		return n, err
	}
	if n.Binary, err = filepath.Abs(binary); err != nil {
		return n, err
	}
	if n.Binary, err = filepath.EvalSymlinks(n.Binary); err != nil {
		return n, err
	}
	n.Folders = []string{given}
	if real != given {
		n.Folders = append(n.Folders, real)
	}
	return n, n.check()
}

// check refuses what would name more than a run.
func (n *note) check() error {
	for _, f := range n.Folders {
		if !filepath.IsAbs(f) || filepath.Clean(f) != f || f == "/" {
			return fmt.Errorf("folder %q is not that of a run", f)
		}
	}
	if len(n.Folders) == 0 || !filepath.IsAbs(n.Binary) {
		return errors.New("it names no folder or no binary")
	}
	return nil
}

// own makes the directory of marks, or sees that it is this user's alone.
func own(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a directory that this user alone may write to", dir)
	}
	return nil
}
