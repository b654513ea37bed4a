package corruption

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos/disk"
)

var cases = flag.Int("cases", 30, "cases of each kind of file and of damage")

// hangs is how long a case may take before it counts as one that hangs.
const hangs = 60 * time.Second

// kind is something that a node keeps on disk.
type kind struct {
	name string
	// build makes a whole one in dir, with hundreds of entries, and beside it what is needed to know it again.
	build func(t *testing.T, dir string)
	// files are those of dir that can be damaged, with their weights.
	files func(dir string) (map[string]int, error)
	// read opens and reads all. nil: it is what was written; *refusal: it is refused; everything else is wrong.
	read func(dir string, c caseOf, d disk.Damage) error
}

// before is where a file is kept as it was before its last write, which a torn write tears: beside its directory.
func before(path string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(path)), filepath.Base(path)+".before")
}

var kinds = []kind{
	{"raft.db", buildLog, fileNamed("raft/raft.db"), readRaft},
	{"snapshot", buildSnapshot, newestSnapshot, readRaft},
	{"wal", buildWAL, segments, readWAL},
	{"checkpoint in a bucket", buildBucket, pieceObjects, readBucket},
	{"checkpoint on a disk", buildStore, segments, readStore},
}

// damages are drawn from the seed of a case.
var damages = []struct {
	name string
	do   func(path string, r *rand.Rand) (disk.Damage, error)
}{
	{"bit flips", func(path string, r *rand.Rand) (disk.Damage, error) {
		n := 1
		if r.IntN(4) == 0 {
			n = 2 + r.IntN(7)
		}
		return disk.FlipBits(path, n, r.Uint64())
	}},
	{"truncation", func(path string, r *rand.Rand) (disk.Damage, error) {
		info, err := os.Stat(path)
		if err != nil {
			return disk.Damage{}, err
		}
		most := max(info.Size()>>r.IntN(16), 1) // short tails as often as long ones
		return disk.TruncateTail(path, 1+r.Int64N(most))
	}},
	{"torn write", func(path string, r *rand.Rand) (disk.Damage, error) {
		was, err := os.ReadFile(before(path))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return disk.Damage{}, err
		}
		return disk.TearWrite(path, was, r.Uint64())
	}},
}

// refusal is the answer to damage that is wanted.
type refusal struct{ err error }

// Error is that of the code under test.
func (r *refusal) Error() string { return r.err.Error() }

// refused takes an error for a refusal if it names what is damaged by one of the names.
func refused(err error, names ...string) error {
	for _, n := range names {
		if strings.Contains(err.Error(), n) {
			return &refusal{err}
		}
	}
	return fmt.Errorf("the error names none of %q: %w", names, err)
}

// caseOf is one case.
type caseOf struct {
	Damage string
	Seed   uint64
}

// outcome is what a child says of a case.
type outcome struct {
	Seed    uint64
	Result  string // refused, harmless or wrong
	Detail  string
	Damaged string
}

const (
	isRefused  = "refused"
	isHarmless = "harmless"
	isWrong    = "wrong"
)

// child makes the test binary run cases and print their outcomes: kind, damage, first seed, number, directory.
const child = "CORRUPTION_CASES"

func TestMain(m *testing.M) {
	if text := os.Getenv(child); text != "" {
		var o order
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		o.run()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// order is what a child is told.
type order struct {
	Kind, Damage int
	From, To     uint64 // seeds, To not included
	Dir          string // whole/ is what was built; cases are beside it
}

func (o order) run() {
	for seed := o.From; seed < o.To; seed++ {
		o.report(o.one(seed))
	}
}

func (o order) report(out outcome) {
	b, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(b))
}

// one runs a case in a directory of its own, which stays if the outcome is wrong.
func (o order) one(seed uint64) outcome {
	out := outcome{Seed: seed, Result: isWrong}
	dir := filepath.Join(o.Dir, fmt.Sprintf("%d-%d-%d", o.Kind, o.Damage, seed))
	r := rand.New(rand.NewPCG(seed, uint64(o.Damage)))
	d, err := o.damage(dir, r)
	out.Damaged = d.String()
	if err != nil {
		out.Detail = "not damaged: " + err.Error()
		return out
	}
	fatal = func(err error) { // as the process would end
		out.Result, out.Detail = isRefused, err.Error()
		o.report(out)
		os.Exit(endedItself)
	}
	err = kinds[o.Kind].read(dir, caseOf{damages[o.Damage].name, seed}, d)
	no := (*refusal)(nil)
	switch {
	case err == nil:
		out.Result = isHarmless
	case errors.As(err, &no):
		out.Result, out.Detail = isRefused, err.Error()
	default:
		out.Detail = err.Error()
		return out
	}
	if err := os.RemoveAll(dir); err != nil {
		out.Result, out.Detail = isWrong, err.Error()
	}
	return out
}

// fatal is what nodes of a case call when they must end.
var fatal func(error)

// endedItself is the exit status of a child whose node told it to end.
const endedItself = 9

func (o order) damage(dir string, r *rand.Rand) (disk.Damage, error) {
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(o.Dir, "whole"))); err != nil {
		return disk.Damage{}, err
	}
	files, err := kinds[o.Kind].files(dir)
	if err != nil {
		return disk.Damage{}, err
	}
	d, err := damages[o.Damage].do(draw(files, damages[o.Damage].name, r), r)
	if err == nil && d.N == 0 {
		err = errors.New("nothing was changed")
	}
	return d, err
}

