package runner

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/chaos/disk"
	"github.com/raftstream/raftstream/chaos/link"
)

// role is the variable that makes the binary of this test a process of its own: a runner, or a node that it starts.
const role = "RUNNER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "node":
		_, _ = io.Copy(io.Discard, os.Stdin) // for ever: nobody closes it
	case "runner":
		if err := die(os.Args[1], os.Args[2], os.Args[3] == "machines"); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	default:
		goleak.VerifyTestMain(m)
	}
}

// die is a runner that marks a run, starts a node, on disks and links where it is told so, and is then killed.
func die(dir, folder string, machines bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	m, err := Begin(dir, folder, self)
	if err != nil {
		return err
	}
	inside := func(start func() error) error { return start() }
	if machines {
		if _, err := disk.NewVolume(filepath.Join(folder, "data", "n1"), 16<<20); err != nil {
			return err
		}
		if _, err := disk.NewFaultFS(filepath.Join(folder, "disk", "n2"), filepath.Join(folder, "data", "n2")); err != nil {
			return err
		}
		n, err := link.Open(link.Config{Nodes: 2})
		if err != nil {
			return err
		}
		inside = func(start func() error) error { return n.Start("n1", start) }
	}
	node := child(self, "node", "start", "--data", filepath.Join(folder, "data", "n1", "node"))
	if err := inside(node.Start); err != nil {
		return err
	}
	fmt.Println(node.Process.Pid)
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(m)
	return nil
}

// child is a process of this binary. Its standard input ends with the test, and never with the runner.
func child(self, as string, args ...string) *exec.Cmd {
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Stdin = os.Stdin
	return cmd
}

// runner is a runner in a process of its own, and the node that it has started.
type runner struct {
	cmd  *exec.Cmd
	node int
}

func startRunner(t *testing.T, dir, folder, on string) *runner {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	r, w, err := os.Pipe() // open for as long as the test
	must(t, err)
	cmd := child(self, "runner", dir, folder, on)
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	x := &runner{cmd: cmd}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if x.node > 0 && runs(x.node) {
			_ = syscall.Kill(x.node, syscall.SIGKILL)
		}
		_, err := disk.Sweep(folder)
		must(t, errors.Join(err, r.Close(), w.Close()))
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	if _, err := fmt.Sscan(line, &x.node); err != nil {
		t.Fatalf("the runner said %q", line)
	}
	return x
}

func (r *runner) kill(t *testing.T) {
	t.Helper()
	must(t, r.cmd.Process.Kill())
	_ = r.cmd.Wait()
}

// runs reports whether a process is there and has not ended.
func runs(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, ok := strings.Cut(string(b), ") ")
	return err == nil && ok && !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func sweepAll(t *testing.T, dir string) []Swept {
	t.Helper()
	s, err := Sweep(dir)
	must(t, err)
	return s
}

func TestADeadRunnersNodesAreEndedAndALivingOnesAreNot(t *testing.T) {
	dir, dead, alive := filepath.Join(t.TempDir(), "marks"), t.TempDir(), t.TempDir()
	a, b := startRunner(t, dir, dead, "loopback"), startRunner(t, dir, alive, "loopback")
	if s := sweepAll(t, dir); len(s) != 0 {
		t.Fatalf("swept %v, and both runners live", s)
	}
	a.kill(t)
	if !runs(a.node) {
		t.Fatal("the node ended with its runner: nothing is shown")
	}
	s := sweepAll(t, dir)
	if len(s) != 1 || s[0] != (Swept{Folder: dead, Processes: 1}) {
		t.Errorf("swept %+v, expected one process of %s", s, dead)
	}
	if runs(a.node) || !runs(b.node) {
		t.Errorf("node of the dead runner runs: %v; of the living one: %v", runs(a.node), runs(b.node))
	}
	if s := sweepAll(t, dir); len(s) != 0 {
		t.Errorf("swept %v, expected nothing more", s)
	}
}

// Disks are unmounted, and what is held by open files alone goes with the processes.
func TestADeadRunnersDisksAndLinksAreGone(t *testing.T) {
	if err := errors.Join(link.Available(), disk.VolumesAvailable(), disk.FaultFSAvailable()); err != nil {
		t.Skipf("LEFT OUT, nothing was mounted: %v", err)
	}
	dir, folder := filepath.Join(t.TempDir(), "marks"), t.TempDir()
	r := startRunner(t, dir, folder, "machines")
	network, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", r.node))
	must(t, err)
	if own, _ := os.Readlink("/proc/self/ns/net"); network == "" || network == own {
		t.Fatalf("the node is in namespace %s, this process in %s", network, own)
	}
	r.kill(t)
	if left := mounts(t, folder); left != 2 {
		t.Fatalf("%d mounts are left, expected those of 2 disks: nothing is shown", left)
	}
	if s := sweepAll(t, dir); len(s) != 1 || s[0] != (Swept{Folder: folder, Processes: 1, Mounts: 2}) {
		t.Errorf("swept %+v, expected a process and 2 mounts", s)
	}
	if left := mounts(t, folder); left != 0 {
		t.Errorf("%d mounts are left", left)
	}
	held, err := filepath.Glob("/proc/[0-9]*/ns/net")
	must(t, err)
	for _, by := range held {
		if n, _ := os.Readlink(by); n == network {
			t.Errorf("%s holds namespace %s yet", by, n)
		}
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(table), network) {
		t.Errorf("namespace %s is held by a mount", network)
	}
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	for _, file := range backing {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), folder) {
			t.Errorf("%s is still attached: %s", file, b)
		}
	}
}

