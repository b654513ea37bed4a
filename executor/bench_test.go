package executor_test

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc"
)

// BenchmarkTwoStagesOfEightEmptyTasks measures what a batch costs when its tasks cost nothing: order, two stages of
// eight tasks on three executors, report. The executors are in this process; what is "over grpc" goes over loopback,
// also where a node would call itself. The metric p50-ms is the median of the batches, which one slow batch does not
// change.
func BenchmarkTwoStagesOfEightEmptyTasks(b *testing.B) {
	for _, way := range []string{"in process", "over grpc"} {
		b.Run(way, func(b *testing.B) {
			c := newCluster(b, 3, &executortest.WordCount{Reducers: 8, Depth: 1, Empty: 8})
			if way == "over grpc" {
				for _, n := range c.nodes {
					c.net.Add(n.name, overGRPC(b, n))
				}
			}
			at := id.Time(0)
			reported := 0
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				at += 1000
				reported++
				c.driver.Send(c.nodes[0].store, c.batch(at, 50, 60))
				c.wait(func() bool { return c.driver.Reported() == reported })
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/float64(time.Millisecond), "p50-ms")
		})
	}
}

// overGRPC serves a node on loopback and gives the way to it.
func overGRPC(b *testing.B, n *node) job.Server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := rpc.NewServer(rpc.ServerConfig{Store: n.store, Executor: n.Server()})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	x := rpc.NewExecutors(rpc.ExecutorsConfig{})
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := x.Close(); err != nil {
			b.Error(err)
		}
		s.Stop(ctx)
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	return remote{x, job.Peer{Store: n.store, Name: n.name, Addr: l.Addr().String()}}
}

// remote is a server at the other end of a connection.
type remote struct {
	job.Executors
	to job.Peer
}

func (r remote) Launch(ctx context.Context, l *job.Launch) (*job.LaunchResult, error) {
	return r.Executors.Launch(ctx, r.to, l)
}

func (r remote) Fetch(ctx context.Context, f *job.Fetch, each func(int, []byte) error) error {
	return r.Executors.Fetch(ctx, r.to, f, each)
}

func (r remote) Put(ctx context.Context, d job.BlockData) error {
	return r.Executors.Put(ctx, r.to, d)
}

func (r remote) States(ctx context.Context, app id.App) ([]job.Held, error) {
	return r.Executors.States(ctx, r.to, app)
}

func (r remote) Get(ctx context.Context, b id.Block) (job.BlockData, error) {
	return r.Executors.Get(ctx, r.to, b)
}
