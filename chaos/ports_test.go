package chaos

import (
	"fmt"
	"net"
	"testing"
)

func TestPortsAreFreeAndGivenOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		ports, err := FreePorts(15)
		if err != nil || len(ports) != 15 {
			t.Fatalf("ports %v, error %v, expected 15", ports, err)
		}
		for _, p := range ports {
			if seen[p] {
				t.Errorf("port %d was given before", p)
			}
			seen[p] = true
		}
	}
}

func TestATakenPortIsNotFree(t *testing.T) {
	ports, err := FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", ports[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if free(ports[0]) || free(ports[1]) {
		t.Errorf("ports %v are taken and said to be free", ports)
	}
}
