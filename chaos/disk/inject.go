package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

const (
	// endsWithin is how long a node may take to end by itself after its disk failed: it does at once, on a machine with time.
	endsWithin = 10 * time.Second
	// refusesWithin is how long a node is watched that was started over damaged files: what it refuses it refuses early.
	refusesWithin = 5 * time.Second
)

// Config says what injectors of faults of disks have to do with.
type Config struct {
	Nodes chaos.Nodes
	// Volume gives the volume under a node's data directory, Faults the file system in front of it; nil: there is none. A
	// function that is nil leaves out the kinds that need it.
	Volume func(node string) *Volume
	Faults func(node string) *FaultFS
	// Refusals counts what a node has said so far of a disk without space: a volume does not tell what it refused, so this is
	// the proof that a full one was met. It is needed where there are volumes.
	Refusals func(node string) (int64, error)
	// Seed decides what is damaged, together with the number of the event.
	Seed uint64
	// EndsWithin is how long a node may go on after its disk failed. 0: 10 s.
	EndsWithin time.Duration
}

// Injectors gives those that can be had here, by kind.
func Injectors(c Config) map[schedule.Kind]chaos.Injector {
	m := map[schedule.Kind]chaos.Injector{
		schedule.BitFlip:  injector{c, atRest(bitFlip)},
		schedule.Truncate: injector{c, atRest(truncate)},
		schedule.Wipe:     injector{c, atRest(wipe)},
	}
	if c.Volume != nil {
		m[schedule.PowerCut] = injector{c, powerCut}
		m[schedule.Full] = injector{c, fill}
	}
	if c.Faults != nil {
		m[schedule.Full] = injector{c, noSpace}
		m[schedule.SyncError] = injector{c, syncError}
		m[schedule.TornWrite] = injector{c, tornWrite}
		m[schedule.SlowSync] = injector{c, slowSync}
	}
	return m
}

// injector does something to each target, and undoes it.
type injector struct {
	Config
	do func(ctx context.Context, c *Config, e schedule.Event, target string) (heal, error)
}

// heal ends a fault of one node and gives its bites and their unit. It waits no longer than ctx for what may not happen.
type heal func(ctx context.Context) (chaos.Proof, error)

