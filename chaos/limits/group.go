package limits

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// prefix starts the names of our groups; the pid of this process and a number follow.
const prefix = "raftstream-chaos-"

// removal is how long processes of a group may take to leave it.
const removal = 5 * time.Second

// made numbers the groups of this process.
var made atomic.Int64

// group is a control group with one limit.
type group struct {
	limit limit
	place place
	dir   string
}

// newGroup makes a group with the limit for a process, which does not belong to it yet.
func newGroup(l limit, pid int) (*group, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("control groups: %w", errors.ErrUnsupported)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("look for control groups: %w", err)
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("look for the control groups of process %d: %w", pid, err)
	}
	p, err := find(string(l.kind), string(mounts), string(groups))
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(filepath.Base(p.home), prefix) {
		return nil, fmt.Errorf("process %d bears a limit already", pid)
	}
	if l.kind == schedule.Memory {
		had, err := held(pid)
		if err != nil {
			return nil, err
		}
		// Pages stay with the group that they were first charged to: what is left of the limit is for new ones.
		l.value = max(l.value-had, int64(os.Getpagesize()))
	}
	sweep(p.parent)
	g := &group{l, p, filepath.Join(p.parent, fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), made.Add(1)))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	if err := g.configure(); err != nil {
		return nil, errors.Join(err, os.Remove(g.dir))
	}
	return g, nil
}

// sweep removes empty groups whose maker is dead.
func sweep(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
	for _, dir := range left {
		maker, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		if _, err := os.Stat("/proc/" + maker); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(dir) // fails while a process is in it
		}
	}
}

// setting is a file of a group and what is written to it.
type setting struct {
	file, value string
	optional    bool // not every kernel has it
}

func settings(l limit, version int) []setting {
	value := strconv.FormatInt(l.value, 10)
	switch {
	case l.kind == schedule.Memory && version == 1:
		return []setting{{"memory.limit_in_bytes", value, false}, {"memory.swappiness", "0", true}}
	case l.kind == schedule.Memory:
		return []setting{{"memory.max", value, false}, {"memory.swap.max", "0", true}}
	case version == 1:
		return []setting{{"cpu.cfs_period_us", strconv.Itoa(period), false}, {"cpu.cfs_quota_us", value, false}}
	default:
		return []setting{{"cpu.max", fmt.Sprintf("%d %d", l.value, period), false}}
	}
}

func (g *group) configure() error {
	for _, s := range settings(g.limit, g.place.version) {
		err := write(filepath.Join(g.dir, s.file), s.value)
		if err != nil && (!s.optional || !errors.Is(err, fs.ErrNotExist)) {
			return fmt.Errorf("set a limit: %w", err)
		}
	}
	return nil
}

// write writes to a file that is there.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func (g *group) add(pid int) error { return move(pid, g.dir) }

// move puts a process with all its threads into the group of a directory.
func move(pid int, dir string) error {
	if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	return nil
}

// bites is how often the limit was met.
func (g *group) bites() (int64, error) {
	file, names := "cpu.stat", []string{"nr_throttled"}
	switch {
	case g.limit.kind == schedule.Memory && g.place.version == 1:
		file, names = "memory.failcnt", nil
	case g.limit.kind == schedule.Memory:
		file, names = "memory.events", []string{"max"}
	}
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, fmt.Errorf("count what a limit did: %w", err)
	}
	if names != nil {
		return counted(string(text), " ", names...), nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("count what a limit did: %s: %w", file, err)
	}
	return n, nil
}

// remove moves the processes of the group to where the first one came from, and ends the group. Processes that are ending
// keep it for a moment.
func (g *group) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removal)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		moved := g.empty()
		err := os.Remove(g.dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("remove a control group: %w", errors.Join(moved, err))
		}
	}
}

func (g *group) empty() error {
	list, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	var errs []error
	for _, field := range strings.Fields(string(list)) {
		pid, err := strconv.Atoi(field)
		if err == nil {
			err = move(pid, g.place.home)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) { // else it has ended
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// place is where the groups of one controller are for a process.
type place struct {
	version int    // of control groups, 1 or 2
	home    string // directory of the group that the process is in
	parent  string // directory that takes new groups
}

// find looks for the groups of a controller, given /proc/self/mountinfo and /proc/<pid>/cgroup. A new group of version 1
// is made below the process's own, one of version 2 beside it, because there a group that holds processes gives none of
// its controllers to others.
func find(controller, mounts, groups string) (place, error) {
	for line := range strings.Lines(groups) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || !slices.Contains(strings.Split(fields[1], ","), controller) {
			continue
		}
		dir, ok := mounted(mounts, fields[2], func(kind string, options []string) bool {
			return kind == "cgroup" && slices.Contains(options, controller)
		})
		if !ok {
			return place{}, fmt.Errorf("controller %s is of control groups version 1, which are not mounted", controller)
		}
		return place{1, dir, dir}, nil
	}
	for line := range strings.Lines(groups) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		v2 := func(kind string, _ []string) bool { return kind == "cgroup2" }
		dir, ok := mounted(mounts, path, v2)
		root, _ := mounted(mounts, "/", v2)
		if !ok {
			break
		}
		if dir == root {
			return place{2, dir, dir}, nil
		}
		return place{2, dir, filepath.Dir(dir)}, nil
	}
	return place{}, fmt.Errorf("no control groups with controller %s are mounted", controller)
}

// mounted gives the directory of a group in the first file system of the kind.
func mounted(mounts, group string, is func(kind string, options []string) bool) (string, bool) {
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		where, what := strings.Fields(before), strings.Fields(after)
		if len(where) < 5 || len(what) < 3 || !is(what[0], strings.Split(what[2], ",")) {
			continue
		}
		// Field 4 is the group that the mount shows as its root.
		inside, err := filepath.Rel(where[3], group)
		if err != nil || strings.HasPrefix(inside, "..") {
			inside = "."
		}
		return filepath.Join(where[4], inside), true
	}
	return "", false
}