// Rule 12: damage at rest is refused, by name, or changes nothing that is read.
func TestDamageAtRestIsRefusedOrHarmless(t *testing.T) {
	var mu sync.Mutex
	table := map[string]string{}
	began := time.Now()
	t.Run("all", func(t *testing.T) {
		for k := range kinds {
			dir := t.TempDir()
			whole := filepath.Join(dir, "whole")
			kinds[k].build(t, whole)
			for d := range damages {
				t.Run(kinds[k].name+"/"+damages[d].name, func(t *testing.T) {
					t.Parallel()
					row := runCases(t, order{Kind: k, Damage: d, To: uint64(*cases), Dir: dir})
					mu.Lock()
					defer mu.Unlock()
					table[fmt.Sprint(k, d)] = row
				})
			}
		}
	})
	t.Logf("%d cases each, %v in all", *cases, time.Since(began).Round(time.Second))
	t.Log("kind | damage | refused | harmless | wrong | seconds")
	for k := range kinds {
		for d := range damages {
			t.Logf("%s | %s | %s", kinds[k].name, damages[d].name, table[fmt.Sprint(k, d)])
		}
	}
}

// runCases has children run the cases and gives their numbers. A child that crashes or hangs is one case that is wrong.
func runCases(t *testing.T, o order) string {
	t.Helper()
	began := time.Now()
	count := map[string]int{}
	for o.From < o.To {
		before := o.From
		err := runChild(t, &o, func(out outcome) {
			if count[out.Result]++; out.Result == isWrong {
				t.Errorf("case %d, %s: %s", out.Seed, out.Damaged, out.Detail)
			}
		})
		if err != nil {
			t.Errorf("case %d ended the process: %v", o.From, err)
			count[isWrong]++
			o.From++
		} else if o.From == before {
			t.Fatalf("a child did nothing from case %d on", before)
		}
	}
	if count[isRefused]+count[isHarmless]+count[isWrong] != *cases {
		t.Errorf("outcomes of %v cases, expected %d", count, *cases)
	}
	return fmt.Sprintf("%d | %d | %d | %.0f", count[isRefused], count[isHarmless], count[isWrong], time.Since(began).Seconds())
}

// runChild runs cases from o.From on, which it moves on with every outcome. An error says that the case at o.From ended the
// process, or hung.
func runChild(t *testing.T, o *order, each func(outcome)) error {
	t.Helper()
	told, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), child+"="+string(told))
	var said strings.Builder
	c.Stderr = &said
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(hangs, func() { _ = c.Process.Kill() })
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var got outcome
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil || got.Seed != o.From {
			_ = c.Process.Kill()
			break
		}
		late.Reset(hangs)
		each(got)
		o.From++
	}
	err = c.Wait()
	if !late.Stop() {
		return fmt.Errorf("it took longer than %v", hangs)
	}
	if err != nil && c.ProcessState.ExitCode() != endedItself {
		return fmt.Errorf("%w\n%s", err, clip(said.String()))
	}
	return nil
}

func clip(text string) string {
	const most = 3000
	return text[:min(len(text), most)]
}

// draw chooses a file by weight. Torn is what was written last.
func draw(files map[string]int, damage string, r *rand.Rand) string {
	sum, names := 0, sorted(files)
	for _, name := range names {
		if _, err := os.Stat(before(name)); err == nil && damage == "torn write" {
			return name
		}
		sum += files[name]
	}
	n := r.IntN(sum)
	for _, name := range names {
		if n -= files[name]; n < 0 {
			return name
		}
	}
	panic("no file has a weight")
}

func fileNamed(name string) func(string) (map[string]int, error) {
	return func(dir string) (map[string]int, error) { return map[string]int{filepath.Join(dir, name): 1}, nil }
}

// matching gives the files of a pattern, with their sizes as weights.
func matching(dir, pattern string) (map[string]int, error) {
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return nil, err
	}
	files := map[string]int{}
	for _, path := range found {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			files[path] = int(info.Size())
		}
	}
	if len(files) == 0 {
		return nil, errors.New("there is no " + strconv.Quote(pattern) + " in " + dir)
	}
	return files, nil
}
