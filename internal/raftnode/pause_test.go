//go:build unix

package raftnode

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// pausedEnv makes the test below the process that is paused.
const pausedEnv = "RAFTNODE_TEST_PAUSED"

// slowDisk is a disk whose write takes until a line comes in.
type slowDisk struct {
	*MemoryDisk
	lines *bufio.Reader
}

func (d *slowDisk) StoreLogs(logs []*raft.Log) error {
	fmt.Println("writing")
	if _, err := d.lines.ReadString('\n'); err != nil {
		return err
	}
	return d.MemoryDisk.StoreLogs(logs)
}

// A virtual machine that is paused finds its write late when it goes on: that says nothing of its disk.
func TestAPauseOfTheProcessIsNoHangingDisk(t *testing.T) {
	const limit = 500 * time.Millisecond
	if os.Getenv(pausedEnv) != "" {
		g := newGuarded(&slowDisk{NewMemoryDisk(), bufio.NewReader(os.Stdin)}, "raft.db", limit, func(err error) error { return err })
		if err := g.StoreLog(&raft.Log{Index: 1}); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), pausedEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for line := ""; line != "writing\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(4 * limit)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-time.After(limit / 5) // the process sees first that time has passed, then the end of its write
	if _, err := io.WriteString(in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: a pause of %v was taken for a write that hangs for %v:\n%s", err, 4*limit, limit, rest)
	}
}
