package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a file system of its own for one data directory. That needs root: without it the test is left out.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, options); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("LEFT OUT: a small file system needs root to be mounted; run this test as root to see a disk fill up")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file that leaves so many bytes free, and gives its name.
func fill(t *testing.T, dir string, leave uint64) string {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "filler")
	free := s.Bavail * uint64(s.Bsize)
	if free <= leave {
		t.Fatalf("%d bytes are free, expected more than %d", free, leave)
	}
	if err := os.WriteFile(name, make([]byte, free-leave), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return name
}

// Rule 10: at its reserve a store of blocks takes none, sources wait and the node lives. With room they go on.
func TestIngestWaitsWhileTheDiskIsAtItsReserve(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	const mebibyte = 1 << 20
	disk := smallDisk(t, "size=160m")
	c := newCluster(t, 1, func(n *node) {
		n.dir = filepath.Join(disk, "data")
		n.flags = []string{"--disk-reserve", "48", "--raft-disk-reserve", "16"}
	})
	lines := text(t, 30_000)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 6*time.Second)
	await(t, 30*time.Second, "some processed records", func() bool { return c.app("wc").Processed > 1000 })
	filler := fill(t, disk, 40*mebibyte)
	var stuck int64
	await(t, 30*time.Second, "records to stop coming in", func() bool {
		before := stuck
		stuck = c.app("wc").Received
		pause(t, time.Second)
		return stuck == before && stuck < int64(len(lines))
	})
	if c.nodes[0].ended() {
		t.Fatal("the node ended, expected it to wait")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	f.wait(t, 60*time.Second)
	c.finish("wc", prefix, lines)
}

// Below Raft's reserve nothing is proposed: commands are told so and end with status 1, the node lives, and goes on by
// itself once there is room.
func TestCommandsAreToldOfADiskBelowTheReserveOfRaft(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	const mebibyte = 1 << 20
	disk := smallDisk(t, "size=160m")
	c := newCluster(t, 1, func(n *node) {
		n.dir = filepath.Join(disk, "data")
		n.flags = []string{"--disk-reserve", "48", "--raft-disk-reserve", "16"}
	})
	filler := fill(t, disk, 8*mebibyte)
	await(t, 10*time.Second, "the log to say so", func() bool { return c.logHas(c.nodes[0], "disk reserve is reached") })
	r := c.command(t.Context(), nil, "--timeout", "3s", "submit", "wordcount", "--name", "wc", "--param", "source=ingest")
	if r.status == 0 || !strings.Contains(r.stderr, "disk of") {
		t.Errorf("submit ended with status %d and %q, expected a refusal that names the disk", r.status, r.stderr)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, "an application to be submitted", func() bool {
		r := c.command(t.Context(), nil, "submit", "wordcount", "--name", "wc", "--param", "source=ingest")
		return r.status == 0
	})
}

// A disk that is full ends the node: a message that says so, status 1; the others go on, and when it has room again and
// is started, nothing is lost.
func TestFullDiskEndsTheNodeAndLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	disk := smallDisk(t, "size=160m")
	c := newCluster(t, 3, func(n *node) {
		n.flags = []string{"--disk-reserve", "0", "--raft-disk-reserve", "0"}
		if n.name == "n2" {
			n.dir = filepath.Join(disk, "data")
		}
	})
	full := c.nodes[1]
	lines := text(t, 50_000)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 12*time.Second)
	await(t, 30*time.Second, "some processed records", func() bool { return c.app("wc").Processed > 5000 })
	filler := fill(t, disk, 0)
	await(t, 60*time.Second, "the node with the full disk to end", full.ended)
	if status := full.proc.ExitCode(); status != 1 {
		t.Errorf("it ended with status %d, expected 1", status)
	}
	log := c.log(full)
	at := strings.LastIndex(log, "raftstream: ")
	if at < 0 || !strings.Contains(log[at:], "no space left on device") || !strings.Contains(log[at:], full.dir) {
		t.Errorf("its last words are %q, expected the file and that there is no space", log[max(at, 0):])
	}
	f.wait(t, 60*time.Second) // the others go on
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	c.start(full)
	c.finish("wc", prefix, lines)
}
