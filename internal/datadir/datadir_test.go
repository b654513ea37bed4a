package datadir_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/datadir"
	"github.com/raftstream/raftstream/internal/vfs"
)

func open(t *testing.T, f vfs.FS, path string) *datadir.Dir {
	t.Helper()
	d, err := datadir.Open(f, path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNodeKeepsItsIDAndRaisesItsGeneration(t *testing.T) {
	for name, f := range map[string]vfs.FS{"OS": vfs.OS{}, "Mem": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/node"
			first := open(t, f, path)
			if len(first.Node()) != 16 || first.Generation() != 1 || first.Cluster() != "" {
				t.Fatalf("new directory: node %q, generation %d, cluster %q", first.Node(), first.Generation(), first.Cluster())
			}
			if err := first.StampCluster("c1"); err != nil {
				t.Fatal(err)
			}
			node := first.Node()
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			second := open(t, f, path)
			defer second.Close()
			if second.Node() != node || second.Generation() != 2 || second.Cluster() != "c1" {
				t.Fatalf("opened again: node %q, generation %d, cluster %q", second.Node(), second.Generation(), second.Cluster())
			}
			for _, sub := range []string{second.Raft(), second.WAL()} {
				if info, err := f.Stat(sub); err != nil || !info.Dir {
					t.Errorf("sub-directory %s: %+v, %v", sub, info, err)
				}
			}
		})
	}
}

