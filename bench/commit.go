package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/raftnode"
	"github.com/raftstream/raftstream/internal/rpc"
)

// raftProcess is the hidden command of this program's own processes: one member of a raft cluster each.
const raftProcess = "raft-process"

const (
	eventBytes = 200
	callers    = 1024
	seconds    = 2 // of one run
)

// groupCommit compares what three processes commit for many callers with one event per entry for one caller.
func groupCommit(ctx context.Context, o options) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.rounds*seconds*2+60)*time.Second)
	defer cancel()
	leader, stop, err := startRaft(ctx, filepath.Join(o.dir, "commit"), 3)
	if err != nil {
		return nil, err
	}
	defer stop()
	var one, many []float64
	for range o.rounds {
		for _, r := range []struct {
			callers int
			rates   *[]float64
		}{{1, &one}, {callers, &many}} {
			rate, err := leader.ask(r.callers)
			if err != nil {
				return nil, err
			}
			*r.rates = append(*r.rates, rate)
		}
	}
	ratio := ratios(many, one)
	return []row{{
		what:  fmt.Sprintf("group commit, three processes, %d-byte events: %d callers against one", eventBytes, callers),
		value: fmt.Sprintf("%.0f times", median(ratio)), target: "at least 20 times", met: atLeast(median(ratio), 20),
		note: fmt.Sprintf("%.0f against %.0f events/s, %d rounds of %d s in turn", median(many), median(one), o.rounds, seconds),
	}}, nil
}

// member is a process of the raft cluster that leads.
type member struct {
	in  io.Writer
	out *bufio.Scanner
}

// ask lets the leader propose for a while and gives the events per second.
func (m *member) ask(callers int) (float64, error) {
	if _, err := fmt.Fprintln(m.in, callers); err != nil {
		return 0, err
	}
	if !m.out.Scan() {
		return 0, fmt.Errorf("the leading process ended: %w", m.out.Err())
	}
	return strconv.ParseFloat(m.out.Text(), 64)
}

// startRaft starts the processes and waits until one leads; stop ends them.
func startRaft(ctx context.Context, dir string, count int) (leader *member, stop func(), err error) {
	ports, err := chaos.FreePorts(count)
	if err != nil {
		return nil, nil, err
	}
	var addrs []string
	for _, p := range ports {
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", p))
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	stop = func() { cancel(); running.Wait() }
	leads := make(chan *member, count)
	for i := range count {
		m, wait, err := startMember(ctx, filepath.Join(dir, strconv.Itoa(i)), i, addrs)
		if err != nil {
			stop()
			return nil, nil, err
		}
		running.Go(func() {
			if m.out.Scan() && m.out.Text() == "leading" {
				leads <- m
				<-ctx.Done() // the rest of its output is read by ask
			}
			_ = wait() // it is killed
		})
	}
	select {
	case m := <-leads:
		return m, stop, nil
	case <-ctx.Done():
		stop()
		return nil, nil, errors.New("no process of the raft cluster leads")
	}
}

func startMember(ctx context.Context, dir string, number int, addrs []string) (m *member, wait func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self, raftProcess, dir, strconv.Itoa(number), strings.Join(addrs, ","))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return &member{in: in, out: bufio.NewScanner(out)}, cmd.Wait, cmd.Start()
}

// serveRaft is a process of the raft cluster: it says that it leads, then reads a number of callers per line and answers
// with events per second.
func serveRaft(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%d arguments, expected directory, number and addresses", len(args))
	}
	number, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	addrs := strings.Split(args[2], ",")
	n, err := openRaft(args[0], number, addrs)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := n.Bootstrap(ctx); err != nil {
		return err
	}
	term, err := lead(ctx, n, number, addrs)
	if err != nil {
		return err
	}
	fmt.Println("leading")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		count, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		rate, err := propose(ctx, n, term, count)
		if err != nil {
			return err
		}
		fmt.Println(rate)
	}
	return lines.Err()
}

func openRaft(dir string, number int, addrs []string) (*raftnode.Node, error) {
	port, err := rpc.Listen(rpc.PortConfig{Bind: addrs[number]})
	if err != nil {
		return nil, err
	}
	var members []raftnode.Candidate
	for i, a := range addrs {
		members = append(members, raftnode.Candidate{ID: fmt.Sprintf("%016x", i+1), Name: fmt.Sprint(i), Addr: a, Expect: len(addrs)})
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return raftnode.Open(raftnode.Config{
		Dir: dir, ID: members[number].ID, Name: members[number].Name, Addr: addrs[number], Expect: len(addrs), Stream: port.Raft(),
		Candidates: func() []raftnode.Candidate { return members },
		Fatal: func(err error) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		},
	})
}

// lead waits until this process leads and opens its epoch. One that follows waits for ever.
func lead(ctx context.Context, n *raftnode.Node, number int, addrs []string) (uint64, error) {
	var now id.Leadership
	for now = range n.Leadership() {
		if now.Leader {
			break
		}
	}
	if err := n.Barrier(ctx); err != nil {
		return 0, err
	}
	r, err := n.Propose(ctx, now.Term, &fsm.Epoch{Term: now.Term, Leader: fmt.Sprintf("%016x", number+1), Name: fmt.Sprint(number), Addr: addrs[number]})
	if err == nil && r.Outcome != fsm.Done {
		err = errors.New(r.Reason)
	}
	return now.Term, err
}

// propose commits events of eventBytes for a while, each caller the next one when the last is committed, and gives
// events per second. The events are refused by the ledger, for there is no such application: that is after the commit.
func propose(ctx context.Context, n *raftnode.Node, term uint64, callers int) (float64, error) {
	event := &fsm.ReceiverFailed{App: 1, Stream: 1, Instance: 1, NowMS: 1}
	bare, err := fsm.EncodeCommand(term, event)
	if err != nil {
		return 0, err
	}
	event.Error = strings.Repeat("e", eventBytes-len(bare)-3)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	var events atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for time.Since(began) < seconds*time.Second {
				if _, err := n.Propose(ctx, term, event); err != nil {
					failed.Store(&err)
					return
				}
				events.Add(1)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(events.Load()) / time.Since(began).Seconds(), nil
}
