package programs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
	"github.com/raftstream/raftstream/internal/dataset"
)

func TestMain(m *testing.M) {
	Register()
	goleak.VerifyTestMain(m)
}

func TestProgramsBuildFromTheirParameters(t *testing.T) {
	tests := []struct {
		program, params string
		outputs, states int
		wrong           string
	}{
		{"totals", `{"out":"/o","checkpoint":"1500ms"}`, 1, 1, ""},
		{"windows", `{"out":"/o"}`, 4, 3, ""},
		{"cursor", `{"dir":"/d","out":"/o","partitions":3,"rate":100}`, 1, 0, ""},
		{"cursor", `{"dir":"/d","out":"/o","partitions":3,"rate":0}`, 0, 0, "partitions and rate: 3 and 0"},
		{"journal", `{"dir":"/d"}`, 2, 0, ""},
		{"slow", `{"out":"/o","per_second":100}`, 1, 0, ""},
		{"slow", `{"out":"/o","per_second":0}`, 0, 0, "per_second: 0"},
		{"brittle", `{"out":"/o","trap":"/t"}`, 1, 0, ""},
		{"brittle", `{"out":"/o"}`, 0, 0, `"trap" is missing`},
	}
	for _, tt := range tests {
		app, err := dstream.Builder().Build(dataset.Spec{Name: tt.program, Params: []byte(tt.params), BatchMS: 500, Partitions: 2})
		if tt.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%s %s: %v, expected %q", tt.program, tt.params, err, tt.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.program, err)
			continue
		}
		if p := app.Plan(); len(p.Outputs) != tt.outputs || len(p.States) != tt.states || len(p.Inputs) != 1 {
			t.Errorf("%s: %d inputs, %d outputs, %d streams with state", tt.program, len(p.Inputs), len(p.Outputs), len(p.States))
		}
	}
}

