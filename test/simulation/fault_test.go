package simulation_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/internal/vfs"
)

var errDisk = errors.New("the disk failed (injected)")

// resolve gives the node that an event's target means now.
func (s *sim) resolve(target string) *node {
	name := target
	switch target {
	case leader:
		if p := s.leading(); p != nil {
			name = p.node.name
		}
	case coordinator, receiver:
		v := s.view()
		for _, g := range s.apps() {
			a, ok := v.App(g.id())
			if !ok {
				continue
			}
			session := a.Coordinator
			if r, ok := v.Receiver(g.id(), 0); ok && target == receiver {
				session = r.Session
			}
			if open, ok := v.Session(session); ok {
				name = open.Name
			}
		}
	}
	if i := slices.IndexFunc(s.places(), func(n *node) bool { return n.name == name }); i >= 0 {
		return s.places()[i]
	}
	return s.places()[0]
}

// inject brings about an event, and heals it when its time is over.
func (s *sim) inject(e schedule.Event) {
	var nodes []*node
	for _, t := range e.Targets {
		if n := s.resolve(t); !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	if *verbose {
		s.Logf("%v: %s %v %+v", time.Since(s.began), e.Kind, nodes[0].name, e)
	}
	s.hurt(string(e.Kind))
	last := time.Duration(e.ForMS) * time.Millisecond
	n := nodes[0]
	switch e.Kind {
	case schedule.Kill:
		for _, n := range nodes {
			if p := s.running(n.name); p != nil {
				s.kill(p)
			}
		}
		sleep(last)
		for _, n := range nodes {
			s.revive(n.name)
		}
	case schedule.Terminate:
		if p := s.running(n.name); p != nil {
			s.terminate(p)
		}
		sleep(last)
		s.revive(n.name)
	case schedule.Pause:
		s.cut(s.ways(n, nil, schedule.AllPlanes, true), last)
	case schedule.Cut:
		s.cut(s.ways(n, e.Peers, e.Plane, e.Both), last)
	case schedule.Delay:
		s.disturb(s.ways(n, e.Peers, e.Plane, e.Both), last, time.Duration(e.DelayMS)*time.Millisecond, time.Duration(e.JitterMS)*time.Millisecond, 0)
	case schedule.Loss:
		s.disturb(s.ways(n, e.Peers, e.Plane, e.Both), last, 0, 0, e.Percent/100)
	case schedule.Reset:
		s.reset(n, e.Peers, e.Plane)
	case schedule.Transfer:
		if p := s.leading(); p != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = p.raft.Transfer(ctx) // it may be refused: then nothing moves
		}
	case schedule.SlowSync:
		_, disk := n.disks()
		disk.Slow(func() time.Duration { return time.Duration(e.DelayMS) * time.Millisecond })
		sleep(last)
		disk.Slow(nil)
	case schedule.SyncError:
		s.failSync(n, e.File, last)
	case schedule.Full:
		for s.unborn(n) { // its first start makes files, and would end with what is no failure of its
			sleep(10 * time.Millisecond)
		}
		fs, _ := n.disks()
		fs.SetFree(e.Bytes)
		sleep(last)
		fs.SetFree(-1)
		fs, _ = n.disks() // a crash may have left others
		fs.SetFree(-1)
	case schedule.Wipe:
		s.wipe(n, last)
	case schedule.ClockJump:
		n.jump(time.Duration(e.OffsetMS) * time.Millisecond)
		sleep(last)
		n.jump(-time.Duration(e.OffsetMS) * time.Millisecond)
	}
}

func (n *node) jump(by time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wall += by
}

// ways gives the lines from a node to peers, none for all others; back too, if both.
func (s *sim) ways(n *node, peers []string, plane schedule.Plane, both bool) (all []*line) {
	for _, o := range s.places() {
		if o == n || len(peers) > 0 && !slices.Contains(peers, o.name) {
			continue
		}
		for _, p := range []schedule.Plane{raftPlane, controlPlane, dataPlane} {
			if plane != schedule.AllPlanes && plane != p {
				continue
			}
			all = append(all, s.net.line(p, n.name, o.name))
			if both {
				all = append(all, s.net.line(p, o.name, n.name))
			}
		}
	}
	return all
}

func (s *sim) cut(lines []*line, last time.Duration) {
	for _, l := range lines {
		l.cut(+1)
	}
	sleep(last)
	for _, l := range lines {
		l.cut(-1)
	}
}

func (s *sim) disturb(lines []*line, last, delay, jitter time.Duration, loss float64) {
	for _, l := range lines {
		l.disturb(delay, jitter, loss)
	}
	sleep(last)
	for _, l := range lines {
		l.disturb(0, 0, 0)
	}
}

