package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

// Processes is what faults of processes need of the nodes.
type Processes interface {
	// Kill ends a node's process by SIGKILL, and returns when it is gone.
	Kill(name string) error
	Pause(name string) error
	Continue(name string) error
	// Terminate asks the node to leave in order, without waiting.
	Terminate(name string) error
	Start(name string) error
	Exited(name string) <-chan struct{}
	// Status is the exit status of the node's last process: -1 while it runs, and where a signal ended it.
	Status(name string) int
	Pid(name string) int
}

// leaveTime bounds how long a node may take to leave in order, its own limits added up.
const leaveTime = 30 * time.Second

// ProcessInjectors gives the injectors of kill, pause and terminate.
func ProcessInjectors(p Processes) map[schedule.Kind]chaos.Injector {
	return map[schedule.Kind]chaos.Injector{
		schedule.Kill:      inject(func(ctx context.Context, _ schedule.Event, t []string) (chaos.Fault, error) { return kill(p, t) }),
		schedule.Pause:     inject(func(ctx context.Context, _ schedule.Event, t []string) (chaos.Fault, error) { return pause(p, t) }),
		schedule.Terminate: inject(func(ctx context.Context, _ schedule.Event, t []string) (chaos.Fault, error) { return terminate(p, t) }),
	}
}

// inject is an injector that is one function.
type inject func(context.Context, schedule.Event, []string) (chaos.Fault, error)

// Inject calls the function.
func (f inject) Inject(ctx context.Context, e schedule.Event, targets []string) (chaos.Fault, error) {
	return f(ctx, e, targets)
}

// healing is a fault that is one function.
type healing func(context.Context) (chaos.Proof, error)

// Heal calls the function.
func (f healing) Heal(ctx context.Context) (chaos.Proof, error) { return f(ctx) }

func kill(p Processes, targets []string) (chaos.Fault, error) {
	proof := chaos.Proof{What: "processes killed"}
	for i, t := range targets {
		if err := p.Kill(t); err != nil {
			return nil, errors.Join(err, startAll(p, targets[:i]))
		}
		proof.Bites++
	}
	return healing(func(context.Context) (chaos.Proof, error) { return proof, startAll(p, targets) }), nil
}

func startAll(p Processes, targets []string) error {
	var errs []error
	for _, t := range targets {
		errs = append(errs, p.Start(t))
	}
	return errors.Join(errs...)
}

func pause(p Processes, targets []string) (chaos.Fault, error) {
	proof := chaos.Proof{What: "processes stopped, as the kernel says"}
	resume := func(some []string) error {
		var errs []error
		for _, t := range some {
			errs = append(errs, p.Continue(t))
		}
		return errors.Join(errs...)
	}
	for i, t := range targets {
		if err := p.Pause(t); err != nil {
			return nil, errors.Join(err, resume(targets[:i]))
		}
	}
	return healing(func(context.Context) (chaos.Proof, error) {
		for _, t := range targets {
			if stopped(p.Pid(t)) {
				proof.Bites++
			}
		}
		return proof, resume(targets)
	}), nil
}

// stopped reports whether the kernel says that the process is stopped.
func stopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, ok := strings.Cut(string(b), ") ") // the name before may hold anything
	return ok && strings.HasPrefix(after, "T")
}

func terminate(p Processes, targets []string) (chaos.Fault, error) {
	for i, t := range targets {
		if err := p.Terminate(t); err != nil {
			_, restart := leave(p, targets[:i])(context.Background())
			return nil, errors.Join(err, restart)
		}
	}
	return leave(p, targets), nil
}

// leave waits until nodes that were asked to leave have left, and starts them again. One that has not left in time is
// killed: who hears of the ends of processes knows that it was asked.
func leave(p Processes, targets []string) healing {
	return func(ctx context.Context) (chaos.Proof, error) {
		ctx, cancel := context.WithTimeout(ctx, leaveTime)
		defer cancel()
		proof := chaos.Proof{What: "processes that left in order"}
		var errs []error
		for _, t := range targets {
			select {
			case <-p.Exited(t):
				if p.Status(t) == 0 {
					proof.Bites++
				}
			case <-ctx.Done():
				errs = append(errs, p.Kill(t))
			}
			errs = append(errs, p.Start(t))
		}
		return proof, errors.Join(errs...)
	}
}
