package limits_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/chaos/limits"
	"github.com/raftstream/raftstream/chaos/schedule"
)

const helper = "RAFTSTREAM_TEST_HELPER"

// spinTime is how long the helper asks for the processor.
const spinTime = time.Second

func TestMain(m *testing.M) {
	if os.Getenv(helper) != "" {
		help()
		return
	}
	goleak.VerifyTestMain(m)
}

// help does what lines of the standard input say, and answers each.
func help() {
	var kept [][]byte
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "eat":
			for range 256 {
				kept = append(kept, make([]byte, 1<<20))
				last := kept[len(kept)-1]
				for i := 0; i < len(last); i += 4096 { // a page is there when it is written to
					last[i] = 1
				}
			}
		case "spin":
			for start := time.Now(); time.Since(start) < spinTime; {
				kept = kept[:0]
			}
		}
		fmt.Println("done")
	}
}

// process is a helper that runs.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	gone chan struct{} // closed when it has ended
}

// nodes are processes by name.
type nodes struct {
	processes map[string]*process
	started   []string
	expected  map[string]bool
}

// Pid is the process's, 0 for a name without one.
func (n *nodes) Pid(name string) int {
	if p := n.processes[name]; p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// Exited is the process's end.
func (n *nodes) Exited(name string) <-chan struct{} { return n.processes[name].gone }

// Start notes the name.
func (n *nodes) Start(name string) error {
	n.started = append(n.started, name)
	return nil
}

// Expect notes what is expected.
func (n *nodes) Expect(name string, end bool) { n.expected[name] = end }

func start(t *testing.T) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), helper+"=1")
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		p.wait()
	})
	if err := p.does("start"); err != nil {
		t.Fatal(err)
	}
	return p
}

// wait returns when the process has ended, for what reason its state says.
func (p *process) wait() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Wait()
		close(p.gone)
	}
}

func (p *process) does(what string) error {
	if _, err := fmt.Fprintln(p.in, what); err != nil {
		return err
	}
	_, err := p.out.ReadString('\n')
	return err
}

// groups says where the process is.
func (p *process) groups(t *testing.T) string {
	t.Helper()
	all, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// injector needs root.
func injector(t *testing.T, processes map[string]*process) (*limits.Injector, *nodes) {
	t.Helper()
	for _, kind := range limits.Kinds() {
		if err := limits.Available(kind); err != nil {
			t.Skipf("LEFT OUT: %s: %v", kind, err)
		}
	}
	t.Cleanup(func() {
		for _, root := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"} {
			err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
				if err == nil && strings.HasPrefix(filepath.Base(path), fmt.Sprintf("raftstream-chaos-%d-", os.Getpid())) {
					t.Errorf("group %s is left", path)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	n := &nodes{processes: processes, expected: map[string]bool{}}
	return limits.New(n), n
}

func TestAProcessThatNeedsMoreMemoryIsKilled(t *testing.T) {
	p, other := start(t), start(t)
	i, n := injector(t, map[string]*process{"n1": p, "n2": other})
	f, err := i.Inject(t.Context(), schedule.Event{Kind: schedule.Memory, Bytes: 64 << 20}, []string{"n1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.does("eat"); err == nil {
		t.Error("256 MiB were had within a limit of 64")
	}
	p.wait()
	if !n.expected["n1"] {
		t.Error("the end of a process with a limit of memory is a surprise")
	}
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("the process ended by %v, expected a kill", p.cmd.ProcessState)
	}
	if err := other.does("eat"); err != nil {
		t.Errorf("the process without a limit: %v", err)
	}
	if proof, err := f.Heal(t.Context()); err != nil || proof.Bites == 0 {
		t.Errorf("proof %+v, error %v, expected a bite", proof, err)
	}
	if !slices.Equal(n.started, []string{"n1"}) || n.expected["n1"] {
		t.Errorf("started are %v, expected are ends of %v, expected n1 to run again", n.started, n.expected)
	}
}

func TestALimitOfMemoryEndsWithItsFault(t *testing.T) {
	p := start(t)
	before := p.groups(t)
	i, n := injector(t, map[string]*process{"n1": p})
	e := schedule.Event{Kind: schedule.Memory, Bytes: 64 << 20}
	f, err := i.Inject(t.Context(), e, []string{"n1"})
	if err != nil {
		t.Fatal(err)
	}
	if within := p.groups(t); within == before {
		t.Errorf("the process is in %s, as before", within)
	}
	if _, err := i.Inject(t.Context(), e, []string{"n1"}); err == nil {
		t.Error("a process bears two limits of memory")
	}
	if proof, err := f.Heal(t.Context()); err != nil || proof.Bites != 0 {
		t.Errorf("proof %+v, error %v, expected no bite", proof, err)
	}
	if after := p.groups(t); after != before {
		t.Errorf("the process is in %s, expected %s", after, before)
	}
	if err := p.does("eat"); err != nil {
		t.Errorf("after the fault: %v", err)
	}
	if len(n.started) != 0 || n.expected["n1"] {
		t.Errorf("started are %v, expected are ends of %v, expected none", n.started, n.expected)
	}
	if _, err := f.Heal(t.Context()); err == nil {
		t.Error("a fault was healed twice")
	}
}

func TestAProcessGetsItsShareOfTheProcessor(t *testing.T) {
	p, other := start(t), start(t)
	before := p.groups(t)
	i, n := injector(t, map[string]*process{"n1": p, "n2": other})
	f, err := i.Inject(t.Context(), schedule.Event{Kind: schedule.CPU, Percent: 5}, []string{"n1", "n2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.does("spin"); err != nil {
		t.Fatal(err)
	}
	proof, err := f.Heal(t.Context())
	if err != nil || proof.Bites == 0 {
		t.Errorf("proof %+v, error %v, expected a bite", proof, err)
	}
	if after := p.groups(t); after != before {
		t.Errorf("the process is in %s, expected %s", after, before)
	}
	p.in.Close()
	p.wait()
	if len(n.started) != 0 || len(n.expected) != 0 {
		t.Errorf("started are %v, expected are ends of %v, expected none", n.started, n.expected)
	}
	used := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	if used > spinTime/2 {
		t.Errorf("the process had %v of the processor in %v, expected 5 %% and what its start took", used, spinTime)
	}
}

func TestALimitThatCannotBeLeavesNothing(t *testing.T) {
	p := start(t)
	before := p.groups(t)
	i, n := injector(t, map[string]*process{"n1": p})
	memory := schedule.Event{Kind: schedule.Memory, Bytes: 1 << 30}
	for name, c := range map[string]struct {
		event   schedule.Event
		targets []string
	}{
		"another kind":             {schedule.Event{Kind: schedule.Kill}, []string{"n1"}},
		"no target":                {memory, nil},
		"one target is down":       {memory, []string{"n1", "n2"}},
		"no bytes":                 {schedule.Event{Kind: schedule.Memory}, []string{"n1"}},
		"too little processor":     {schedule.Event{Kind: schedule.CPU, Percent: 0.5}, []string{"n1"}},
		"more processor than ever": {schedule.Event{Kind: schedule.CPU, Percent: 1e9}, []string{"n1"}},
	} {
		if f, err := i.Inject(t.Context(), c.event, c.targets); err == nil {
			t.Errorf("%s: a fault came about: %+v", name, f)
		}
		if after := p.groups(t); after != before || n.expected["n1"] {
			t.Errorf("%s: the process is in %s, expected %s", name, after, before)
		}
	}
}
