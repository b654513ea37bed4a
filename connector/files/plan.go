package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raftstream/raftstream/connector"
)

const (
	// forgetAfter is how long a file must be gone before its name may be forgotten: a directory that is listed wrongly
	// for a moment must not have its files taken twice.
	forgetAfter = time.Minute
	// keptNames is how many positions may be kept before names are forgotten at all.
	keptNames = MaxFiles / 2
	// checkedFiles is how many of the files that were taken are looked at again in one plan, in turn.
	checkedFiles = 256

	// forgetBytes bounds what the forgotten names of a plan take of connector.MaxPlanBytes.
	forgetBytes = connector.MaxPlanBytes / 8
)

// planner makes plans. What it remembers between two of them is about the files that the directory holds, at most
// MaxFiles, and the names that it does not hold any more, at most as many.
type planner struct {
	now   time.Time
	files map[string]*file
	gone  map[string]time.Time // names with a position whose file is not there, since when
	next  string               // the first of the taken files to look at again
	fresh string               // the first of the other files to look at
}

// Plan takes complete files, in the order of modification time and name, as many as fit. Each is read once, to count
// its lines and for its checksums. The error is about the directory; what is wrong with single files is the plan's
// warning, and does not keep others waiting.
func (s *Source) Plan(ctx context.Context, r connector.PlanRequest) (connector.Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, warnings, err := list(ctx, s.dir)
	if err != nil {
		return connector.Plan{}, err
	}
	p := &s.planner
	p.now = time.Now()
	if p.files == nil {
		p.files, p.gone = map[string]*file{}, map[string]time.Time{}
	}
	slices.Sort(names)
	names = slices.Compact(names) // a directory that changes may be listed with a name twice
	fresh, taken := p.sort(names, r.Position)
	p.lookAgain(s.dir, taken, r.Position)
	waiting, all := p.lookAt(s.dir, fresh, timer(ctx, r.Interval))
	kept, plan := p.forget(names, r)
	t := taking{planner: p, dir: s.dir, settle: s.settle, request: r, plan: plan, kept: kept, files: map[*file]struct{}{}}
	if err := t.take(ctx, waiting, timer(ctx, r.Interval)); err != nil {
		return connector.Plan{}, err
	}
	if all {
		t.plan.Mark = mark(waiting, t.files)
	}
	slices.Sort(warnings)
	t.plan.Warning = warning(append(warnings, p.wrongs()...))
	return t.plan, nil
}

// timer gives what tells whether a step of planning has taken long enough: a third of the time that is left for the plan,
// and of a batch interval, so that batches do not wait for large files. Each step has time of its own: one that is slow
// must not keep the next from getting anywhere.
func timer(ctx context.Context, interval time.Duration) (over func() bool) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return func() bool { return false }
	}
	now := time.Now()
	end := now.Add(min(deadline.Sub(now), interval) / 3)
	return func() bool { return !time.Now().Before(end) }
}

// sort tells the names of files that were taken from those that were not, and drops what is remembered of others.
func (p *planner) sort(names []string, position func(string) uint64) (fresh, taken []string) {
	here := make(map[string]struct{}, len(names))
	for _, n := range names {
		here[n] = struct{}{}
		if position(n) > 0 {
			taken = append(taken, n)
		} else {
			fresh = append(fresh, n)
		}
	}
	for n := range p.files {
		if _, ok := here[n]; !ok {
			delete(p.files, n)
		}
	}
	return fresh, taken
}

