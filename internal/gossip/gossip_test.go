package gossip

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// memberlist's Shutdown does not wait for a probe that is under way; it ends within the TCP timeout of a second.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).triggerFunc"))
}

const patience = 20 * time.Second

func open(t *testing.T, name string, port int, seeds ...string) *Gossip {
	t.Helper()
	g, err := Open(Config{
		ID: "id-" + name, BindAddr: "127.0.0.1", BindPort: port, Seeds: seeds,
		Meta: Meta{Name: name, Roles: Driver | Executor, RPCAddr: "127.0.0.1:7077", Slots: 4, Expect: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Leave(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// until waits for a condition over the members, woken by changes and, for what has no event, by a tick.
func until(t *testing.T, g *Gossip, what string, ok func([]Member) bool) {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		changed := g.Changed()
		members := g.Members()
		if ok(members) {
			return
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-end.C:
			t.Fatalf("%s did not happen within %v; members are %+v", what, patience, members)
		}
	}
}

func statuses(members []Member) string {
	var s []string
	for _, m := range members {
		s = append(s, fmt.Sprintf("%s=%v", m.Name, m.Status))
	}
	return strings.Join(s, " ")
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestThreeNodesFindEachOtherAndNoticeADeparture(t *testing.T) {
	port := freePort(t)
	seed := fmt.Sprintf("127.0.0.1:%d", port)
	// Two start before their seed is there: joining is tried again.
	b, c := open(t, "b", 0, seed), open(t, "c", 0, seed)
	until(t, b, "b is alone", func(m []Member) bool { return statuses(m) == "b=alive" })
	a := open(t, "a", port, seed)
	all := func(m []Member) bool { return statuses(m) == "a=alive b=alive c=alive" }
	for _, g := range []*Gossip{a, b, c} {
		until(t, g, "three members", all)
	}
	if err := c.Leave(); err != nil {
		t.Fatal(err)
	}
	until(t, a, "c is dead", func(m []Member) bool { return statuses(m) == "a=alive b=alive c=dead" })
}

func TestChangedMetaReachesTheOthers(t *testing.T) {
	a := open(t, "a", 0)
	b := open(t, "b", 0, a.Addr())
	until(t, b, "two members", func(m []Member) bool { return len(m) == 2 })
	if err := a.Update(func(m *Meta) { m.HasState, m.Cluster = true, "0123456789abcdef" }); err != nil {
		t.Fatal(err)
	}
	until(t, b, "the update", func(m []Member) bool { return m[0].HasState && m[0].Cluster == "01234567" })
}

func TestASeedThatWasDeadIsJoinedAgain(t *testing.T) {
	port := freePort(t)
	a := open(t, "a", port)
	b := open(t, "b", 0, a.Addr())
	until(t, b, "two members", func(m []Member) bool { return statuses(m) == "a=alive b=alive" })
	if err := a.Leave(); err != nil {
		t.Fatal(err)
	}
	until(t, b, "a is dead", func(m []Member) bool { return statuses(m) == "a=dead b=alive" })
	open(t, "a", port) // knows of nobody: b must come
	until(t, b, "a is back", func(m []Member) bool { return statuses(m) == "a=alive b=alive" })
}

func TestAPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = Open(Config{
		ID: "x", BindAddr: "127.0.0.1", BindPort: port, Meta: Meta{Name: "x", RPCAddr: "127.0.0.1:1"},
	})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(port)) {
		t.Fatalf("error is %v, expected the port %d in it", err, port)
	}
}

func TestMetaOfAnyContentFitsAndReturns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Meta{
			Name:       rapid.StringN(1, -1, maxName).Draw(t, "name"),
			Roles:      Role(rapid.Byte().Draw(t, "roles")),
			RPCAddr:    rapid.StringMatching(`[a-z.]{1,90}:[0-9]{1,5}`).Draw(t, "rpc"),
			HTTPPort:   rapid.Uint16().Draw(t, "http"),
			Slots:      rapid.Uint32().Draw(t, "slots"),
			Generation: rapid.Uint64().Draw(t, "generation"),
			Version:    rapid.StringN(0, -1, maxVersion).Draw(t, "version"),
			Expect:     rapid.Byte().Draw(t, "expect"),
			HasState:   rapid.Bool().Draw(t, "state"),
			Cluster:    rapid.StringN(0, -1, maxCluster).Draw(t, "cluster"),
		}
		if err := m.check(); err != nil {
			t.Fatal(err)
		}
		b := m.encode()
		if len(b) >= MaxMeta {
			t.Fatalf("%d bytes, expected fewer than %d", len(b), MaxMeta)
		}
		back, err := decodeMeta(append(b, "of a newer version"...))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, back); d != "" {
			t.Fatal(d)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := decodeMeta(b[:cut]); err == nil {
			t.Fatalf("%d of %d bytes are taken", cut, len(b))
		}
	})
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	good := Config{ID: "x", BindAddr: "127.0.0.1", Meta: Meta{Name: "x", RPCAddr: "127.0.0.1:7077"}}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no id", func(c *Config) { c.ID = "" }, "id is empty"},
		{"no name", func(c *Config) { c.Meta.Name = "" }, "name is empty"},
		{"long name", func(c *Config) { c.Meta.Name = strings.Repeat("n", 33) }, "at most 32"},
		{"no port", func(c *Config) { c.Meta.RPCAddr = "127.0.0.1" }, "expected host:port"},
		{"short secret", func(c *Config) { c.Secret = []byte("short") }, "16, 24 or 32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := good
			c.change(&config)
			g, err := Open(config)
			if err == nil {
				t.Fatal("no error", g.Leave())
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %q, expected %q in it", err, c.want)
			}
		})
	}
}

