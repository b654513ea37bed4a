package local_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/local"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server spoils whatever it is given and keeps what it answers.
type server struct {
	got    *job.Launch
	result *job.LaunchResult
	block  []byte
	hang   chan struct{} // not nil: calls come here and wait for the end of their context
}

func (s *server) wait(ctx context.Context) error {
	if s.hang == nil {
		return nil
	}
	s.hang <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func (s *server) Launch(ctx context.Context, l *job.Launch) (*job.LaunchResult, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	s.got = l
	return s.result, nil
}

func (s *server) Fetch(ctx context.Context, f *job.Fetch, each func(int, []byte) error) error {
	for _, p := range f.MapParts {
		if p == 99 {
			return &job.TaskError{Fault: job.FetchFault, MapParts: []int{99}}
		}
		if err := each(p, s.block); err != nil {
			return err
		}
	}
	return s.wait(ctx)
}

func (s *server) Put(ctx context.Context, b job.BlockData) error {
	s.block = b.Data
	return s.wait(ctx)
}

func (s *server) States(context.Context, id.App) ([]job.Held, error) { return nil, nil }

func (s *server) Get(ctx context.Context, b id.Block) (job.BlockData, error) {
	if s.block == nil {
		return job.BlockData{}, job.ErrNoBlock
	}
	return job.BlockData{ID: b, Data: s.block}, s.wait(ctx)
}

var peer = job.Peer{Name: "a", Addr: "a"}

func pieces() []job.Piece { return []job.Piece{{Block: job.Block{Stores: []id.Store{"x"}}}} }

func launch() *job.Launch {
	return &job.Launch{
		Parts: []int{1, 2}, Inputs: []job.Input{
			{Blocks: []job.Block{{Stores: []id.Store{"x"}}}},
			{Parts: []connector.Part{{Data: []byte("p"), Ranges: []connector.Range{{Last: 1}}}}},
		},
		MapOutputs: []job.MapOutput{{Holders: []id.Session{1}}},
		States:     []job.StateBase{{Chain: pieces()}},
		Checkpoint: &job.CheckpointOrder{Numbers: []uint64{1}},
		Collect:    &job.CollectOrder{Limit: 3},
	}
}

func TestNothingMutableIsShared(t *testing.T) {
	s := &server{
		result: &job.LaunchResult{Tasks: []job.TaskResult{{Receipt: []byte("r"), Rows: []byte("w"), Pieces: pieces(), Err: &job.TaskError{MapParts: []int{1}}}}},
		block:  []byte("block"),
	}
	n := local.NewNetwork()
	defer n.Close()
	n.Add("a", s)
	l := launch()
	res, err := n.Launch(t.Context(), peer, l)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s.got, launch()) || !reflect.DeepEqual(res, s.result) {
		t.Errorf("%+v came, %+v was answered", s.got, res)
	}
	l.Parts[0], l.Inputs[0].Blocks[0].Stores[0], l.MapOutputs[0].Holders[0] = 9, "9", 9
	l.Inputs[1].Parts[0].Data[0], l.Inputs[1].Parts[0].Ranges[0].Last = '9', 9
	l.States[0].Chain[0].Block.Stores[0], l.Checkpoint.Numbers[0] = "9", 9
	l.Collect.Limit, s.result.Tasks[0].Rows[0] = 9, '9'
	s.result.Tasks[0].Receipt[0], s.result.Tasks[0].Err.MapParts[0], s.result.Tasks[0].Pieces[0].Block.Stores[0] = '9', 9, "9"
	if !reflect.DeepEqual(s.got, launch()) || !reflect.DeepEqual(res.Tasks[0].Pieces, pieces()) || string(res.Tasks[0].Receipt)+string(res.Tasks[0].Rows) != "rw" || res.Tasks[0].Err.MapParts[0] != 1 {
		t.Error("caller and server see each other's changes")
	}
	var buckets [][]byte
	if err := n.Fetch(t.Context(), peer, &job.Fetch{MapParts: []int{1, 2}}, func(_ int, b []byte) error {
		buckets = append(buckets, b)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	d, err := n.Get(t.Context(), peer, id.Block{})
	if err != nil {
		t.Fatal(err)
	}
	s.block[0] = '9'
	if string(buckets[1]) != "block" || string(d.Data) != "block" {
		t.Error("bytes are shared")
	}
	mine := []byte("mine")
	if err := n.Put(t.Context(), peer, job.BlockData{Data: mine}); err != nil {
		t.Fatal(err)
	}
	mine[0] = '9'
	if string(s.block) != "mine" {
		t.Error("a block that was put is shared")
	}
}

func TestRemovedExecutorIsADeadProcess(t *testing.T) {
	calls := map[string]func(context.Context, *local.Network) error{
		"launch": func(ctx context.Context, n *local.Network) error { _, err := n.Launch(ctx, peer, launch()); return err },
		"put": func(ctx context.Context, n *local.Network) error {
			return n.Put(ctx, peer, job.BlockData{Data: []byte("x")})
		},
		"get": func(ctx context.Context, n *local.Network) error { _, err := n.Get(ctx, peer, id.Block{}); return err },
		"fetch": func(ctx context.Context, n *local.Network) error {
			return n.Fetch(ctx, peer, &job.Fetch{MapParts: []int{1}}, func(int, []byte) error { return nil })
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			n := local.NewNetwork()
			defer n.Close()
			if err := call(t.Context(), n); !errors.Is(err, job.ErrPeerDead) {
				t.Errorf("call of nobody: %v, expected ErrPeerDead", err)
			}
			s := &server{hang: make(chan struct{}), block: []byte("b")}
			n.Add("a", s)
			done := make(chan error, 1)
			go func() { done <- call(context.Background(), n) }()
			<-s.hang
			n.Remove("a")
			if err := <-done; !errors.Is(err, job.ErrPeerDead) {
				t.Errorf("call in flight: %v, expected ErrPeerDead", err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			n.Add("a", s)
			go func() { done <- call(ctx, n) }()
			<-s.hang
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("call that was given up: %v", err)
			}
		})
	}
}

func TestAnswersOfFetch(t *testing.T) {
	n := local.NewNetwork()
	defer n.Close()
	n.Add("a", &server{block: []byte("b")})
	var parts []int
	each := func(p int, _ []byte) error {
		parts = append(parts, p)
		return nil
	}
	err := n.Fetch(t.Context(), peer, &job.Fetch{MapParts: []int{3, 1, 2, 99}}, each)
	if te, ok := errors.AsType[*job.TaskError](err); !ok || te.Fault != job.FetchFault || !slices.Equal(parts, []int{3, 1, 2}) {
		t.Errorf("%v after %v", err, parts)
	}
	enough := errors.New("enough")
	if err := n.Fetch(t.Context(), peer, &job.Fetch{MapParts: []int{3, 1}}, func(int, []byte) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("error is %v, expected that of each", err)
	}
}
