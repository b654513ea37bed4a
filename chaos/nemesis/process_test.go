package nemesis

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// one is the processes of a cluster of one, whose signals may not arrive.
type one struct {
	Processes
	pid   int
	pause func(pid int) error
}

func (o *one) Pid(string) int        { return o.pid }
func (o *one) Pause(string) error    { return o.pause(o.pid) }
func (o *one) Continue(string) error { return syscall.Kill(o.pid, syscall.SIGCONT) }
func stop(pid int) error             { return syscall.Kill(pid, syscall.SIGSTOP) }
func lost(int) error                 { return nil }

func TestAPauseIsProvenByTheKernel(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Skipf("no process to pause: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, tt := range []struct {
		name  string
		pause func(int) error
		want  int64
	}{{"the signal is lost", lost, 0}, {"the process stops", stop, 1}} {
		p := &one{pid: cmd.Process.Pid, pause: tt.pause}
		f, err := ProcessInjectors(p)[schedule.Pause].Inject(t.Context(), schedule.Event{}, []string{"n1"})
		if err != nil {
			t.Fatal(err)
		}
		for over := time.Now().Add(10 * time.Second); tt.want > 0 && !stopped(p.pid) && time.Now().Before(over); {
			runtime.Gosched() // the kernel stops it soon
		}
		proof, err := f.Heal(t.Context())
		if err != nil || proof.Bites != tt.want {
			t.Errorf("%s: %d %s, expected %d, %v", tt.name, proof.Bites, proof.What, tt.want, err)
		}
	}
	if stopped(os.Getpid()) {
		t.Error("this process is stopped, as it says itself")
	}
}
