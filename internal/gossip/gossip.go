package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// joinFirst and joinMost bound the pause between two attempts to join; it doubles from one to the other.
	joinFirst = 500 * time.Millisecond
	joinMost  = 5 * time.Second
	// leaveLimit bounds how long Leave spreads the word.
	leaveLimit = time.Second
	// updateLimit bounds how long new meta data are spread before the next ones are looked at.
	updateLimit = time.Second
	// probeInterval is how often one of the others is probed.
	probeInterval = 500 * time.Millisecond
	// label keeps other programs' gossip out.
	label = "raftstream"
)

// Config is what gossip is opened with.
type Config struct {
	ID        string   // of the data directory: memberlist's name of the node
	BindAddr  string   // IP to listen at
	BindPort  int      // UDP and TCP; 0 takes a free one
	Advertise string   // IP that others reach this node at; "" for BindAddr
	Seeds     []string // host:port of others; this node among them does no harm
	Secret    []byte   // 16, 24 or 32 bytes: everything is encrypted and nobody else is heard; nil for none
	Meta      Meta
	Logger    *slog.Logger

	// Transport replaces the network, for tests.
	Transport memberlist.Transport
}

// Gossip is this node's part. Its methods may be called from any goroutine.
type Gossip struct {
	log     *slog.Logger
	seeds   []string
	list    *memberlist.Memberlist
	members *members
	meta    *metaDelegate

	cancel context.CancelFunc
	work   sync.WaitGroup
	update chan struct{} // holds one: meta data changed
	close  sync.Once
	closed atomic.Bool // Leave has begun
	left   error
}

// Open starts to listen and to join; it does not wait for others.
func Open(c Config) (*Gossip, error) {
	if err := c.Meta.check(); err != nil {
		return nil, err
	}
	if c.ID == "" {
		return nil, errors.New("gossip: the node's id is empty")
	}
	if c.Advertise != "" && c.BindPort == 0 {
		return nil, fmt.Errorf("gossip: advertised at %s, but without a port", c.Advertise)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gossip{log: c.Logger, seeds: c.Seeds, meta: &metaDelegate{meta: c.Meta}, update: make(chan struct{}, 1)}
	g.members = newMembers(c.ID, probeInterval)
	m := settings(c, logWriter{c.Logger, g.unusual})
	m.Delegate, m.Events, m.Ping = g.meta, g.members, g.members
	list, err := create(c, m)
	if err != nil {
		return nil, fmt.Errorf("open gossip at %s: %w", net.JoinHostPort(c.BindAddr, fmt.Sprint(c.BindPort)), err)
	}
	g.list = list
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.work.Go(func() { g.join(ctx) })
	g.work.Go(func() { g.spread(ctx) })
	return g, nil
}

func create(c Config, m *memberlist.Config) (*memberlist.Memberlist, error) {
	if m.Transport != nil {
		return memberlist.Create(m)
	}
	b, err := listen(c, m.Logger)
	if err != nil {
		return nil, err
	}
	m.Transport = b
	if c.BindPort == 0 {
		m.BindPort = b.GetAutoBindPort()
		m.AdvertisePort = m.BindPort
	}
	list, err := memberlist.Create(m)
	if err != nil {
		return nil, errors.Join(err, b.Shutdown())
	}
	return list, nil
}

// settings are tuned for a death to be known within about three seconds, without false ones on busy machines.
func settings(c Config, lines logWriter) *memberlist.Config {
	m := memberlist.DefaultLocalConfig()
	m.Name = c.ID
	m.Label = label
	m.BindAddr, m.BindPort = c.BindAddr, c.BindPort
	m.AdvertiseAddr, m.AdvertisePort = c.Advertise, c.BindPort
	m.ProbeInterval = probeInterval
	m.ProbeTimeout = 200 * time.Millisecond
	m.SuspicionMult = 4
	m.SuspicionMaxTimeoutMult = 2 // small clusters: nobody else is there to confirm a suspicion
	m.RetransmitMult = 4
	m.GossipInterval = 100 * time.Millisecond
	m.DeadNodeReclaimTime = 10 * time.Second
	m.SecretKey = c.Secret
	m.EnableCompression = false // see bounded
	m.Transport = c.Transport
	m.Logger = log.New(lines, "", 0)
	return m
}

// Members gives copies of all members, this node among them, in order of name.
func (g *Gossip) Members() []Member { return g.members.list() }

// Changed is closed at the next change of the members; only that one turns suspect is not a change, since it is found
// by asking. Take it before Members.
func (g *Gossip) Changed() <-chan struct{} { return g.members.wait() }

// Addr gives the address that others reach this node's gossip at.
func (g *Gossip) Addr() string { return g.list.LocalNode().Address() }

// Update changes what this node says of itself; it is spread in the background.
func (g *Gossip) Update(change func(*Meta)) error {
	if err := g.meta.update(change); err != nil {
		return err
	}
	select {
	case g.update <- struct{}{}:
	default: // the update that waits will take this one with it
	}
	return nil
}

// spread tells the others of changed meta data.
func (g *Gossip) spread(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.update:
		}
		if err := g.list.UpdateNode(updateLimit); err != nil {
			g.log.Debug("gossip: meta data are not spread yet", "error", err)
		}
	}
}