func TestDeadMembersAreForgotten(t *testing.T) {
	m := newMembers("self", time.Second)
	now := time.Now()
	for i := range 2 * maxDead {
		id := fmt.Sprint(i)
		m.known[id] = &known{member: Member{ID: id, Status: Dead, Since: now.Add(-time.Duration(i) * 40 * time.Second)}}
	}
	m.forget(now)
	if len(m.known) != maxDead || m.known["0"] == nil {
		t.Errorf("%d dead members are kept, expected the last %d", len(m.known), maxDead)
	}
}

func TestASilentMemberIsSuspect(t *testing.T) {
	m := newMembers("self", 500*time.Millisecond)
	now := time.Now()
	m.known["self"] = &known{member: Member{ID: "self", GossipAddr: "a:1", Status: Alive}}
	m.known["loud"] = &known{member: Member{ID: "loud", GossipAddr: "a:2", Status: Alive}, heard: now}
	m.known["silent"] = &known{member: Member{ID: "silent", GossipAddr: "a:3", Status: Alive}, heard: now.Add(-4 * time.Second)}
	for _, got := range m.list() {
		want := Alive
		if got.ID == "silent" {
			want = Suspect
		}
		if got.Status != want {
			t.Errorf("%s is %v, expected %v", got.ID, got.Status, want)
		}
	}
}

// A node with a new disk comes at the address of the one that it was. Whoever waits for it to be alive must not be shown
// the old one.
func TestAMemberIsSuspectWhenAnotherOneComesAtItsAddress(t *testing.T) {
	m := newMembers("self", time.Minute)
	now := time.Now()
	m.known["was"] = &known{member: Member{ID: "was", GossipAddr: "a:1", Status: Alive, Since: now.Add(-time.Hour)}, heard: now}
	m.known["is"] = &known{member: Member{ID: "is", GossipAddr: "a:1", Status: Alive, Since: now}, heard: now}
	m.known["else"] = &known{member: Member{ID: "else", GossipAddr: "a:2", Status: Alive, Since: now}, heard: now}
	want := map[string]Status{"was": Suspect, "is": Alive, "else": Alive}
	for _, got := range m.list() {
		if got.Status != want[got.ID] {
			t.Errorf("%s is %v, expected %v", got.ID, got.Status, want[got.ID])
		}
	}
}

