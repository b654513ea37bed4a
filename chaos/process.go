// Package chaos owns fault injectors behind small interfaces, seeded schedules of faults, and the ports of what comes back
// after a fault. It promises that a fault that it reports as injected took effect; it must not know the engine.
package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is an operating system process under test. Its methods may be called from several goroutines.
type Process struct {
	cmd    *exec.Cmd
	output *os.File
	exited chan struct{}

	mu  sync.Mutex
	err error // of Wait, valid after exited is closed
}

// Program is what a process runs.
type Program struct {
	Path string
	Args []string
	Env  []string // variables besides those of this process
	Log  string   // path of the file that standard output and error are appended to
	// Own keeps an interrupt that is typed at the terminal of this process from the started one.
	Own bool
	// Hide keeps variables of this process from the started one whose names begin so; empty: none.
	Hide string
}

// StartProcess starts path with args. Standard output and error are appended to the file logPath.
func StartProcess(path, logPath string, env []string, args ...string) (*Process, error) {
	return Start(Program{Path: path, Log: logPath, Env: env, Args: args})
}

// Start starts a program.
func Start(run Program) (*Process, error) {
	out, err := os.OpenFile(run.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log of a process: %w", err)
	}
	cmd := exec.Command(run.Path, run.Args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(run.environ(), run.Env...)
	if run.Own {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", run.Path, err), out.Close())
	}
	p := &Process{cmd: cmd, output: out, exited: make(chan struct{})}
	go p.wait()
	return p, nil
}

func (run *Program) environ() []string {
	if run.Hide == "" {
		return os.Environ()
	}
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, run.Hide) })
}

func (p *Process) wait() {
	err := errors.Join(p.cmd.Wait(), p.output.Close())
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(p.exited)
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode is the exit status after Exited, -1 before or when a signal ended the process.
func (p *Process) ExitCode() int {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

// Signal is the signal that ended the process; 0: none did, or it runs.
func (p *Process) Signal() syscall.Signal {
	select {
	case <-p.exited:
	default:
		return 0
	}
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return s.Signal()
	}
	return 0
}

// Kill ends the process by SIGKILL and returns when it is gone. Killing one that has ended by itself is an error: the
// fault did not take effect.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.exited
	return nil
}

// Terminate sends SIGTERM and returns without waiting.
func (p *Process) Terminate() error { return p.signal(syscall.SIGTERM) }

// Pause stops the process by SIGSTOP; Continue lets it go on.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Continue undoes Pause.
func (p *Process) Continue() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	select {
	case <-p.exited:
		return fmt.Errorf("signal %v to process %d: it has ended", s, p.Pid())
	default:
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %v to process %d: %w", s, p.Pid(), err)
	}
	return nil
}

// Stop ends the process whatever its state: SIGTERM, and SIGKILL after the grace. It is for cleaning up.
func (p *Process) Stop(grace time.Duration) {
	select {
	case <-p.exited:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // a paused process would not see the next one
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}
