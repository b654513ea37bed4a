package link_test

import (
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos/link"
	"github.com/raftstream/raftstream/chaos/schedule"
)

const (
	raftGreeting = "\xa7 greeting"
	grpcGreeting = "PRI * HTTP/2.0"

	soon  = 200 * time.Millisecond // what does not come within it is taken not to come
	later = 10 * time.Second       // what does come, comes within it
)

func TestACutStopsOneDirection(t *testing.T) {
	n := open(t, 3)
	a, b, c := datagrams(t, n, "n1", 9000), datagrams(t, n, "n2", 9000), datagrams(t, n, "n3", 9000)
	f := inject(t, n, schedule.Event{Kind: schedule.Cut, Peers: []string{"n2"}}, "n1")
	sendMany(t, a, b, 5)
	sendMany(t, a, c, 5)
	if got := received(t, b, soon); len(got) != 0 {
		t.Errorf("n2 received %v, expected nothing", got)
	}
	if got := received(t, c, soon); len(got) != 5 {
		t.Errorf("n3 received %v, expected 5", got)
	}
	heal(t, f)
	sendMany(t, a, b, 5)
	// The first packet after the cut asks for the address again.
	if got := receivedUpTo(t, b, 5, later); len(got) != 5 {
		t.Errorf("n2 received %v after the cut, expected 5", got)
	}
}

func TestACutOfAllPlanesCanLetTheOtherDirectionPass(t *testing.T) {
	n := open(t, 2)
	a, b := datagrams(t, n, "n1", 9000), datagrams(t, n, "n2", 9000)
	sendMany(t, a, b, 1) // both know each other's address
	sendMany(t, b, a, 1)
	received(t, a, soon)
	received(t, b, soon)
	f := inject(t, n, schedule.Event{Kind: schedule.Cut}, "n1")
	sendMany(t, a, b, 5)
	sendMany(t, b, a, 5)
	if got := received(t, b, soon); len(got) != 0 {
		t.Errorf("n2 received %v, expected nothing", got)
	}
	if got := received(t, a, soon); len(got) != 5 {
		t.Errorf("n1 received %v, expected 5", got)
	}
	if proof := heal(t, f); proof.Bites < 5 || f.Counts().Dropped.Frames != proof.Bites {
		t.Errorf("proof %+v of counts %+v, expected 5 dropped at least", proof, f.Counts())
	}
}

func TestACutOfAPlaneLeavesTheOthersAlone(t *testing.T) {
	n := open(t, 2)
	shared, gossip := listen(t, n, "n2", 7077, echo), listen(t, n, "n2", 7946, echo)
	raft, grpc := connected(t, n, "n1", shared, raftGreeting), connected(t, n, "n1", shared, grpcGreeting)
	talk := connected(t, n, "n1", gossip, "hello")
	f := inject(t, n, schedule.Event{Kind: schedule.Cut, Plane: schedule.Raft, Both: true}, "n1")
	if err := said(raft, "append", soon); err == nil {
		t.Error("Raft passed a cut of Raft")
	}
	if err := said(grpc, "order", later); err != nil {
		t.Errorf("gRPC, while Raft is cut: %v", err)
	}
	if err := said(talk, "alive", later); err != nil {
		t.Errorf("gossip, while Raft is cut: %v", err)
	}
	// A connection can be opened, and is lost from the first byte on that says that it is Raft's.
	again, err := dial(n, "n1", shared, later)
	if err != nil {
		t.Fatalf("dial while Raft is cut: %v", err)
	}
	defer again.Close()
	if err := said(again, raftGreeting, soon); err == nil {
		t.Error("a new connection of Raft passed a cut of Raft")
	}
	connected(t, n, "n1", shared, grpcGreeting)
	heal(t, f)
	if err := again.SetReadDeadline(time.Now().Add(later)); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Read(make([]byte, len(raftGreeting))); err != nil {
		t.Errorf("read of the echo after the cut: %v", err)
	}
	connected(t, n, "n1", shared, raftGreeting)
}

func TestGossipIsCutByItsPort(t *testing.T) {
	n := open(t, 2)
	gossip, other := listen(t, n, "n2", 7946, echo), listen(t, n, "n2", 7077, echo)
	a, b := datagrams(t, n, "n1", 7946), datagrams(t, n, "n2", 7946)
	f := inject(t, n, schedule.Event{Kind: schedule.Cut, Plane: schedule.Gossip}, "n1")
	sendMany(t, a, b, 5)
	if got := received(t, b, soon); len(got) != 0 {
		t.Errorf("n2 received %v, expected nothing", got)
	}
	if c, err := dial(n, "n1", gossip, soon); err == nil {
		c.Close()
		t.Error("a connection to the port of gossip was opened")
	}
	connected(t, n, "n1", other, grpcGreeting)
	heal(t, f)
	connected(t, n, "n1", gossip, "hello")
}

func TestPeersThatAreNotNamedAreTheOtherNodes(t *testing.T) {
	n := open(t, 3)
	addrs := map[string]string{}
	for _, node := range n.Nodes() {
		addrs[node] = listen(t, n, node, 7077, echo)
	}
	reach := func(from, to string) bool {
		c, err := dial(n, from, addrs[to], soon)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	minority := inject(t, n, schedule.Event{Kind: schedule.Cut, Both: true}, "n1", "n2")
	if !reach("n1", "n2") || reach("n1", "n3") || reach("n3", "n2") || !reach(link.Client, "n1") {
		t.Error("a cut of n1 and n2 is not one between them and n3")
	}
	heal(t, minority)
	every := inject(t, n, schedule.Event{Kind: schedule.Cut}, "n1", "n2", "n3")
	if reach("n1", "n2") || reach("n3", "n1") || !reach(link.Client, "n2") {
		t.Error("a cut of every node is not one between all of them")
	}
	heal(t, every)
	client := inject(t, n, schedule.Event{Kind: schedule.Cut, Peers: []string{link.Client}}, "n1")
	if reach(link.Client, "n1") || !reach(link.Client, "n2") {
		t.Error("a cut of n1 from the client is not one")
	}
	heal(t, client)
}