// A probe that is answered over TCP only is a late answer on a busy machine, unless that goes on.
func TestNetworkWithoutUDPIsToldFromALateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gossip{members: newMembers("self", probeInterval)}
		n := &memberlist.Node{Name: "a", Meta: (&Meta{Name: "a", RPCAddr: "127.0.0.1:1"}).encode()}
		g.members.NotifyJoin(n)
		if g.unusual("a") {
			t.Error("a member that has just come is said to be out of reach over UDP")
		}
		time.Sleep(unheardTime - time.Second)
		g.members.NotifyPingComplete(n, 0, nil)
		time.Sleep(unheardTime - time.Second)
		if g.unusual("a") {
			t.Error("a member that answered lately is said to be out of reach over UDP")
		}
		time.Sleep(2 * time.Second)
		if !g.unusual("a") || !g.unusual("nobody") {
			t.Error("a member that never answers over UDP is not shown")
		}
		g.closed.Store(true)
		if g.unusual("a") {
			t.Error("a node that leaves blames the network")
		}
	})
}

// What happens whenever a node leaves or starts is no warning; that one died is.
func TestLevelsOfLines(t *testing.T) {
	var out strings.Builder
	w := logWriter{slog.New(slog.NewTextHandler(&out, nil)), func(member string) bool { return member == "unheard" }}
	for line, want := range map[string]string{
		"[WARN] memberlist: Refuting a dead message (from: a)\n":                                                           "INFO",
		"[ERR] memberlist: Failed to send gossip to 127.0.0.1:1: refused\n":                                                "INFO",
		"[INFO] memberlist: Marking a as failed, suspect timeout reached (0 peers)\n":                                      "WARN",
		"[ERR] memberlist: Decrypt packet failed: No installed keys could decrypt it\n":                                    "ERROR",
		"[WARN] memberlist: Binding to public address without encryption!\n":                                               "WARN",
		"[WARN] memberlist: Was able to connect to heard over TCP but UDP probes failed, network may be misconfigured\n":   "INFO",
		"[WARN] memberlist: Was able to connect to unheard over TCP but UDP probes failed, network may be misconfigured\n": "WARN",
		"plain\n": "INFO",
		"\n":      "INFO",
	} {
		out.Reset()
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%q: %d, %v", line, n, err)
		}
		if !strings.Contains(out.String(), "level="+want+" ") {
			t.Errorf("%q is written as %q, expected level %s", line, out.String(), want)
		}
	}
}

// With a key, whoever does not have it is neither heard nor told anything.
func TestNodesOfAnotherKeyAreNotHeard(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	withKey := func(name string, secret []byte, seeds ...string) *Gossip {
		g, err := Open(Config{
			ID: name, BindAddr: "127.0.0.1", Seeds: seeds, Secret: secret, Meta: Meta{Name: name, RPCAddr: "127.0.0.1:1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := g.Leave(); err != nil {
				t.Error(err)
			}
		})
		return g
	}
	a := withKey("a", one)
	other := withKey("other", two, a.Addr())
	none := withKey("none", nil, a.Addr())
	b := withKey("b", one, other.Addr(), none.Addr(), a.Addr()) // after the others had their chance
	until(t, a, "two members", func(m []Member) bool { return statuses(m) == "a=alive b=alive" })
	until(t, b, "two members", func(m []Member) bool { return statuses(m) == "a=alive b=alive" })
	for _, g := range []*Gossip{other, none} {
		if m := g.Members(); len(m) != 1 {
			t.Errorf("%s sees %s, expected itself alone", m[0].Name, statuses(m))
		}
	}
}
