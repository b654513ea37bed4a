package link_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos/link"
	"github.com/raftstream/raftstream/chaos/schedule"
)

// roundTrip is the shortest of a few echoes.
func roundTrip(t testing.TB, c net.Conn) time.Duration {
	t.Helper()
	best := time.Hour
	for range 5 {
		start := time.Now()
		if err := said(c, "ping", later); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	return best
}

func TestADelayIsAddedInItsDirection(t *testing.T) {
	n := open(t, 3)
	c := connected(t, n, "n1", listen(t, n, "n2", 7077, echo), grpcGreeting)
	other := connected(t, n, "n1", listen(t, n, "n3", 7077, echo), grpcGreeting)
	const delay = 40 * time.Millisecond
	there := inject(t, n, schedule.Event{Kind: schedule.Delay, DelayMS: 40, Peers: []string{"n2"}}, "n1")
	if got := roundTrip(t, c); got < delay || got >= 2*delay {
		t.Errorf("round trip takes %v, expected once the delay of %v", got, delay)
	}
	if got := roundTrip(t, other); got >= delay {
		t.Errorf("round trip of another pair takes %v, expected less than %v", got, delay)
	}
	heal(t, there)
	both := inject(t, n, schedule.Event{Kind: schedule.Delay, DelayMS: 40, Peers: []string{"n2"}, Both: true}, "n1")
	if got := roundTrip(t, c); got < 2*delay {
		t.Errorf("round trip takes %v, expected twice the delay of %v", got, delay)
	}
	heal(t, both)
	if got := roundTrip(t, c); got >= delay {
		t.Errorf("round trip takes %v after the fault, expected less than %v", got, delay)
	}
}

func TestADelayKeepsTheOrderAndJitterDoesNot(t *testing.T) {
	n := open(t, 2)
	a, b := datagrams(t, n, "n1", 9000), datagrams(t, n, "n2", 9000)
	const count = 100
	sent := slices.Collect(numbers(count))
	even := inject(t, n, schedule.Event{Kind: schedule.Delay, DelayMS: 20}, "n1")
	sendMany(t, a, b, count)
	if got := receivedUpTo(t, b, count, later); !slices.Equal(got, sent) {
		t.Errorf("received %v, expected %v", got, sent)
	}
	heal(t, even)
	uneven := inject(t, n, schedule.Event{Kind: schedule.Delay, DelayMS: 20, JitterMS: 20}, "n1")
	sendMany(t, a, b, count)
	got := receivedUpTo(t, b, count, later)
	if slices.Equal(got, sent) {
		t.Error("jitter kept the order")
	}
	slices.Sort(got)
	slices.Sort(sent)
	if !slices.Equal(got, sent) {
		t.Errorf("received %v, expected %v in any order", got, sent)
	}
	heal(t, uneven)
}

func TestLossDropsItsShare(t *testing.T) {
	n := open(t, 2)
	a, b := datagrams(t, n, "n1", 9000), datagrams(t, n, "n2", 9000)
	sendMany(t, a, b, 1) // the address is known now
	receivedUpTo(t, b, 1, later)
	f := inject(t, n, schedule.Event{Kind: schedule.Loss, Percent: 30}, "n1")
	const count = 200
	sendMany(t, a, b, count)
	got := received(t, b, soon)
	if len(got) < count*55/100 || len(got) > count*85/100 {
		t.Errorf("%d of %d datagrams came, expected about 70 %%", len(got), count)
	}
	if proof := heal(t, f); int(proof.Bites) != count-len(got) {
		t.Errorf("%d frames were dropped by the count, %d by what came", proof.Bites, count-len(got))
	}
}

func TestDuplicatesComeTwice(t *testing.T) {
	n := open(t, 2)
	a, b := datagrams(t, n, "n1", 9000), datagrams(t, n, "n2", 9000)
	f := inject(t, n, schedule.Event{Kind: schedule.Duplicate, Percent: 100}, "n1")
	sendMany(t, a, b, 10)
	got := receivedUpTo(t, b, 20, later)
	slices.Sort(got)
	want := slices.Sorted(numbers(10))
	if unique := slices.Compact(slices.Clone(got)); len(got) != 20 || !slices.Equal(unique, want) {
		t.Errorf("received %v, expected each of %v twice", got, want)
	}
	heal(t, f)
}

func TestReorderSendsItsShareLate(t *testing.T) {
	n := open(t, 2)
	a, b := datagrams(t, n, "n1", 9000), datagrams(t, n, "n2", 9000)
	sendMany(t, a, b, 1)
	receivedUpTo(t, b, 1, later)
	f := inject(t, n, schedule.Event{Kind: schedule.Reorder, Percent: 20, DelayMS: 30}, "n1")
	sendMany(t, a, b, 100)
	got := receivedUpTo(t, b, 100, later)
	sent := slices.Collect(numbers(100))
	if len(got) != len(sent) || slices.Equal(got, sent) {
		t.Errorf("received %v, expected 100 in another order", got)
	}
	if proof := heal(t, f); proof.Bites < 5 || proof.Bites > 40 {
		t.Errorf("%d of 100 frames were late, expected about 20", proof.Bites)
	}
}

func TestARateBoundsWhatPasses(t *testing.T) {
	n := open(t, 2)
	c := connected(t, n, "n1", listen(t, n, "n2", 7077, echo), grpcGreeting)
	const bytes, rate = 200_000, 500_000
	f := inject(t, n, schedule.Event{Kind: schedule.Rate, Bytes: rate}, "n1")
	start := time.Now()
	if err := said(c, strings.Repeat("x", bytes), later); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < bytes*time.Second/rate*9/10 {
		t.Errorf("%d bytes took %v at %d bytes a second", bytes, took, rate)
	}
	heal(t, f)
	start = time.Now()
	if err := said(c, strings.Repeat("x", bytes), later); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took >= bytes*time.Second/rate {
		t.Errorf("%d bytes took %v after the fault", bytes, took)
	}
}

func TestARateDropsWhatItsQueueCannotTake(t *testing.T) {
	n := open(t, 2)
	a, b := datagrams(t, n, "n1", 9000), datagrams(t, n, "n2", 9000)
	sendMany(t, a, b, 1) // the address is known now
	receivedUpTo(t, b, 1, later)
	f := inject(t, n, schedule.Event{Kind: schedule.Rate, Bytes: 10_000}, "n1")
	for range 200 {
		if _, err := a.WriteTo(make([]byte, 1000), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	received(t, b, soon)
	if c := f.Counts(); c.Dropped.Frames < 150 || c.Passed.Frames == 0 {
		t.Errorf("counts %+v, expected some passed and most of 200 dropped", c)
	}
	heal(t, f)
}

func TestAResetEndsConnectionsAtBothEnds(t *testing.T) {
	n := open(t, 2)
	ends := make(chan error, 10)
	addr := listen(t, n, "n2", 7077, func(c net.Conn) {
		_, err := io.Copy(c, c)
		ends <- err
	})
	raft, grpc := connected(t, n, "n1", addr, raftGreeting), connected(t, n, "n1", addr, grpcGreeting)
	f := inject(t, n, schedule.Event{Kind: schedule.Reset, Plane: schedule.Raft}, "n1")
	if err := said(raft, "append", later); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the dialing side got %v, expected %v", err, syscall.ECONNRESET)
	}
	if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the listening side got %v, expected %v", err, syscall.ECONNRESET)
	}
	if err := said(grpc, "order", later); err != nil {
		t.Errorf("gRPC, while Raft is reset: %v", err)
	}
	heal(t, f)
	connected(t, n, "n1", addr, raftGreeting)
	all := inject(t, n, schedule.Event{Kind: schedule.Reset}, "n1")
	if _, err := dial(n, "n1", addr, later); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial got %v while all is reset, expected %v", err, syscall.ECONNREFUSED)
	}
	heal(t, all)
}

