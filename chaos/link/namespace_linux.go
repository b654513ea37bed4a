package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// mtu is the largest packet of a link, in bytes: that of ordinary Ethernet, so that faults meet as many frames as they would.
const mtu = 1500

// queued is how many frames a node can send before the switch reads them; further ones wait in the node's kernel.
const queued = 4096

// A namespace is a network of the kernel's that has no name: it is gone when nothing holds it, however this process ends.
type namespace struct {
	fd int
}

// run calls f on a thread that is inside the namespace and returns its error. Sockets that f makes and processes that it
// starts stay there.
func (n *namespace) run(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

func (n *namespace) close() error { return unix.Close(n.fd) }

// onThread calls f on a thread of its own, which ends with it: what f does to the thread touches nobody else.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end, and /proc/self shows its namespace. While it is held here, another one is taken.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		err := errors.New("the function ended its goroutine")
		defer func() { done <- err }()
		err = f()
	}()
	return <-done
}

// newNamespace makes a namespace whose eth0 has the given address, and returns what eth0 sends and receives: one frame for
// each read and write. A failure leaves nothing behind.
func newNamespace(addr netip.Addr) (*namespace, *os.File, net.HardwareAddr, error) {
	n, tap, mac := (*namespace)(nil), (*os.File)(nil), net.HardwareAddr(nil)
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("hold a network namespace: %w", err)
		}
		n = &namespace{fd}
		if tap, err = openTAP("eth0"); err != nil {
			return err
		}
		mac, err = configure(addr)
		return err
	})
	if err == nil {
		return n, tap, mac, nil
	}
	if tap != nil {
		err = errors.Join(err, tap.Close())
	}
	if n != nil {
		err = errors.Join(err, n.close())
	}
	return nil, nil, nil, err
}

func openTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a TAP interface: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// configure brings up lo, and eth0 with its address, in the namespace of this thread.
func configure(addr netip.Addr) (net.HardwareAddr, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket for interfaces: %w", err)
	}
	defer unix.Close(fd)
	inet := func(a netip.Addr) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { return r.SetInet4Addr(a.AsSlice()) }
	}
	number := func(v uint32) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { r.SetUint32(v); return nil }
	}
	up := func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }
	for _, step := range []struct {
		what, name string
		request    uint
		set        func(*unix.Ifreq) error
	}{
		{"bring up", "lo", unix.SIOCSIFFLAGS, up},
		{"set the MTU of", "eth0", unix.SIOCSIFMTU, number(mtu)},
		{"set the queue of", "eth0", unix.SIOCSIFTXQLEN, number(queued)},
		{"set the address of", "eth0", unix.SIOCSIFADDR, inet(addr)},
		{"set the mask of", "eth0", unix.SIOCSIFNETMASK, inet(netip.AddrFrom4([4]byte{255, 255, 255, 0}))},
		{"bring up", "eth0", unix.SIOCSIFFLAGS, up},
	} {
		r, err := unix.NewIfreq(step.name)
		if err == nil {
			err = step.set(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, step.request, r)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", step.what, step.name, err)
		}
	}
	eth, err := net.InterfaceByName("eth0")
	if err != nil {
		return nil, fmt.Errorf("look at eth0: %w", err)
	}
	return eth.HardwareAddr, nil
}