// reset breaks the connections of a node with peers, none for all others.
func (s *sim) reset(n *node, peers []string, plane schedule.Plane) {
	p := s.running(n.name)
	if p == nil {
		return
	}
	with := func(name string) bool { return len(peers) == 0 || slices.Contains(peers, name) }
	if plane == raftPlane || plane == schedule.AllPlanes {
		for _, c := range p.stream.connections() {
			if with(c.peer.name) {
				c.reset()
			}
		}
	}
	if plane == controlPlane || plane == schedule.AllPlanes {
		for _, w := range p.links() {
			if with(w.from.node.name) || with(w.to.node.name) {
				w.fail(errBroken)
			}
		}
	}
}

// failSync lets a sync fail, which ends the process. One that is being started is let start first: it would not.
func (s *sim) failSync(n *node, file string, last time.Duration) {
	for !s.breaks(n) {
		sleep(10 * time.Millisecond)
	}
	fs, disk := n.disks()
	if p := n.running(); file == "raft" && p != nil {
		disk.BeforeAppend(func() { p.fatal(errDisk) })
	} else {
		fs.Inject(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpSync {
				return vfs.Fault{Err: errDisk}
			}
			return vfs.Fault{}
		})
	}
	sleep(last)
	disk.BeforeAppend(nil)
	fs.Inject(nil)
	s.mu.Lock()
	s.broken[n]--
	s.mu.Unlock()
	s.revive(n.name)
}

// breaks notes a fault of a node's disk, unless the node is being started.
func (s *sim) breaks(n *node) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting[n] {
		return false
	}
	s.broken[n]++
	return true
}

// unborn reports whether the node has not been started yet, or is being started.
func (s *sim) unborn(n *node) bool {
	n.mu.Lock()
	never := n.generation == 0
	n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return never || s.starting[n]
}

func (s *sim) faulty(n *node) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken[n] > 0
}

// fatal is told that a process must end.
func (s *sim) fatal(p *process, err error) {
	if !errors.Is(err, errDisk) && !errors.Is(err, vfs.ErrDown) {
		s.Errorf("process of %s ends itself: %v", p.node.name, err)
	}
	s.seen(diskFailed)
	s.work.Go(func() { s.kill(p) })
}

// revive starts a node that has no process, unless its disk has a fault or somebody else starts it.
func (s *sim) revive(name string) {
	n := s.place(name)
	s.mu.Lock()
	due := n.running() == nil && s.broken[n] == 0 && !s.starting[n]
	s.starting[n] = s.starting[n] || due
	s.mu.Unlock()
	if !due {
		return
	}
	s.start(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting[n] = false
}

// wipe replaces a node's disks by empty ones, if nothing is lost by that: what they hold is elsewhere.
func (s *sim) wipe(n *node, last time.Duration) {
	s.wiping <- struct{}{} // one at a time
	defer func() { <-s.wiping }()
	for range 50 {
		if s.spare(n) {
			break
		}
		sleep(100 * time.Millisecond)
	}
	p := n.running()
	if p == nil || !s.spare(n) {
		return
	}
	s.kill(p)
	s.seen(nodeReplaced)
	fresh := newNode(n.name, s.identity(n.name))
	s.mu.Lock()
	s.nodes[slices.Index(s.nodes, n)] = fresh
	s.mu.Unlock()
	sleep(last)
	s.revive(n.name)
}

// spare reports whether every block and piece has a copy on another node, and a majority of the voters without the node
// has everything that is committed.
func (s *sim) spare(n *node) bool {
	v := s.view()
	elsewhere := func(stores []string) bool {
		return slices.ContainsFunc(stores, func(store string) bool {
			return store != n.id && slices.ContainsFunc(s.places(), func(o *node) bool { return o.id == store })
		})
	}
	for _, g := range s.apps() {
		a, ok := v.App(g.id())
		if !ok || !a.Live() {
			continue
		}
		for b := range v.Kept(a.ID, 0) {
			if !elsewhere(storesText(b.Stores)) {
				return false
			}
		}
		if a.CheckpointURL != "" {
			continue
		}
		for piece := range v.Pieces(a.ID) {
			if !elsewhere(storesText(piece.Stores)) {
				return false
			}
		}
	}
	p := s.leading()
	if p == nil || s.running(n.name) == nil {
		return false
	}
	informed, good := 0, 0
	for _, o := range s.places() {
		q := s.running(o.name)
		if q == nil {
			continue
		}
		if s.allVote(q) {
			informed++
		}
		if o != n && q.raft.View().Index() == p.raft.View().Index() {
			good++
		}
	}
	return s.allVote(p) && informed > s.drawn.nodes/2 && good > s.drawn.nodes/2
}

// allVote reports whether the node's own log makes the nodes that there are now the voters. It must be so at a majority
// before a disk is lost: what the leader alone has in its log goes with it, and before that the disk counted for more.
func (s *sim) allVote(p *process) bool {
	servers := p.raft.Configuration()
	for _, server := range servers {
		if !server.Voter || !slices.ContainsFunc(s.places(), func(o *node) bool { return o.id == server.ID }) {
			return false
		}
	}
	return len(servers) == s.drawn.nodes
}

func storesText[T ~string](stores []T) (all []string) {
	for _, s := range stores {
		all = append(all, string(s))
	}
	return all
}