func mounts(t *testing.T, folder string) (n int) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], folder+"/") {
			n++
		}
	}
	return n
}

func TestARunThatEndedInOrderLeavesNoMark(t *testing.T) {
	dir, folder := filepath.Join(t.TempDir(), "marks"), t.TempDir()
	self, err := os.Executable()
	must(t, err)
	m, err := Begin(dir, folder, self)
	if err != nil {
		t.Fatal(err)
	}
	if s := sweepAll(t, dir); len(s) != 0 {
		t.Errorf("swept %v while it runs", s)
	}
	must(t, m.End())
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// A node is what runs the run's binary on the run's data; a process that only speaks of it is not.
func TestOthersProcessesAreNotEnded(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	r, w, err := os.Pipe()
	must(t, err)
	folder := t.TempDir()
	start := func(path string, args ...string) int {
		cmd := child(path, "node", args...)
		cmd.Stdin = r
		must(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd.Process.Pid
	}
	data := filepath.Join(folder, "data", "n1")
	for name, tt := range map[string]struct {
		pid  int
		want bool
	}{
		"a node of the run":           {start(self, "start", "--data", data), true},
		"a node of another run":       {start(self, "start", "--data", folder+"2/data/n1"), false},
		"one that goes up from there": {start(self, "start", "--data", folder+"/../x"), false},
		"no data":                     {start(self, "start", "--log", data), false},
		"nothing after it":            {start(self, "start", "--data"), false},
		"another program":             {start("/bin/cat", "-", "--data", data), false},
	} {
		n := note{Folders: []string{folder}, Binary: self}
		if got := n.started(tt.pid); got != tt.want {
			t.Errorf("%s: %v, expected %v", name, got, tt.want)
		}
	}
	t.Cleanup(func() { must(t, errors.Join(r.Close(), w.Close())) })
}

func TestWhatIsNoMarkIsNotFollowed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "marks")
	must(t, os.Mkdir(dir, 0o700))
	for name, text := range map[string]string{
		"empty": "", "text": "hello", "root": `{"folders":["/"],"binary":"/bin/true"}`, "relative": `{"folders":["x"],"binary":"/bin/true"}`,
		"upwards": `{"folders":["/tmp/.."],"binary":"/bin/true"}`, "none": `{"binary":"/bin/true"}`, "no binary": `{"folders":["/tmp/x"]}`,
	} {
		path := filepath.Join(dir, "x"+ending)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		if s, err := Sweep(dir); err == nil || len(s) != 0 {
			t.Errorf("%s: %v, %v, expected an error", name, s, err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: the mark is gone", name)
		}
	}
	must(t, os.Chmod(dir, 0o777))
	if _, err := Sweep(dir); err == nil {
		t.Error("marks that everybody may write are followed")
	}
	if _, err := Begin(dir, t.TempDir(), "/bin/true"); err == nil {
		t.Error("a mark is made where everybody may write")
	}
}
