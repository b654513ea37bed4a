package cluster

import (
	"fmt"

	"github.com/raftstream/raftstream/chaos"
)

// Up reports whether the node's process runs and is not paused.
func (c *Cluster) Up(name string) bool {
	n, err := c.node(name)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return n.running() && !n.paused && !n.ending
}

// Kill ends a node's process by SIGKILL and returns when it is gone. One that has ended by itself cannot be killed.
func (c *Cluster) Kill(name string) error {
	return c.end(name, (*chaos.Process).Kill, func(n *node, on bool) { n.ending = on })
}

// Terminate asks a node to leave in order, and does not wait.
func (c *Cluster) Terminate(name string) error {
	return c.end(name, (*chaos.Process).Terminate, func(n *node, on bool) { n.ending, n.asked = on, on })
}

// end does what ends the process, which is then no surprise.
func (c *Cluster) end(name string, how func(*chaos.Process) error, mark func(n *node, on bool)) error {
	p, err := c.process(name)
	if err != nil {
		return err
	}
	c.mark(name, func(n *node) { mark(n, true) })
	if err := how(p); err != nil {
		c.mark(name, func(n *node) { mark(n, false) })
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Expect says whether the end of a node's process would be no surprise from now on: a fault may end it.
func (c *Cluster) Expect(name string, end bool) {
	c.mark(name, func(n *node) { n.ending = end })
}

// Pause stops a node's process; Continue lets it go on.
func (c *Cluster) Pause(name string) error {
	p, err := c.process(name)
	if err != nil {
		return err
	}
	if err := p.Pause(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.mark(name, func(n *node) { n.paused = true })
	return nil
}

// Continue undoes Pause.
func (c *Cluster) Continue(name string) error {
	p, err := c.process(name)
	if err != nil {
		return err
	}
	if err := p.Continue(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.mark(name, func(n *node) { n.paused = false })
	return nil
}

// Pid is the id of the node's process, 0 before its first start.
func (c *Cluster) Pid(name string) int {
	p, err := c.process(name)
	if err != nil {
		return 0
	}
	return p.Pid()
}

// Exited is closed when the node's present process has ended.
func (c *Cluster) Exited(name string) <-chan struct{} {
	p, err := c.process(name)
	if err != nil {
		over := make(chan struct{})
		close(over)
		return over
	}
	return p.Exited()
}

// Status is the exit status of the node's last process: -1 while it runs, and where a signal ended it.
func (c *Cluster) Status(name string) int {
	p, err := c.process(name)
	if err != nil {
		return -1
	}
	return p.ExitCode()
}

// Mend lets paused nodes go on and starts those that do not run. It is for the end of a run: faults mend what they broke.
func (c *Cluster) Mend() error {
	for _, n := range c.nodes {
		c.mu.Lock()
		paused := n.paused && n.running()
		c.mu.Unlock()
		if paused {
			if err := c.Continue(n.name); err != nil {
				return err
			}
		}
	}
	return c.StartAll()
}

func (c *Cluster) process(name string) (*chaos.Process, error) {
	n, err := c.node(name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.proc == nil {
		return nil, fmt.Errorf("%s was never started", name)
	}
	return n.proc, nil
}

func (c *Cluster) mark(name string, set func(*node)) {
	n, err := c.node(name)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	set(n)
}