func TestACommitThatComesLateChangesNothing(t *testing.T) {
	j := Journal{Dir: t.TempDir()}
	write := func(at int64, attempt int, lines ...string) []byte {
		p := connector.Partition{Output: "to-0", Time: time.UnixMilli(at).UTC(), Count: 1, Attempt: attempt}
		receipt, err := j.Write(t.Context(), p, slices.Values(lines))
		if err != nil {
			t.Fatal(err)
		}
		return receipt
	}
	commit := func(at int64, receipt []byte) {
		if err := j.Commit(t.Context(), connector.Batch{Output: "to-0", Time: time.UnixMilli(at).UTC()}, [][]byte{receipt}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(j.Dir, JournalCommits, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	old := write(1000, 1, "a", "b")
	commit(1000, write(1000, 2, "a", "b"))
	first := read("1000")
	commit(1000, old)
	if read("1000") != first || !strings.Contains(first, `"records":2`) || !strings.Contains(first, `"attempt":2`) {
		t.Errorf("the commit was %s, and is %s", first, read("1000"))
	}
	commit(3000, write(3000, 1))
	commit(2000, write(2000, 1))
	if !strings.Contains(read("2000"), `"later":3000`) || strings.Contains(read("3000"), "later") {
		t.Errorf("commits out of order: %s then %s", read("3000"), read("2000"))
	}
	if late, err := os.ReadDir(filepath.Join(j.Dir, JournalLate)); err != nil || len(late) != 1 {
		t.Errorf("late commits %v, %v, expected one", late, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Write(ended, connector.Partition{Output: "to-0", Time: time.UnixMilli(1000)}, slices.Values([]string{"a"})); !errors.Is(err, context.Canceled) {
		t.Errorf("a write whose attempt has ended: %v", err)
	}
}

// inlet is an engine that stores in memory. Receipts are done at once, or fail from a number of portions on.
type inlet struct {
	mu     sync.Mutex
	stored map[string]uint64
	fails  int
	calls  int
}

type fate struct {
	done chan struct{}
	err  error
}

func (f fate) Done() <-chan struct{}           { return f.done }
func (f fate) Result() (index uint64, _ error) { return 1, f.err }

func (i *inlet) Store(context.Context, ...string) error { return errors.New("not expected") }
func (i *inlet) Pushes() <-chan connector.Push          { return nil }

func (i *inlet) Position(partition string) uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stored[partition]
}

func (i *inlet) StoreAt(_ context.Context, r connector.Range, records ...string) (connector.Receipt, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if r.First != i.stored[r.Partition]+1 || len(records) != int(r.Last-r.First+1) || records[0] != fmt.Sprintf("%s-%d", r.Partition, r.First) {
		return nil, fmt.Errorf("range %+v with %q", r, records)
	}
	f := fate{done: make(chan struct{})}
	close(f.done)
	i.calls++
	if i.fails > 0 && i.calls >= i.fails {
		f.err = errors.New("not stored")
		return f, nil
	}
	i.stored[r.Partition] = r.Last
	return f, nil
}

func TestACursorFollowsWhatIsStored(t *testing.T) {
	tests := []struct {
		name      string
		cursor    string // before
		stored    uint64
		fails     int
		want      string // cursor after
		wrong     string // error
		violation bool
	}{
		{"from the beginning", "", 0, 0, "100", "", false},
		{"after a receiver that died before it moved its cursor", "20", 40, 0, "140", "", false},
		{"no further than the first that was not stored", "", 0, 5, "40", "not stored", false},
		{"a cursor beyond what is stored", "50", 40, 0, "50", "at 50, and the engine has it up to 40", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "cursor-s0")
			if tt.cursor != "" {
				if err := os.WriteFile(path, []byte(tt.cursor), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 520*time.Millisecond)
				defer cancel()
				in := &inlet{stored: map[string]uint64{"s0": tt.stored}, fails: tt.fails}
				err = (&cursorReceiver{cursorParams{Dir: dir, Partitions: 1, Rate: 200}}).Run(ctx, in)
			})
			if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("it ends with %v, expected %q", err, tt.wrong)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != tt.want {
				t.Errorf("the cursor is %q, %v, expected %s", b, err, tt.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "violation-s0")); (err == nil) != tt.violation {
				t.Errorf("note of a violation: %v", err)
			}
		})
	}
}

func TestTheSlowProgramGivesEverythingOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in []string
		for i := range 100 {
			in = append(in, fmt.Sprint(i))
		}
		began := time.Now()
		out := slices.Collect(slowParams{PerSecond: 50}.pace(slices.Values(in)))
		if !slices.Equal(out, in) || time.Since(began) != 2*time.Second {
			t.Errorf("%d of %d records after %v, expected 2 s", len(out), len(in), time.Since(began))
		}
		for range (slowParams{PerSecond: 50}).pace(slices.Values(in)) {
			break // it stops when nobody wants more
		}
	})
}

func TestTheBrittleProgramFailsOverItsTrapWhenItHasGivenEverythingOn(t *testing.T) {
	trap := filepath.Join(t.TempDir(), "trap")
	p := brittleParams{Trap: trap}
	cross := func(in ...string) (out []string, tripped any) {
		defer func() { tripped = recover() }()
		for line := range p.cross(slices.Values(in)) {
			out = append(out, line)
		}
		return out, nil
	}
	if out, tripped := cross("a", "b"); len(out) != 2 || tripped != nil {
		t.Errorf("without a trap: %q, %v", out, tripped)
	}
	if err := os.WriteFile(trap, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, tripped := cross("a", "b"); len(out) != 2 || tripped != Tripped {
		t.Errorf("with a trap: %q, %v", out, tripped)
	}
	if out, tripped := cross(); len(out) != 0 || tripped != nil {
		t.Errorf("with a trap and no records: %q, %v", out, tripped)
	}
	for range p.cross(slices.Values([]string{"a", "b"})) {
		break // it stops when nobody wants more
	}
}

func TestTotalsAddUp(t *testing.T) {
	got := streamtest.Run(t, [][]string{{"a b a"}, {}, {"b"}}, func(lines *dstream.DStream[string]) *dstream.DStream[string] {
		return dstream.Map(counted(lines), count.String)
	})
	want := [][]string{{"(a,2)", "(b,1)"}, {"(a,2)", "(b,1)"}, {"(a,2)", "(b,2)"}}
	for i := range want {
		if slices.Sort(got[i]); !slices.Equal(got[i], want[i]) {
			t.Errorf("batch %d: %v, expected %v", i+1, got[i], want[i])
		}
	}
}
