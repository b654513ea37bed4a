package rpc

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// fill sets every field below v to a value that differs from its neighbours', so that a field that a conversion forgets
// or mixes up fails the test, now and when fields are added.
func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Uint8:
		v.SetUint(uint64(*n%3 + 1)) // enumerations have at least three values
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	default:
		t.Fatalf("cannot fill %v", v.Type())
	}
}

func filled[T any](t *testing.T) T {
	var v T
	var n int
	fill(t, reflect.ValueOf(&v).Elem(), &n)
	return v
}

// across sends m over the wire.
func across[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := m.ProtoReflect().New().Interface().(M)
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func same[T any](t *testing.T, there func(T) T) {
	t.Helper()
	for _, want := range []T{*new(T), filled[T](t)} {
		if diff := cmp.Diff(want, there(want)); diff != "" {
			t.Errorf("%T changed on its way (-sent +received):\n%s", want, diff)
		}
	}
}

func TestStructsCrossUnchanged(t *testing.T) {
	same(t, func(h job.Hello) job.Hello { return helloOf(across(t, helloToPB(h))) })
	same(t, func(w job.Welcome) job.Welcome { return welcomeOf(across(t, welcomeToPB(w))) })
	same(t, func(r job.Reply) job.Reply { return replyOf(across(t, replyToPB(r))) })
	same(t, func(l job.Launch) job.Launch { return *launchOf(across(t, launchToPB(&l))) })
	same(t, func(r job.LaunchResult) job.LaunchResult { return *resultOf(across(t, resultToPB(&r))) })
	same(t, func(e job.TaskError) job.TaskError { return *taskErrorOf(across(t, taskErrorToPB(&e))) })
	same(t, func(f job.Fetch) job.Fetch { return *fetchOf(across(t, fetchToPB(&f))) })
	same(t, func(h job.Held) job.Held { return heldOf(across(t, heldToPB(h))) })
	same(t, func(b job.BlockData) job.BlockData { return blockDataOf(across(t, blockDataToPB(b))) })
}

func request[T any](t *testing.T) {
	t.Helper()
	same(t, func(v T) T {
		m, err := requestToPB(any(&v).(job.ToDriver))
		if err != nil {
			t.Fatal(err)
		}
		back, err := requestOf(across(t, m))
		if err != nil {
			t.Fatal(err)
		}
		return *back.(any).(*T)
	})
}

func TestRequestsCrossUnchanged(t *testing.T) {
	request[job.BlocksReport](t)
	request[job.ReceiverStarted](t)
	request[job.ReceiverStopped](t)
	request[job.ReceiverFailed](t)
	request[job.Inventory](t)
	request[job.BatchReport](t)
	request[job.CheckpointReport](t)
	request[job.HistoryRequest](t)
	request[job.PositionsRequest](t)
	request[job.SourcesPlanned](t)
	request[job.BlocksCopied](t)
}

func order[T any](t *testing.T) {
	t.Helper()
	same(t, func(v T) T {
		m, err := orderToPB(any(&v).(job.ToExecutor))
		if err != nil {
			t.Fatal(err)
		}
		back, err := orderOf(across(t, m))
		if err != nil {
			t.Fatal(err)
		}
		return *back.(any).(*T)
	})
}

func TestOrdersCrossUnchanged(t *testing.T) {
	order[job.Peers](t)
	order[job.StartReceiver](t)
	order[job.StopReceiver](t)
	order[job.Batch](t)
	order[job.Progress](t)
	order[job.SetRate](t)
	order[job.PlanSources](t)
	order[job.CopyBlocks](t)
}

func TestUnknownMessagesAreErrors(t *testing.T) {
	if _, err := requestOf(&clusterpb.Request{}); !errors.Is(err, errUnknownMessage) {
		t.Errorf("empty request: %v", err)
	}
	if _, err := orderOf(&clusterpb.Order{}); !errors.Is(err, errUnknownMessage) {
		t.Errorf("empty order: %v", err)
	}
	if r := replyOf(&clusterpb.Reply{Outcome: 1 << 20}); r.Outcome != 0 {
		t.Errorf("outcome %d, expected none", r.Outcome)
	}
}

// A message that cannot be marshalled would be repeated for ever.
func TestTextsOfUserCodeCannotStopAMessage(t *testing.T) {
	r := &job.BatchReport{Error: "\xff\xfe" + strings.Repeat("x", 2*textMax)}
	m, err := requestToPB(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := requestOf(across(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if got := back.(*job.BatchReport).Error; len(got) > textMax+8 || !strings.HasPrefix(got, "\uFFFD") {
		t.Errorf("error is %d bytes, starts with %q", len(got), got[:8])
	}
}

func TestErrorsCrossAsTheirKinds(t *testing.T) {
	for _, want := range []error{
		job.ErrNoBlock, job.ErrFenced, job.ErrFull, job.ErrNotLeader, job.ErrRefused, ErrOtherStore, ErrOtherCluster,
	} {
		got := faultOf(faultToStatus(fmt.Errorf("operation: %w", want)))
		if !errors.Is(got, want) {
			t.Errorf("%v arrived as %v", want, got)
		}
	}
	var redirect *job.NotLeaderError
	if err := faultOf(faultToStatus(&job.NotLeaderError{Leader: "127.0.0.1:1"})); !errors.As(err, &redirect) || redirect.Leader != "127.0.0.1:1" {
		t.Errorf("leader hint arrived as %v", err)
	}
	want := filled[job.TaskError](t)
	var task *job.TaskError
	if err := faultOf(faultToStatus(fmt.Errorf("fetch: %w", &want))); !errors.As(err, &task) {
		t.Errorf("task error arrived as %v", err)
	} else if diff := cmp.Diff(want, *task); diff != "" {
		t.Error(diff)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &clusterpb.Up{}
		if proto.Unmarshal(b, m) != nil || m.GetRequest() == nil {
			return
		}
		if r, err := requestOf(m.GetRequest()); err == nil {
			if _, err := requestToPB(r); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzOrder(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &clusterpb.Down{}
		if proto.Unmarshal(b, m) != nil || m.GetOrder() == nil {
			return
		}
		if o, err := orderOf(m.GetOrder()); err == nil {
			if _, err := orderToPB(o); err != nil {
				t.Fatal(err)
			}
		}
	})
}
