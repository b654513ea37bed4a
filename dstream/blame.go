package dstream

import (
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// blame knows which function of the user belongs to which operator, by the function's name.
type blame struct {
	operators map[string][]string
}

// add remembers the function of an operator.
func (b *blame) add(op string, f any) {
	b.name(op, outermost(reflect.ValueOf(f).Pointer()))
}

// method remembers a method of v that the engine calls.
func (b *blame) method(op string, v any, name string) {
	if m, ok := reflect.TypeOf(v).MethodByName(name); ok {
		b.name(op, outermost(m.Func.Pointer()))
	}
}

func (b *blame) name(op, function string) {
	function = strings.TrimSuffix(function, "-fm") // a method value is a wrapper of the method
	if function == "" {
		return
	}
	if b.operators == nil {
		b.operators = map[string][]string{}
	}
	if !slices.Contains(b.operators[function], op) {
		b.operators[function] = append(b.operators[function], op)
	}
}

// outermost names the function that starts at pc; what the compiler inlined at its start does not count.
func outermost(pc uintptr) string {
	name := ""
	frames := runtime.CallersFrames([]uintptr{pc + 1}) // frames look before a return address
	for {
		f, more := frames.Next()
		name = f.Function
		if !more {
			return name
		}
	}
}

// find looks for the innermost frame that is in a user's function or in a closure made there.
func (b *blame) find(pcs []uintptr) (operator, at string) {
	if len(pcs) == 0 {
		return "", ""
	}
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		if ops := b.of(f.Function); ops != nil {
			return strings.Join(ops, " or "), position(f)
		}
		if !more {
			return "", ""
		}
	}
}

// of gives the operators of a function, or of the function that its closures and loop bodies are named after:
// f.func1, f.1, f-range1.
func (b *blame) of(function string) []string {
	for name := function; name != ""; {
		if ops := b.operators[name]; ops != nil {
			return ops
		}
		cut := strings.LastIndexAny(name, ".-")
		if cut < strings.LastIndexByte(name, '/') {
			return nil
		}
		name = name[:max(cut, 0)]
	}
	return nil
}

// ours are the packages whose frames are not the user's: the language itself, and the connectors written in it.
var ours = []string{
	"github.com/raftstream/raftstream/dstream.",
	"github.com/raftstream/raftstream/dstream/rdd.",
	"github.com/raftstream/raftstream/connector/",
}

// caller gives the file:line that called into this package.
func caller() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		own := slices.ContainsFunc(ours, func(p string) bool { return strings.HasPrefix(f.Function, p) })
		if !own || strings.HasSuffix(f.File, "_test.go") {
			return position(f)
		}
		if !more {
			return "unknown place"
		}
	}
}

// position is the frame's place: the file with its directory, which says enough and is the same on every machine.
func position(f runtime.Frame) string {
	file := f.File
	if i := strings.LastIndexByte(file, '/'); i >= 0 {
		if j := strings.LastIndexByte(file[:i], '/'); j >= 0 {
			file = file[j+1:]
		}
	}
	return file + ":" + strconv.Itoa(f.Line)
}
