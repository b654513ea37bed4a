// Package limits owns faults of scarcity: a running process gets no more memory, or no more of the processor, than a fault
// says. It works by control groups of Linux, version 1 or 2, whichever the machine has, and promises that a process is
// back in its own group, and the group of the fault gone, when the fault is healed. It must not know whose processes
// these are.
package limits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

// Injector brings about faults of the kinds memory and cpu.
//
// Memory is what the process holds in all, without what the kernel can take back, and what it holds already counts: it is
// killed when it needs more. A limit below what it holds kills it when it next needs a page. CPU is a share of one core,
// dealt out ten times a second.
//
// One process bears one fault of each kind at a time; where groups are of version 2, one of both. A process that is started
// again bears none.
type Injector struct {
	nodes Nodes
}

// Nodes is what limits need of the nodes.
type Nodes interface {
	// Pid is the id of the node's process, as it was last started; 0: it never was.
	Pid(name string) int
	// Exited is closed when that process has ended.
	Exited(name string) <-chan struct{}
	// Start starts a node that has ended. It is no error if it runs.
	Start(name string) error
	// Expect says whether the end of the process would be no surprise from now on.
	Expect(name string, end bool)
}

// New makes an injector for the processes of nodes.
func New(nodes Nodes) *Injector { return &Injector{nodes} }

// Kinds gives the kinds of faults that an Injector brings about.
func Kinds() []schedule.Kind { return []schedule.Kind{schedule.Memory, schedule.CPU} }

// Available says why faults of the kind cannot be brought about here, nil if they can. It makes a group to find out, and
// puts nobody into it.
func Available(kind schedule.Kind) error {
	l, err := limitOf(schedule.Event{Kind: kind, Bytes: 1 << 30, Percent: 100})
	if err != nil {
		return err
	}
	g, err := newGroup(l, os.Getpid())
	if err != nil {
		return fmt.Errorf("limits need root and control groups: %w", err)
	}
	return g.remove(context.Background())
}

// Inject limits the processes of the targets.
func (i *Injector) Inject(ctx context.Context, e schedule.Event, targets []string) (chaos.Fault, error) {
	l, err := limitOf(e)
	if err != nil {
		return nil, fmt.Errorf("fault %d of limits: %w", e.ID, err)
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("fault %d of limits: it has no target", e.ID)
	}
	f := &fault{nodes: i.nodes, limit: l}
	for _, node := range targets {
		if err := i.limit(ctx, f, node); err != nil {
			return nil, errors.Join(fmt.Errorf("fault %d of limits on %s: %w", e.ID, node, err), f.end(ctx))
		}
	}
	return f, nil
}

func (i *Injector) limit(ctx context.Context, f *fault, node string) error {
	pid := i.nodes.Pid(node)
	if pid == 0 || ended(i.nodes, node) {
		return errors.New("it does not run")
	}
	g, err := newGroup(f.limit, pid)
	if err != nil {
		return err
	}
	if f.limit.kind == schedule.Memory {
		i.nodes.Expect(node, true)
	}
	if err := g.add(pid); err != nil {
		f.unexpect(node)
		return errors.Join(err, g.remove(ctx))
	}
	f.groups = append(f.groups, limited{node, g})
	return nil
}

func ended(n Nodes, node string) bool {
	select {
	case <-n.Exited(node):
		return true
	default:
		return false
	}
}

// limit is what a fault allows.
type limit struct {
	kind  schedule.Kind
	value int64 // bytes, or microseconds of each period
}

// period is what shares of the processor are dealt out for, in microseconds; minQuota is the least that the kernel takes.
const (
	period   = 100_000
	minQuota = 1_000
)

func limitOf(e schedule.Event) (limit, error) {
	switch e.Kind {
	case schedule.Memory:
		if e.Bytes <= 0 {
			return limit{}, fmt.Errorf("%d bytes of memory, expected more than 0", e.Bytes)
		}
		return limit{e.Kind, e.Bytes}, nil
	case schedule.CPU:
		quota := int64(e.Percent / 100 * period)
		if quota < minQuota || e.Percent > 100_000 {
			return limit{}, fmt.Errorf("%v percent of a core, expected 1 to 100000", e.Percent)
		}
		return limit{e.Kind, quota}, nil
	}
	return limit{}, fmt.Errorf("kind %q, expected one of %v", e.Kind, Kinds())
}

// fault is limits that are in effect.
type fault struct {
	nodes  Nodes
	limit  limit
	groups []limited

	mu     sync.Mutex
	healed bool
}

// limited is a node and the group that its process was put in.
type limited struct {
	node string
	*group
}

var errHealed = errors.New("the fault is healed already")

// Heal puts the processes that are left back where they were, starts those again that a limit ended, and says how often the
// limits were met.
func (f *fault) Heal(ctx context.Context) (chaos.Proof, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.healed {
		return chaos.Proof{}, errHealed
	}
	f.healed = true
	proof := chaos.Proof{What: "times the memory limit was met"}
	if f.limit.kind == schedule.CPU {
		proof.What = "periods in which the processor was withheld"
	}
	var errs []error
	for _, g := range f.groups {
		bites, err := g.bites()
		proof.Bites += bites
		errs = append(errs, err)
	}
	errs = append(errs, f.end(ctx))
	for _, g := range f.groups {
		// Who ended a process that met no limit starts it again.
		if f.limit.kind == schedule.Memory && proof.Bites > 0 && ended(f.nodes, g.node) {
			errs = append(errs, f.nodes.Start(g.node))
		}
	}
	return proof, errors.Join(errs...)
}

func (f *fault) end(ctx context.Context) error {
	var errs []error
	for _, g := range f.groups {
		errs = append(errs, g.remove(ctx))
		f.unexpect(g.node)
	}
	return errors.Join(errs...)
}

// unexpect ends what only limits of memory need.
func (f *fault) unexpect(node string) {
	if f.limit.kind == schedule.Memory {
		f.nodes.Expect(node, false)
	}
}

// held is what a process has in memory that the kernel cannot take back, in bytes.
func held(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("look at the memory of process %d: %w", pid, err)
	}
	return counted(string(status), ":", "RssAnon", "RssShmem") * 1024, nil
}

// counted adds up the numbers of some names, where each line is a name, a separator and a number.
func counted(text, separator string, names ...string) int64 {
	sum := int64(0)
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, separator)
		fields := strings.Fields(rest)
		if !slices.Contains(names, strings.TrimSpace(name)) || len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			sum += n
		}
	}
	return sum
}
