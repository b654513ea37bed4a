//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hits hits a point of some plan n times, and gives what it did.
func hits(t *testing.T, text string, n int) (said []string) {
	t.Helper()
	first, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	p := &points{first: first, say: func(line string) { said = append(said, line) }, die: func(status int, line string) {
		said = append(said, fmt.Sprintf("%s, status %d", line, status))
	}}
	for range n {
		p.hit(WALSynced)
	}
	return said
}

func TestAPointActsAtItsHits(t *testing.T) {
	for _, tt := range []struct {
		plan string
		want []string
	}{
		{"", nil},
		{"wal.written=exit", nil},
		{"wal.synced=exit@9", nil},
		{"wal.synced=exit", []string{"failpoint wal.synced: exit at hit 1, status 86"}},
		{" wal.synced = exit@3 ,\n", []string{"failpoint wal.synced: exit at hit 3, status 86"}},
		{"wal.synced=sleep(20ms)@2", []string{"failpoint wal.synced: sleep 20ms at hit 2"}},
		{"wal.written=exit,wal.synced=sleep(1m)@3+", []string{"failpoint wal.synced: sleep 1m0s at hit 3", "failpoint wal.synced: sleep 1m0s at hit 4"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			if said := hits(t, tt.plan, 4); !slices.Equal(said, tt.want) {
				t.Errorf("%q said %q, expected %q", tt.plan, said, tt.want)
			}
			if slept := time.Since(began); strings.Contains(tt.plan, "sleep(1m)@3+") && slept != 2*time.Minute {
				t.Errorf("%q slept %v, expected 2m", tt.plan, slept)
			}
		})
	}
}

func TestAPlanThatCannotBeIsRefused(t *testing.T) {
	for _, tt := range []struct{ plan, want string }{
		{"wal.sinced=exit", `"wal.sinced" is no point; the points are [ledger.propose `},
		{"wal.synced", `"wal.synced": expected point=action[@hit]`},
		{"wal.synced=panic", `point wal.synced: action "panic": expected exit, or sleep(DURATION) of at most 10m0s`},
		{"wal.synced=sleep(1h)", `of at most 10m0s`},
		{"wal.synced=sleep(-1s)", `action "sleep(-1s)"`},
		{"wal.synced=sleep(1s", `action "sleep(1s"`},
		{"wal.synced=exit@0", `hit "0": expected a number from 1`},
		{"wal.synced=exit@1++", `hit "1++": expected a number from 1`},
		{"wal.synced=exit,wal.synced=exit@2", "point wal.synced is named twice"},
	} {
		if _, err := parse(tt.plan); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q gives %v, expected %s", tt.plan, err, tt.want)
		}
	}
}

// walk makes a process that hits a point for every line of its input.
const walk = "FAILPOINT_TEST_WALK"

func TestMain(m *testing.M) {
	if os.Getenv(walk) != "" {
		var b [1]byte
		for {
			if n, err := os.Stdin.Read(b[:]); n == 0 || err != nil {
				os.Exit(0)
			}
			Hit(BlockStored)
			fmt.Println("hit")
		}
	}
	os.Exit(m.Run())
}

func TestAProcessEndsWhereItsEnvironmentSays(t *testing.T) {
	for _, tt := range []struct {
		plan   string
		status int
		want   string
	}{
		{"block.stored=exit@2", ExitStatus, "hit\nfailpoint block.stored: exit at hit 2\n"},
		{"block.stored=sleep(1ms)", 0, "failpoint block.stored: sleep 1ms at hit 1\nhit\nhit\nhit\n"},
		{"no.point=exit", 2, "failpoints of RAFTSTREAM_FAILPOINTS: \"no.point\" is no point"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), walk+"=1", planVariable+"="+tt.plan)
		cmd.Stdin = strings.NewReader("...")
		out, _ := cmd.CombinedOutput() // the status tells
		if got := cmd.ProcessState.ExitCode(); got != tt.status || !strings.HasPrefix(string(out), tt.want) {
			t.Errorf("%s: status %d, %q, expected %d, %q", tt.plan, got, out, tt.status, tt.want)
		}
	}
}

func TestPointsAreArmedInAProcessThatRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "points")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), walk+"=1", fileVariable+"="+file)
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
	step := func(want string) {
		t.Helper()
		if _, err := in.Write([]byte{'.'}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		n, _ := out.Read(b)
		if got := string(b[:n]); got != want {
			t.Fatalf("the process said %q, expected %q", got, want)
		}
	}
	arm := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	step("hit\n") // without a file
	arm("block.stored=exit@2")
	step("hit\n")
	arm("block.stored=exit@2") // counted anew
	step("hit\n")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	step("hit\n")
	step("hit\n")
	arm("block.stored=exit@1")
	step("")
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != ExitStatus {
		t.Errorf("status %d, expected %d", cmd.ProcessState.ExitCode(), ExitStatus)
	}
}