func TestAResetEndsConnectionsThatSendNothing(t *testing.T) {
	n := open(t, 3)
	ends := make(chan error, 10)
	addr := listen(t, n, "n2", 7077, func(c net.Conn) {
		_, err := io.Copy(c, c)
		ends <- err
	})
	watch, raft := connected(t, n, "n1", addr, "\xa8 greeting"), connected(t, n, "n1", addr, raftGreeting)
	other := connected(t, n, "n3", addr, "\xa8 greeting")
	f := inject(t, n, schedule.Event{Kind: schedule.Reset, Plane: schedule.Watch, Peers: []string{"n1"}}, "n2")
	if _, err := watch.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the dialing side got %v, expected %v", err, syscall.ECONNRESET)
	}
	if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the listening side got %v, expected %v", err, syscall.ECONNRESET)
	}
	if err := errors.Join(said(raft, "append", later), said(other, "alive", later)); err != nil {
		t.Errorf("another plane or another pair, while the watch of n1 and n2 is reset: %v", err)
	}
	if proof := heal(t, f); proof.Bites != 1 {
		t.Errorf("proof %+v, expected one connection", proof)
	}
	watch.Close()
	for _, c := range []net.Conn{raft, other} {
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 { // the other side has closed too
			t.Fatalf("read %q, %v", b, err)
		}
	}
	for _, node := range []string{"n1", "n3"} { // frames come in order: none of those connections is on its way after this
		connected(t, n, node, addr, grpcGreeting)
	}
	late := inject(t, n, schedule.Event{Kind: schedule.Reset, Plane: schedule.Watch}, "n2")
	if proof, err := late.Heal(t.Context()); err != nil || proof.Bites != 0 {
		t.Errorf("proof %+v, error %v, expected no bite into connections that are closed", proof, err)
	}
}

