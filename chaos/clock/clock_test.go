package clock

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/chaos/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnotherVersionOfGoIsRefused(t *testing.T) {
	for _, tt := range []struct {
		source string
		times  int
	}{
		{"", 0},
		{"func Now() Time {\n\tsec, nsec, mono := now()\n", 0},
		{rightNow + rightNow, 2},
	} {
		_, err := patch([]byte(tt.source))
		if want := fmt.Sprintf("is there %d times, expected 1", tt.times); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, expected %s", tt.source, err, want)
		}
	}
	got, err := patch([]byte("a\n" + rightNow + "b\n"))
	if err != nil || string(got) != "a\n"+wrongNow+"b\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestMotionsAddUpAndAreTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(filepath.Join(t.TempDir(), "n1"))
		if err != nil {
			t.Fatal(err)
		}
		expect := func(what string, want time.Duration) {
			t.Helper()
			if got := s.Offset(); got != want {
				t.Errorf("%s: the clock is ahead by %v, expected %v", what, got, want)
			}
		}
		after := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		jump := s.Jump(-time.Hour)
		expect("jump", -time.Hour)
		drift := s.Drift(10*time.Second, time.Second)
		after(500 * time.Millisecond)
		expect("half of a drift", -time.Hour+5*time.Second)
		after(time.Second)
		expect("a drift that is over", -time.Hour+10*time.Second)
		jump.End()
		jump.End()
		expect("after the jump", 10*time.Second)
		drift.End()
		expect("after the drift", 0)
		strobe := s.Strobe(time.Second, 20)
		expect("ahead", time.Second)
		after(60 * time.Millisecond)
		expect("behind", -time.Second)
		after(50 * time.Millisecond)
		expect("ahead again", time.Second)
		s.Drift(time.Hour, time.Hour)
		s.Reset()
		expect("reset", 0)
		strobe.End()
		expect("ended after a reset", 0)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// shown is a process that says what its clocks are.
type shown struct {
	t     *testing.T
	in    io.Writer
	out   io.Reader
	began time.Time // ours
}

func show(t *testing.T, binary, variable string) *shown {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), binary)
	cmd.Env = append(os.Environ(), variable)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &shown{t: t, in: in, out: out, began: time.Now()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// read gives how far the process's wall clock is ahead of ours, and checks its monotonic clock.
func (p *shown) read() time.Duration {
	p.t.Helper()
	var wall, since int64
	if _, err := fmt.Fscan(p.out, &wall, &since); err != nil {
		p.t.Fatal(err)
	}
	if lasted := time.Since(p.began); time.Duration(since) < 0 || time.Duration(since) > lasted {
		p.t.Errorf("its monotonic clock says that %v have passed since its start, ours %v at most", time.Duration(since), lasted)
	}
	return time.Until(time.Unix(0, wall))
}

func (p *shown) ask() time.Duration {
	p.t.Helper()
	if _, err := p.in.Write([]byte{'.'}); err != nil {
		p.t.Fatal(err)
	}
	return p.read()
}

// near: what the process says is on its way for a while, on a busy machine for seconds.
func near(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got > want || got < want-10*time.Second {
		t.Errorf("%s: the clock is ahead by %v, expected %v or a little less", what, got, want)
	}
}

// The clock of a running process goes wrong and right again, that of its timers and durations does not, and a process that
// is started again finds it as it is.
func TestTheClockOfARunningProcessIsSkewed(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the standard library; left out by -short")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "show")
	if err := Build(t.Context(), "./testdata/show", binary); err != nil {
		t.Fatal(err)
	}
	i := NewInjector(func(node string) string { return filepath.Join(dir, node) })
	defer func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}()
	inject := func(kind schedule.Kind, off time.Duration) (heal func(bites int64)) {
		t.Helper()
		e := schedule.Event{Kind: kind, OffsetMS: off.Milliseconds(), ForMS: 1}
		f, err := i.Inject(t.Context(), e, []string{"n1"})
		if err != nil {
			t.Fatal(err)
		}
		return func(bites int64) {
			t.Helper()
			proof, err := f.Heal(t.Context())
			if err != nil || proof.Bites != bites {
				t.Errorf("%s: %d readings were off, %v, expected %d", kind, proof.Bites, err, bites)
			}
		}
	}
	variable, err := i.Prepare("n1")
	if err != nil || variable != Variable+"="+filepath.Join(dir, "n1") {
		t.Fatal(variable, err)
	}
	if _, err := i.Inject(t.Context(), schedule.Event{Kind: schedule.ClockJump, OffsetMS: 1}, []string{"n1"}); err == nil || !strings.Contains(err.Error(), "no process has mapped") {
		t.Errorf("a clock that nobody reads was skewed: %v", err)
	}
	p := show(t, binary, variable)
	near(t, "at the start", p.read(), 0)

	heal := inject(schedule.ClockJump, -time.Hour)
	near(t, "an hour back", p.ask(), -time.Hour)
	again := show(t, binary, variable)
	near(t, "another process", again.read(), -time.Hour)
	more := inject(schedule.ClockDrift, 25*time.Hour)
	s, err := i.open("n1")
	if err != nil {
		t.Fatal(err)
	}
	for s.Offset() != 24*time.Hour { // the drift takes a millisecond
		runtime.Gosched()
	}
	near(t, "a day ahead", p.ask(), 24*time.Hour)
	more(1)
	heal(3)
	near(t, "healed", p.ask(), 0)

	inject(schedule.ClockStrobe, 0)(0) // a fault without effect does not bite
	if _, err := i.Inject(t.Context(), schedule.Event{Kind: schedule.Kill}, []string{"n1"}); err == nil {
		t.Error("a clock injector killed a process")
	}
	plain := show(t, binary, Variable+"=")
	near(t, "a process without a file", plain.read(), 0)
}