// lookAt looks at the files that were not taken, and gives those that hold something, in the order of taking. Where the
// time is over before all are looked at, the others have their turn in the next plan.
func (p *planner) lookAt(dir string, fresh []string, over func() bool) (waiting []*file, all bool) {
	from, _ := slices.BinarySearch(fresh, p.fresh)
	p.fresh, all = "", true
	for i := range fresh {
		n := fresh[(from+i)%len(fresh)]
		if i > 0 && over() {
			p.fresh, all = n, false
			break
		}
		info, err := os.Stat(filepath.Join(dir, n))
		if errors.Is(err, fs.ErrNotExist) {
			delete(p.files, n)
			continue // it has gone since it was listed
		}
		f := p.file(n)
		if !f.refused {
			f.wrong = ""
		}
		if err != nil {
			f.wrong = fmt.Sprintf("file %q is not taken: %v", n, err)
			waiting = append(waiting, f)
			continue
		}
		if !info.Mode().IsRegular() {
			delete(p.files, n) // a link to something else
			continue
		}
		f.look(info, p.now)
		if f.size > 0 {
			waiting = append(waiting, f)
		}
	}
	slices.SortFunc(waiting, func(a, b *file) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	return waiting, all
}

func (p *planner) file(name string) *file {
	f := p.files[name]
	if f == nil {
		f = &file{name: name}
		p.files[name] = f
	}
	return f
}

// lookAgain looks at some of the files that were taken: what is added to one is not read, and that is to be seen.
func (p *planner) lookAgain(dir string, taken []string, position func(string) uint64) {
	from, _ := slices.BinarySearch(taken, p.next)
	n := min(len(taken), checkedFiles)
	for i := range n {
		name := taken[(from+i)%len(taken)]
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			continue // whoever must read it says so
		}
		f := p.file(name)
		f.scan = scan{} // it is not needed any more
		size := position(name)
		switch {
		case uint64(info.Size()) != size:
			f.wrong = fmt.Sprintf("file %q has %d bytes, but %d when it was taken: the change is not read; give new lines in a file of a new name", name, info.Size(), size)
		case !f.since.IsZero() && !f.mtime.Equal(info.ModTime()):
			f.wrong = fmt.Sprintf("file %q was modified at %s, after it was taken: a change is not read; give new lines in a file of a new name", name, stamp(info.ModTime()))
		default:
			f.wrong = ""
			f.look(info, p.now)
		}
	}
	p.next = ""
	if len(taken) > 0 {
		p.next = taken[(from+n)%len(taken)]
	}
}

// forget begins a plan with the names that need not be kept, and counts those that are kept after it. An empty directory
// forgets nothing: it may be one whose file system is not there.
func (p *planner) forget(names []string, r connector.PlanRequest) (kept int, plan connector.Plan) {
	gone := map[string]time.Time{}
	for name := range r.Positions {
		kept++
		if _, here := slices.BinarySearch(names, name); here {
			continue
		}
		gone[name] = p.now
		if since, ok := p.gone[name]; ok {
			gone[name] = since
		}
	}
	p.gone = gone
	if kept <= keptNames || len(names) == 0 {
		return kept, plan
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		if p.now.Sub(gone[name]) < forgetAfter {
			continue
		}
		if size += len(name) + around; size > forgetBytes {
			break
		}
		plan.Forget = append(plan.Forget, name)
	}
	return kept, plan
}

// wrongs lists what is wrong with the files that are there, by name.
func (p *planner) wrongs() []string {
	var all []string
	for _, f := range p.files {
		if f.wrong != "" {
			all = append(all, f.wrong)
		}
	}
	slices.Sort(all)
	return all
}

// warning joins what is wrong, as much of it as is shown.
func warning(all []string) string {
	const shown = 5
	if len(all) > shown {
		all = append(all[:shown:shown], fmt.Sprintf("and %d more", len(all)-shown))
	}
	text := strings.ToValidUTF8(strings.Join(all, "; "), "?")
	if len(text) > connector.MaxMark {
		text = strings.ToValidUTF8(text[:connector.MaxMark-3], "") + "..."
	}
	return text
}

// mark names the last of the planned files before which no file waits: those up to it may be removed when the batch is
// cleaned.
func mark(waiting []*file, planned map[*file]struct{}) string {
	text := ""
	for _, f := range waiting {
		if _, ok := planned[f]; !ok {
			break
		}
		text = f.mark()
	}
	return text
}