func TestTwoNodesHaveDifferentIDs(t *testing.T) {
	f := vfs.NewMem()
	if a, b := open(t, f, "/a"), open(t, f, "/b"); a.Node() == b.Node() {
		t.Errorf("both are %s", a.Node())
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := t.TempDir()
	first := open(t, vfs.OS{}, path)
	_, err := datadir.Open(vfs.OS{}, path)
	if !errors.Is(err, datadir.ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Fatalf("second open: %v, want ErrInUse with the path", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third := open(t, vfs.OS{}, path)
	if third.Generation() != 2 {
		t.Errorf("generation %d, want 2: a refused open counts for nothing", third.Generation())
	}
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
}

// Rule 2: a store of another cluster is refused and nothing of it is changed.
func TestAnotherClusterIsRefused(t *testing.T) {
	f := vfs.NewMem()
	d := open(t, f, "/n")
	if err := d.StampCluster("one"); err != nil {
		t.Fatal(err)
	}
	if err := d.StampCluster("one"); err != nil {
		t.Errorf("same cluster again: %v", err)
	}
	err := d.StampCluster("two")
	other := (*datadir.ClusterError)(nil)
	if !errors.As(err, &other) || other.Has != "one" || other.Want != "two" {
		t.Fatalf("another cluster: %v", err)
	}
	if want := "data directory /n belongs to cluster one, this is cluster two"; err.Error() != want {
		t.Errorf("says %q, want %q", err, want)
	}
	if d.Cluster() != "one" {
		t.Errorf("cluster is now %q", d.Cluster())
	}
	for _, bad := range []string{"", strings.Repeat("x", 65)} {
		if err := d.StampCluster(bad); err == nil {
			t.Errorf("cluster id %q was taken", bad)
		}
	}
}

// Rules 2 and 15: an identity that cannot be read, or is gone while data is there, is never replaced.
func TestDamagedIdentityIsRefusedAndKept(t *testing.T) {
	f := vfs.NewMem()
	d := open(t, f, "/n")
	if err := errors.Join(d.StampCluster("c"), d.Close()); err != nil {
		t.Fatal(err)
	}
	good, err := vfs.ReadFile(f, "/n/identity", 4096)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, bad []byte) {
		t.Helper()
		f.Corrupt("/n/identity", func([]byte) []byte { return bad })
		_, err := datadir.Open(f, "/n")
		damage := (*datadir.DamageError)(nil)
		if !errors.As(err, &damage) || damage.File != "/n/identity" {
			t.Fatalf("%s: %v, want a DamageError of /n/identity", what, err)
		}
		if now, err := vfs.ReadFile(f, "/n/identity", 1<<20); err != nil || string(now) != string(bad) {
			t.Fatalf("%s: the file was changed", what)
		}
	}
	for bit := range len(good) * 8 {
		bad := append([]byte(nil), good...)
		bad[bit/8] ^= 1 << (bit % 8)
		check("one bit flipped", bad)
	}
	for n := range len(good) {
		check("truncated", good[:n:n])
	}
	check("longer", append(good[:len(good):len(good)], 0))
	check("huge", make([]byte, 5000))
}

// A directory of version 1 is taken, and is of version 2 from then on; one of a newer program is refused with both numbers.
func TestVersionOfTheIdentityOnlyRises(t *testing.T) {
	f := vfs.NewMem()
	d := open(t, f, "/n")
	node := d.Node()
	if err := errors.Join(d.StampCluster("c"), d.Close()); err != nil {
		t.Fatal(err)
	}
	of := func(version uint32) {
		f.Corrupt("/n/identity", func(b []byte) []byte {
			body := b[:len(b)-4]
			binary.LittleEndian.PutUint32(body[8:], version)
			return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		})
	}
	of(1)
	d = open(t, f, "/n")
	if d.Node() != node || d.Cluster() != "c" {
		t.Errorf("node %s of cluster %s, expected %s of c", d.Node(), d.Cluster(), node)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := vfs.ReadFile(f, "/n/identity", 4096); err != nil || binary.LittleEndian.Uint32(b[8:]) != 2 {
		t.Errorf("after it was opened the identity is %q, %v; expected version 2", b, err)
	}
	of(3)
	if _, err := datadir.Open(f, "/n"); err == nil || !strings.Contains(err.Error(), "version is 3, this program reads versions 1 to 2") {
		t.Errorf("error is %v, expected one that names the versions", err)
	}
}

func TestMissingIdentityBesideDataIsRefused(t *testing.T) {
	for _, sub := range []string{"raft", "wal"} {
		f := vfs.NewMem()
		d := open(t, f, "/n")
		if err := errors.Join(vfs.WriteFile(f, "/n/"+sub, "/n/"+sub+"/data", nil), d.Close(), f.Remove("/n/identity")); err != nil {
			t.Fatal(err)
		}
		_, err := datadir.Open(f, "/n")
		damage := (*datadir.DamageError)(nil)
		if !errors.As(err, &damage) || !strings.Contains(err.Error(), "missing") {
			t.Errorf("%s holds data: %v, want a DamageError", sub, err)
		}
		if _, err := f.Stat("/n/identity"); err == nil {
			t.Error("a new identity was made")
		}
	}
}

// A generation is never used twice and a node id never changes, wherever the power is cut.
func TestIdentitySurvivesACrashAtEveryOperation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	for n := range 40 {
		f := vfs.NewMem()
		first := open(t, f, "/n")
		node, used := first.Node(), first.Generation()
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		f.StopAt(f.Ops()+n, rng)
		if d, err := datadir.Open(f, "/n"); err == nil {
			used = d.Generation()
			if err := d.StampCluster("c"); err == nil && n < 5 {
				t.Fatalf("stopped at %d, yet everything went well", n)
			}
		}
		again := open(t, f.Crash(rng), "/n")
		if again.Node() != node || again.Generation() <= used {
			t.Fatalf("stopped at %d: node %s, generation %d; before %s, %d", n, again.Node(), again.Generation(), node, used)
		}
		if c := again.Cluster(); c != "" && c != "c" {
			t.Fatalf("stopped at %d: cluster %q", n, c)
		}
	}
}

func TestCrashWhileTheDirectoryIsMadeLeavesItUsable(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	for n := range 20 {
		f := vfs.NewMem()
		f.StopAt(n, rng)
		used := uint64(0)
		if d, err := datadir.Open(f, "/n"); err == nil {
			used = d.Generation()
		}
		if again := open(t, f.Crash(rng), "/n"); again.Generation() <= used {
			t.Fatalf("stopped at %d: generation %d was used before", n, again.Generation())
		}
	}
}

func FuzzIdentity(f *testing.F) {
	m := vfs.NewMem()
	d, err := datadir.Open(m, "/n")
	if err != nil {
		f.Fatal(err)
	}
	node := d.Node()
	if err := errors.Join(d.StampCluster("cluster"), d.Close()); err != nil {
		f.Fatal(err)
	}
	good, err := vfs.ReadFile(m, "/n/identity", 4096)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := vfs.NewMem()
		if err := errors.Join(m.MkdirAll("/n"), vfs.WriteFile(m, "/n", "/n/identity", b)); err != nil {
			t.Fatal(err)
		}
		d, err := datadir.Open(m, "/n")
		if damage := (*datadir.DamageError)(nil); err != nil && !errors.As(err, &damage) {
			t.Fatalf("%v, want a DamageError", err)
		}
		if err == nil && string(b) == string(good) && d.Node() != node {
			t.Fatalf("node %s, want %s", d.Node(), node)
		}
	})
}

// Rule 2: that Raft's state was made is known at every later start.
func TestRaftStateIsStampedForEver(t *testing.T) {
	f := vfs.NewMem()
	d := open(t, f, "/n")
	if d.HasRaft() {
		t.Error("a new directory has raft state")
	}
	for range 2 {
		if err := d.StampRaft(); err != nil || !d.HasRaft() {
			t.Fatalf("stamped: %v, %v", d.HasRaft(), err)
		}
	}
	if err := errors.Join(d.StampCluster("c"), d.StampName("n1"), d.Close()); err != nil {
		t.Fatal(err)
	}
	again := open(t, f.Crash(rand.New(rand.NewPCG(1, 1))), "/n")
	if !again.HasRaft() || again.Cluster() != "c" || again.Name() != "n1" {
		t.Errorf("after a crash: raft %v, cluster %q, name %q", again.HasRaft(), again.Cluster(), again.Name())
	}
}