// Inject injects the event's fault at all targets at the same time. Where it fails at one, it is healed at the others.
func (i injector) Inject(ctx context.Context, e schedule.Event, targets []string) (chaos.Fault, error) {
	f := make(fault, len(targets))
	errs := make([]error, len(targets))
	var all sync.WaitGroup
	for n, target := range targets {
		all.Go(func() {
			if f[n], errs[n] = i.do(ctx, &i.Config, e, target); errs[n] != nil {
				errs[n] = fmt.Errorf("%s at %s: %w", e.Kind, target, errs[n])
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		_, undo := f.Heal(ctx)
		return nil, errors.Join(err, undo)
	}
	return f, nil
}

// fault is one heal for each target, nil where there is nothing to heal.
type fault []heal

// Heal heals all targets at the same time. The proof is no bite if there was a target without one.
func (f fault) Heal(ctx context.Context) (chaos.Proof, error) {
	proofs := make([]chaos.Proof, len(f))
	errs := make([]error, len(f))
	var all sync.WaitGroup
	for n, h := range f {
		if h != nil {
			all.Go(func() { proofs[n], errs[n] = h(ctx) })
		}
	}
	all.Wait()
	var sum chaos.Proof
	var violations []string
	for _, p := range proofs {
		sum.Bites += p.Bites
		sum.What = p.What
		sum.Replaced += p.Replaced
		if p.Violation != "" {
			violations = append(violations, p.Violation)
		}
	}
	sum.Violation = strings.Join(violations, "; ")
	if i := slices.IndexFunc(proofs, func(p chaos.Proof) bool { return p.Bites == 0 }); i >= 0 {
		sum.Bites, sum.What = 0, proofs[i].What
	}
	return sum, errors.Join(errs...)
}

func powerCut(_ context.Context, c *Config, _ schedule.Event, target string) (heal, error) {
	v := c.Volume(target)
	if v == nil {
		return nil, errors.New("it has no volume")
	}
	if ended(c.Nodes, target) {
		return nil, errors.New("it does not run")
	}
	if err := v.Cut(); err != nil {
		return nil, err
	}
	killed := kill(c.Nodes, target)
	return func(context.Context) (chaos.Proof, error) {
		p := chaos.Proof{What: "power cuts"}
		cut, err := v.Remount()
		if err := errors.Join(killed, err, c.drop(target)); err != nil {
			return p, err
		}
		if cut {
			p.Bites = 1
		}
		return p, c.Nodes.Start(target)
	}, nil
}

// kill ends a node that may be ending by itself: its disk has failed. It returns when the node is gone.
func kill(n chaos.Nodes, target string) error {
	err := n.Kill(target)
	if errors.Is(err, os.ErrProcessDone) {
		<-n.Exited(target)
		return nil
	}
	if err != nil && ended(n, target) {
		return nil
	}
	return err
}

func ended(n chaos.Nodes, target string) bool {
	select {
	case <-n.Exited(target):
		return true
	default:
		return false
	}
}

// drop makes the files of a node that has ended be what its disk holds.
func (c *Config) drop(target string) error {
	if c.Faults == nil || c.Faults(target) == nil {
		return nil
	}
	_, err := c.Faults(target).Drop()
	return err
}

// fill takes the space of the volume.
func fill(_ context.Context, c *Config, e schedule.Event, target string) (heal, error) {
	v := c.Volume(target)
	if v == nil {
		return nil, errors.New("it has no volume")
	}
	before, err := c.Refusals(target)
	if err == nil {
		err = v.Fill(e.Bytes)
	}
	if err != nil {
		return nil, errors.Join(err, v.Free())
	}
	return func(context.Context) (chaos.Proof, error) {
		p := chaos.Proof{What: "times that nodes said that no space is left"}
		left, err := v.Left()
		after, said := c.Refusals(target)
		if err = errors.Join(err, said); err == nil && left < e.Bytes+1<<20 {
			p.Bites = after - before
		}
		return p, errors.Join(err, v.Free(), again(c.Nodes, target))
	}, nil
}

// again starts a node that has ended.
func again(n chaos.Nodes, target string) error {
	if ended(n, target) {
		return n.Start(target)
	}
	return nil
}

// rule puts a rule in force at the target.
func (c *Config) rule(e schedule.Event, target string, r Rule) (*FaultFS, *Active, error) {
	f := c.Faults(target)
	if f == nil {
		return nil, nil, errors.New("its files are not behind a file system that fails")
	}
	part, err := partOf(e.File)
	if err != nil {
		return nil, nil, err
	}
	data, err := filepath.Rel(f.Dir(), c.Nodes.Dir(target))
	if err != nil {
		return nil, nil, err
	}
	if r.Under = filepath.ToSlash(filepath.Join(data, part)); r.Under == "." {
		r.Under = ""
	}
	return f, f.Begin(r), nil
}

// partOf gives the part of a data directory that an event's File names.
func partOf(file string) (string, error) {
	switch file {
	case "":
		return "", nil
	case "raft", "wal":
		return file, nil
	case "snapshots":
		return "raft/snapshots", nil
	}
	return "", fmt.Errorf("file %q, expected raft, wal or snapshots", file)
}

func noSpace(_ context.Context, c *Config, e schedule.Event, target string) (heal, error) {
	_, a, err := c.rule(e, target, Rule{Trouble: NoSpace, Bytes: e.Bytes})
	if err != nil {
		return nil, err
	}
	return func(context.Context) (chaos.Proof, error) {
		return chaos.Proof{Bites: a.End(), What: "answers that no space is left"}, again(c.Nodes, target)
	}, nil
}

func slowSync(_ context.Context, c *Config, e schedule.Event, target string) (heal, error) {
	_, a, err := c.rule(e, target, Rule{Trouble: SyncSlow, Delay: time.Duration(e.DelayMS) * time.Millisecond})
	if err != nil {
		return nil, err
	}
	return func(context.Context) (chaos.Proof, error) {
		return chaos.Proof{Bites: a.End(), What: "slow syncs"}, again(c.Nodes, target)
	}, nil
}

func syncError(_ context.Context, c *Config, e schedule.Event, target string) (heal, error) {
	return c.failing(e, target, Rule{Trouble: SyncFails, Times: max(e.Count, 1)}, "syncs failed")
}

func tornWrite(_ context.Context, c *Config, e schedule.Event, target string) (heal, error) {
	return c.failing(e, target, Rule{Trouble: WriteTorn, Times: max(e.Count, 1)}, "writes torn")
}

// failing is for faults after which a node must end, where they hit more than scratch. One that goes on is killed, so that
// what it took for written is gone: acknowledging it would show. That it went on after a failed sync is a violation by
// itself; a failed write it may have taken back.
func (c *Config) failing(e schedule.Event, target string, r Rule, what string) (heal, error) {
	f, a, err := c.rule(e, target, r)
	if err != nil {
		return nil, err
	}
	exited := c.Nodes.Exited(target) // of the process that the fault is for
	return func(ctx context.Context) (chaos.Proof, error) {
		p := chaos.Proof{Bites: a.End(), What: what}
		if p.Bites == 0 {
			return p, again(c.Nodes, target)
		}
		if !within(ctx, exited, cmp.Or(c.EndsWithin, endsWithin)) {
			p.What += ", and the node went on"
			if n := a.Durable(); n > 0 && r.Trouble == SyncFails && ctx.Err() == nil {
				p.Violation = fmt.Sprintf("%s went on after %d failed syncs of files that must be durable", target, n)
			}
			if err := kill(c.Nodes, target); err != nil {
				return p, err
			}
		}
		if _, err := f.Drop(); err != nil {
			return p, err
		}
		return p, c.Nodes.Start(target)
	}, nil
}

// within reports whether the channel is closed before the time is over.
func within(ctx context.Context, c <-chan struct{}, d time.Duration) bool {
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-c:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

// atRest is for damage while a node is down. The node is started when the fault is healed. Where it refuses what it finds,
// its disk is replaced by an empty one, and it is started as a new member: what the operator does.
func atRest(
	damage func(c *Config, e schedule.Event, target string) (find func() (string, error), do func(path string) (Damage, error)),
) func(context.Context, *Config, schedule.Event, string) (heal, error) {
	return func(_ context.Context, c *Config, e schedule.Event, target string) (heal, error) {
		find, do := damage(c, e, target)
		if _, err := find(); err != nil { // nothing to damage: then nothing is killed for it
			return nil, err
		}
		if err := c.Nodes.Kill(target); err != nil {
			return nil, err
		}
		path, err := find()
		if err != nil {
			return nil, errors.Join(err, c.Nodes.Start(target))
		}
		d, err := do(path)
		if err != nil {
			return nil, errors.Join(err, c.Nodes.Start(target))
		}
		return func(ctx context.Context) (chaos.Proof, error) {
			p := chaos.Proof{Bites: d.N, What: d.What}
			if err := c.Nodes.Start(target); err != nil {
				return p, err
			}
			if e.Kind == schedule.Wipe || !within(ctx, c.Nodes.Exited(target), refusesWithin) {
				return p, nil
			}
			if s := c.Nodes.Status(target); s != chaos.ExitRefused {
				if s != chaos.ExitFailpoint {
					p.Violation = fmt.Sprintf("%s ended with status %d over %s, expected %d", target, s, d, chaos.ExitRefused)
				}
				return p, c.Nodes.Start(target)
			}
			p.What += ", refused, disk replaced"
			if _, err := Wipe(c.Nodes.Dir(target)); err != nil {
				return p, err
			}
			p.Replaced = 1
			return p, c.Nodes.Start(target)
		}, nil
	}
}

func bitFlip(c *Config, e schedule.Event, target string) (func() (string, error), func(string) (Damage, error)) {
	return c.file(e, target), func(path string) (Damage, error) {
		return FlipBits(path, max(e.Count, 1), c.Seed+uint64(e.ID))
	}
}

func truncate(c *Config, e schedule.Event, target string) (func() (string, error), func(string) (Damage, error)) {
	return c.file(e, target), func(path string) (Damage, error) { return TruncateTail(path, max(e.Bytes, 1)) }
}

func wipe(c *Config, _ schedule.Event, target string) (func() (string, error), func(string) (Damage, error)) {
	return func() (string, error) { return c.Nodes.Dir(target), nil }, Wipe
}

// file finds what is damaged: the newest file of a part of the data directory.
func (c *Config) file(e schedule.Event, target string) func() (string, error) {
	return func() (string, error) {
		patterns := map[string]string{"": "raft/raft.db", "raft": "raft/raft.db", "wal": "wal/*.wal", "snapshots": "raft/snapshots/*/state.bin"}
		pattern, ok := patterns[e.File]
		if !ok {
			return "", fmt.Errorf("file %q, expected raft, wal or snapshots", e.File)
		}
		found, err := filepath.Glob(filepath.Join(c.Nodes.Dir(target), pattern))
		if err != nil {
			return "", err
		}
		newest, when := "", time.Time{}
		for _, path := range found {
			if info, err := os.Stat(path); err == nil && info.Size() > 0 && !info.ModTime().Before(when) {
				newest, when = path, info.ModTime()
			}
		}
		if newest == "" {
			return "", fmt.Errorf("there is no %s to damage", pattern)
		}
		return newest, nil
	}
}
