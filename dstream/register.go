package dstream

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Registry holds programs by name. It is what a process can build (dataset.Builder). Its methods may be called
// concurrently.
type Registry struct {
	mu       sync.Mutex
	programs map[string]program
}

// program is a registered build function.
type program struct {
	params *params
	build  func(c *Context, p reflect.Value) error
}

// NewRegistry makes an empty registry, for tests and tools that build graphs apart from the process's own.
func NewRegistry() *Registry { return &Registry{programs: map[string]program{}} }

// registered is the one registry of the process, filled by Register.
var registered = NewRegistry()

// Builder is the registry that Register fills.
func Builder() *Registry { return registered }

// Register makes a program known under a name; call it from init or main, before the node starts. P is a struct whose
// exported fields are the parameters, named as encoding/json names them; a field that is no pointer and has neither
// omitempty nor omitzero must be given. A time.Duration is given as "1m30s". build must be a pure
// function of its parameters: every process that works for the application calls it.
//
// It panics on a name that is not letters, digits, '-', '_' or '.', or is taken, and on a P that cannot hold
// parameters: these are errors of the program.
func Register[P any](name string, build func(*Context, P) error) { RegisterIn(registered, name, build) }

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// RegisterIn is Register for another registry.
func RegisterIn[P any](r *Registry, name string, build func(*Context, P) error) {
	if !validName.MatchString(name) {
		panic(fmt.Sprintf("dstream: program name %q, expected 1 to 64 letters, digits, '.', '_' or '-'", name))
	}
	if build == nil {
		panic(fmt.Sprintf("dstream: program %q has no build function", name))
	}
	ps, err := paramsOf(reflect.TypeFor[P]())
	if err != nil {
		panic(fmt.Sprintf("dstream: program %q: %v", name, err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.programs[name]; ok {
		panic(fmt.Sprintf("dstream: program %q is registered twice", name))
	}
	r.programs[name] = program{params: ps, build: func(c *Context, p reflect.Value) error {
		return build(c, p.Interface().(P))
	}}
}

var _ dataset.Builder = (*Registry)(nil)

// Names lists the programs in order.
func (r *Registry) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.programs))
	for n := range r.programs {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (r *Registry) program(name string) (program, error) {
	r.mu.Lock()
	p, ok := r.programs[name]
	r.mu.Unlock()
	if !ok {
		return program{}, fmt.Errorf("unknown program %q, this binary has: %s", name, strings.Join(r.Names(), ", "))
	}
	return p, nil
}

// Params makes the JSON object of parameters given as text. Parameters that are missing are found by Build.
func (r *Registry) Params(name string, values map[string]string) ([]byte, error) {
	p, err := r.program(name)
	if err != nil {
		return nil, err
	}
	b, err := p.params.fromText(values)
	if err != nil {
		return nil, fmt.Errorf("program %q: %w", name, err)
	}
	return b, nil
}

// Build builds the graph of a spec. Print writes to the process's standard output.
func (r *Registry) Build(s dataset.Spec) (dataset.App, error) { return r.build(s, os.Stdout) }

// PrintTo gives the registry as a builder of graphs whose Print writes to w, one call of Write per batch.
func (r *Registry) PrintTo(w io.Writer) dataset.Builder { return printing{r, w} }

type printing struct {
	*Registry
	w io.Writer
}

func (p printing) Build(s dataset.Spec) (dataset.App, error) { return p.build(s, p.w) }

func (r *Registry) build(s dataset.Spec, out io.Writer) (dataset.App, error) {
	p, err := r.program(s.Name)
	if err != nil {
		return nil, err
	}
	if s.BatchMS < 1 {
		return nil, fmt.Errorf("program %q: batch interval of %d ms, expected at least 1", s.Name, s.BatchMS)
	}
	if s.Partitions < 1 || s.Partitions > rdd.MaxPartitions {
		return nil, fmt.Errorf("program %q: %d partitions, expected 1 to %d", s.Name, s.Partitions, rdd.MaxPartitions)
	}
	values, err := p.params.fromJSON(s.Params)
	if err != nil {
		return nil, fmt.Errorf("program %q: %w", s.Name, err)
	}
	c := &Context{spec: s, out: out, receivers: map[id.Stream]dataset.Receiver{}}
	if err := p.run(c, values); err != nil {
		return nil, fmt.Errorf("program %q: %w", s.Name, err)
	}
	if err := c.err(); err != nil {
		return nil, fmt.Errorf("program %q: %w", s.Name, err)
	}
	c.seal()
	return graph{c}, nil
}

// run calls the build function; what it panics with is its error.
func (p program) run(c *Context, values reflect.Value) (err error) {
	defer func() {
		if v := recover(); v != nil {
			at, through := panicked()
			if e, is := v.(runtime.Error); is && through && strings.Contains(e.Error(), "nil pointer") {
				v = fmt.Sprintf("%v: an operator was given a nil stream, connector or context", v)
			}
			err = fmt.Errorf("the build function panicked at %s: %v", at, v)
		}
	}()
	if err := p.build(c, values); err != nil {
		return fmt.Errorf("the build function failed: %w", err)
	}
	return nil
}

// panicked finds where a panic that was recovered by the caller came from: the first frame that is neither the
// runtime's nor this package's; through says that there are frames of this package above it.
func panicked() (at string, through bool) {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		own := slices.ContainsFunc(ours, func(p string) bool { return strings.HasPrefix(f.Function, p) })
		if !own && !strings.HasPrefix(f.Function, "runtime.") {
			return position(f), through
		}
		through = through || own
		if !more {
			return "unknown place", through
		}
	}
}