// join tries for ever to have every seed among the live members: two halves that were apart for long would never find
// each other otherwise.
func (g *Gossip) join(ctx context.Context) {
	pause := joinFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		for _, seed := range g.missing(ctx) {
			if ctx.Err() != nil {
				return
			}
			if _, err := g.list.Join([]string{seed}); err != nil {
				g.log.Debug("gossip: a seed is not reached", "seed", seed, "error", err)
				continue
			}
			pause = joinFirst
		}
		timer.Reset(pause)
		pause = min(2*pause, joinMost)
	}
}

// missing gives the seeds that are not live members.
func (g *Gossip) missing(ctx context.Context) []string {
	live := g.members.liveAddrs()
	var missing []string
	for _, seed := range g.seeds {
		if !g.isLive(ctx, seed, live) {
			missing = append(missing, seed)
		}
	}
	return missing
}

func (g *Gossip) isLive(ctx context.Context, seed string, live map[string]bool) bool {
	if live[seed] {
		return true
	}
	host, port, err := net.SplitHostPort(seed)
	if err != nil || net.ParseIP(host) != nil {
		return false
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return false
	}
	for _, ip := range ips {
		if live[net.JoinHostPort(ip, port)] {
			return true
		}
	}
	return false
}

// Leave tells the others that this node goes, for a second at most, and stops.
func (g *Gossip) Leave() error {
	g.close.Do(func() {
		g.closed.Store(true)
		g.cancel()
		g.work.Wait()
		if err := g.list.Leave(leaveLimit); err != nil {
			g.log.Debug("gossip: not everyone was told that this node leaves", "error", err)
		}
		if err := g.list.Shutdown(); err != nil {
			g.left = fmt.Errorf("close gossip: %w", err)
		}
	})
	return g.left
}

// metaDelegate gives memberlist this node's meta data.
type metaDelegate struct {
	mu   sync.Mutex
	meta Meta
}

func (d *metaDelegate) update(change func(*Meta)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.meta
	change(&next)
	if err := next.check(); err != nil {
		return err
	}
	d.meta = next
	return nil
}

// NodeMeta is memberlist's.
func (d *metaDelegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta.encode()
}

// NotifyMsg is memberlist's: there are no messages of ours.
func (d *metaDelegate) NotifyMsg([]byte) {}

// GetBroadcasts is memberlist's: there are none of ours.
func (d *metaDelegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState is memberlist's: there is none of ours.
func (d *metaDelegate) LocalState(bool) []byte { return nil }

// MergeRemoteState is memberlist's: there is none of ours.
func (d *metaDelegate) MergeRemoteState([]byte, bool) {}
