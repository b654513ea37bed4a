// Package link owns a network of nodes whose links can be broken: a namespace of the kernel for each node and one for
// clients, and a switch in this process that carries every frame between them and cuts, delays, loses, repeats, reorders,
// slows and resets what faults say. It promises that nothing of it is seen outside, that nothing stays when this process
// ends, however it ends, and that every fault counts what it did. It must not know the engine: what kinds of traffic
// there are is configuration.
package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// Client is the name of the station that is no node: the namespace of those who use the cluster.
const Client = "client"

// maxNodes keeps the addresses of nodes below the client's.
const maxNodes = 99

// clientHost is the last byte of the client's address.
const clientHost = 100

// Config says what the network looks like.
type Config struct {
	// Seed decides which frames are lost, repeated and late, together with the order of the frames of each pair.
	Seed uint64
	// Nodes is how many there are, 1 to 99. Their names are n1, n2, ..., their addresses 10.77.0.1, 10.77.0.2, ...
	Nodes int
	// Planes tells kinds of traffic apart; zero: StandardPlanes.
	Planes Planes
}

// Network is a running network. Its methods may be called concurrently.
type Network struct {
	nodes  []string
	places map[string]place
	wire   *wire
	close  func() error
}

// place is where a station's processes and sockets live.
type place struct {
	namespace *namespace
	addr      netip.Addr
}

// Available says why networks cannot be opened here, nil if they can. It opens one to find out.
func Available() error {
	n, err := Open(Config{Nodes: 1})
	if err != nil {
		return fmt.Errorf("links need root, network namespaces and /dev/net/tun: %w", err)
	}
	return n.Close()
}

// Open makes the network: an eth0 in each namespace, all on one switch, and lo. The caller closes it.
func Open(cfg Config) (*Network, error) {
	if cfg.Nodes < 1 || cfg.Nodes > maxNodes {
		return nil, fmt.Errorf("network of %d nodes, expected 1 to %d", cfg.Nodes, maxNodes)
	}
	if cfg.Planes.empty() {
		cfg.Planes = StandardPlanes()
	}
	n := &Network{places: map[string]place{}}
	var stations []*station
	add := func(name string, host byte) error {
		addr := netip.AddrFrom4([4]byte{10, 77, 0, host})
		ns, tap, mac, err := newNamespace(addr)
		if err != nil {
			return fmt.Errorf("open the network of %s: %w", name, err)
		}
		n.places[name] = place{ns, addr}
		stations = append(stations, &station{name: name, mac: [6]byte(mac), tap: tap})
		return nil
	}
	err := add(Client, clientHost)
	for i := 1; i <= cfg.Nodes && err == nil; i++ {
		name := fmt.Sprintf("n%d", i)
		n.nodes = append(n.nodes, name)
		err = add(name, byte(i))
	}
	if err != nil {
		return nil, errors.Join(err, n.release(stations))
	}
	n.wire = newWire(cfg.Seed, cfg.Planes, stations)
	n.close = sync.OnceValue(func() error {
		err := n.release(stations)
		n.wire.wait()
		return err
	})
	return n, nil
}

func (n *Network) release(stations []*station) error {
	var errs []error
	for _, s := range stations {
		errs = append(errs, s.tap.Close())
	}
	for _, p := range n.places {
		errs = append(errs, p.namespace.close())
	}
	return errors.Join(errs...)
}

// Close ends the network. Processes that were started in it are the caller's to end, before; those that are left have no
// link any more.
func (n *Network) Close() error { return n.close() }

// Nodes gives the names of the nodes, in order.
func (n *Network) Nodes() []string { return append([]string(nil), n.nodes...) }

// Addr is the IP address of a node, or of the Client. It panics if there is no such station.
func (n *Network) Addr(node string) string {
	p, err := n.place(node)
	if err != nil {
		panic("link: " + err.Error())
	}
	return p.addr.String()
}

func (n *Network) place(node string) (place, error) {
	p, ok := n.places[node]
	if !ok {
		return place{}, fmt.Errorf("node %q is not in the network, expected %s or one of %v", node, Client, n.nodes)
	}
	return p, nil
}

// Start calls start on a thread in the namespace of the node, or of the Client. Processes that it starts and sockets that it
// opens belong to that namespace; goroutines that it starts do not.
func (n *Network) Start(node string, start func() error) error {
	p, err := n.place(node)
	if err != nil {
		return err
	}
	return p.namespace.run(start)
}

// Dial connects from the Client's namespace by TCP to an address, which is an IP address and a port.
func (n *Network) Dial(ctx context.Context, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: expected an IP address and a port: %w", addr, err)
	}
	var c net.Conn
	err = n.Start(Client, func() (err error) {
		// The dialer makes its socket on this very goroutine, because there is no name to look up.
		c, err = new(net.Dialer).DialContext(ctx, "tcp", to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Traffic is what the network carried so far by plane; "": of connections that have not said yet what they are for, and what
// belongs to no plane.
func (n *Network) Traffic() map[schedule.Plane]Count { return n.wire.flows.traffic() }
