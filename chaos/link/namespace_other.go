//go:build !linux

package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// mtu is the largest packet of a link, in bytes.
const mtu = 1500

// namespace is there on Linux only.
type namespace struct{}

var errNoNamespaces = fmt.Errorf("network namespaces: %w", errors.ErrUnsupported)

func (*namespace) run(func() error) error { return errNoNamespaces }

func (*namespace) close() error { return nil }

func newNamespace(netip.Addr) (*namespace, *os.File, net.HardwareAddr, error) {
	return nil, nil, nil, errNoNamespaces
}
