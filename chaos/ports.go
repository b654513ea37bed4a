package chaos

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports that FreePorts gives lie below those that systems give to outgoing connections: nobody takes one of them while
// the process is dead that is to come back to it.
const firstPort, endPort = 10_000, 30_000

var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: make(map[int]bool)}

// FreePorts finds ports that are free on loopback now, for TCP and UDP. It gives none twice in the life of this process.
func FreePorts(count int) ([]int, error) {
	given.Lock()
	defer given.Unlock()
	var found []int
	for range endPort - firstPort {
		if len(found) == count {
			return found, nil
		}
		port := firstPort + rand.IntN(endPort-firstPort)
		if given.ports[port] || !free(port) {
			continue
		}
		given.ports[port] = true
		found = append(found, port)
	}
	return nil, fmt.Errorf("%d ports are free from %d to %d, expected %d", len(found), firstPort, endPort-1, count)
}

func free(port int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	defer u.Close()
	return true
}