func TestFaultsOfOneLinkAddUp(t *testing.T) {
	n := open(t, 2)
	a, b := datagrams(t, n, "n1", 9000), datagrams(t, n, "n2", 9000)
	double := inject(t, n, schedule.Event{Kind: schedule.Duplicate, Percent: 100}, "n1")
	slow := inject(t, n, schedule.Event{Kind: schedule.Delay, DelayMS: 50}, "n1")
	start := time.Now()
	sendMany(t, a, b, 1)
	if got := receivedUpTo(t, b, 2, later); len(got) != 2 || time.Since(start) < 50*time.Millisecond {
		t.Errorf("received %v after %v, expected two after 50 ms", got, time.Since(start))
	}
	heal(t, slow)
	sendMany(t, a, b, 1)
	if got := receivedUpTo(t, b, 2, later); len(got) != 2 {
		t.Errorf("received %v, expected two", got)
	}
	heal(t, double)
}

func TestAFaultWithoutTrafficHasNoBite(t *testing.T) {
	n := open(t, 2)
	for _, e := range []schedule.Event{
		{Kind: schedule.Cut},
		{Kind: schedule.Delay, DelayMS: 1},
		{Kind: schedule.Loss, Percent: 100},
		{Kind: schedule.Duplicate, Percent: 100},
		{Kind: schedule.Reorder, Percent: 100, DelayMS: 1},
		{Kind: schedule.Rate, Bytes: 1},
		{Kind: schedule.Reset},
	} {
		f := inject(t, n, e, "n1")
		proof, err := f.Heal(t.Context())
		if err != nil || proof.Bites != 0 || proof.What == "" {
			t.Errorf("%s: proof %+v, error %v, expected no bite with a unit", e.Kind, proof, err)
		}
		if _, err := f.Heal(t.Context()); err == nil {
			t.Errorf("%s was healed twice", e.Kind)
		}
	}
}

func TestAFaultThatCannotBeIsRefused(t *testing.T) {
	n := open(t, 2)
	one := []string{"n1"}
	for name, c := range map[string]struct {
		event   schedule.Event
		targets []string
	}{
		"another kind":          {schedule.Event{Kind: schedule.Kill}, one},
		"no target":             {schedule.Event{Kind: schedule.Cut}, nil},
		"a target not there":    {schedule.Event{Kind: schedule.Cut}, []string{"n3"}},
		"a peer not there":      {schedule.Event{Kind: schedule.Cut, Peers: []string{"leader"}}, one},
		"a link to itself":      {schedule.Event{Kind: schedule.Cut, Peers: one}, one},
		"no loss":               {schedule.Event{Kind: schedule.Loss}, one},
		"more loss than all":    {schedule.Event{Kind: schedule.Loss, Percent: 101}, one},
		"no delay":              {schedule.Event{Kind: schedule.Delay}, one},
		"a delay below 0":       {schedule.Event{Kind: schedule.Delay, DelayMS: -1, JitterMS: 5}, one},
		"reorder without delay": {schedule.Event{Kind: schedule.Reorder, Percent: 5}, one},
		"no rate":               {schedule.Event{Kind: schedule.Rate}, one},
	} {
		if f, err := n.Inject(t.Context(), c.event, c.targets); err == nil {
			t.Errorf("%s: a fault came about: %+v", name, f)
		}
	}
}

func TestTrafficIsCountedByPlane(t *testing.T) {
	n := open(t, 2)
	shared, gossip := listen(t, n, "n2", 7077, echo), listen(t, n, "n2", 7946, echo)
	connected(t, n, "n1", shared, raftGreeting)
	connected(t, n, "n1", shared, "\xa8 greeting")
	connected(t, n, link.Client, shared, grpcGreeting)
	connected(t, n, "n1", gossip, "hello")
	traffic := n.Traffic()
	for _, plane := range []schedule.Plane{schedule.Raft, schedule.Watch, schedule.RPC, schedule.Gossip} {
		if c := traffic[plane]; c.Frames < 2 || c.Bytes < 2*54 {
			t.Errorf("traffic of %s is %+v, expected an echo", plane, c)
		}
	}
}
