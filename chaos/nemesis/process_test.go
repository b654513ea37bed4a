package nemesis

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
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

// left is the processes of a cluster of one that was asked to leave.
type left struct {
	Processes
	exited chan struct{}
	status int
	did    []string
}

func (l *left) Terminate(string) error        { return nil }
func (l *left) Exited(string) <-chan struct{} { return l.exited }
func (l *left) Status(string) int             { return l.status }
func (l *left) Kill(string) error             { l.did = append(l.did, "kill"); return nil }
func (l *left) Start(string) error            { l.did = append(l.did, "start"); return nil }

func TestOnlyWhoEndsWithStatusZeroHasLeftInOrder(t *testing.T) {
	for _, tt := range []struct {
		ends   bool
		status int
		bites  int64
		did    string
	}{{true, 0, 1, "start"}, {true, 1, 0, "start"}, {false, -1, 0, "kill start"}} {
		synctest.Test(t, func(t *testing.T) {
			l := &left{exited: make(chan struct{}), status: tt.status}
			f, err := ProcessInjectors(l)[schedule.Terminate].Inject(t.Context(), schedule.Event{}, []string{"n1"})
			must(t, err)
			if tt.ends {
				close(l.exited)
			}
			p, err := f.Heal(t.Context())
			if did := strings.Join(l.did, " "); err != nil || p.Bites != tt.bites || did != tt.did {
				t.Errorf("%+v: %d bites, done %q, %v", tt, p.Bites, did, err)
			}
		})
	}
}
