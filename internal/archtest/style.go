package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// Limits of the house style, in lines.
const (
	maxFile      = 800 // no file
	usualFile    = 400 // nine of ten files
	maxFunc      = 100 // no function
	usualFunc    = 60  // but for longFuncRate of all functions
	longFuncRate = 0.02
)

// CheckSizes finds files and functions that are longer than the house style allows. Generated code is not looked at.
func CheckSizes(t *Tree) []string {
	var found, long []string
	var files []int
	functions := 0
	t.each(func(p *Package, f *File) {
		files = append(files, f.Lines)
		if f.Lines > maxFile {
			found = append(found, fmt.Sprintf("%s: %d lines, at most %d", f.Name, f.Lines, maxFile))
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			functions++
			lines := t.Fset.Position(fn.End()).Line - t.Fset.Position(fn.Pos()).Line + 1
			if lines > maxFunc {
				found = append(found, fmt.Sprintf("%s: %s has %d lines, at most %d", t.at(fn.Pos()), fn.Name.Name, lines, maxFunc))
			}
			if lines > usualFunc {
				long = append(long, fmt.Sprintf("%s %s (%d)", t.at(fn.Pos()), fn.Name.Name, lines))
			}
		}
	})
	if len(files) == 0 {
		return found
	}
	slices.Sort(files)
	if p90 := files[(len(files)-1)*9/10]; p90 > usualFile {
		found = append(found, fmt.Sprintf("one file of ten has more than %d lines, expected at most %d", p90, usualFile))
	}
	if float64(len(long)) > longFuncRate*float64(functions) {
		found = append(found, fmt.Sprintf("%d of %d functions have more than %d lines, expected at most %.0f %%: %s",
			len(long), functions, usualFunc, longFuncRate*100, strings.Join(long, ", ")))
	}
	return found
}

// CheckComments finds packages without a package comment, exported things without a comment and work left undone.
func CheckComments(t *Tree) []string {
	var found []string
	for _, p := range t.Packages {
		production := slices.DeleteFunc(slices.Clone(p.Files), func(f *File) bool { return f.Test })
		if len(production) > 0 && !slices.ContainsFunc(production, func(f *File) bool { return f.Generated || f.AST.Doc != nil }) {
			found = append(found, fmt.Sprintf("%s: package comment is missing: what it owns, promises and must not know", p.Dir))
		}
	}
	t.each(func(p *Package, f *File) {
		for _, group := range f.AST.Comments {
			for _, c := range group.List {
				if word := undone(c.Text); word != "" {
					found = append(found, fmt.Sprintf("%s: %s left in a comment: do it or open an issue", t.at(c.Pos()), word))
				}
			}
		}
		if f.Test || f.AST.Name.Name == "main" {
			return
		}
		for _, d := range f.AST.Decls {
			found = append(found, t.undocumented(d)...)
		}
	})
	return found
}

// undone finds a mark of unfinished work at the start of a comment.
func undone(comment string) string {
	for _, mark := range []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"} {
		if strings.HasPrefix(strings.TrimLeft(comment, "/* \t"), mark) {
			return mark
		}
	}
	return ""
}

func (t *Tree) undocumented(d ast.Decl) []string {
	var found []string
	missing := func(n ast.Node, name string) {
		found = append(found, fmt.Sprintf("%s: exported %s has no comment", t.at(n.Pos()), name))
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			missing(d, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					missing(s, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					missing(s, s.Names[0].Name)
				}
			}
		}
	}
	return found
}

// exportedReceiver reports whether a function is no method, or one of an exported type that is not known to everybody.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	switch d.Name.Name {
	case "String", "Error", "Unwrap", "Is", "Len", "Less", "Swap":
		return false // what they do is said by the interfaces that they implement
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// CheckSleeps finds time.Sleep: everything waits on conditions. Tests that run under testing/synctest may sleep, because
// the clock there moves only when everybody waits.
func CheckSleeps(t *Tree) []string {
	var found []string
	t.each(func(p *Package, f *File) {
		if f.Test && slices.Contains(f.Imports(), "testing/synctest") {
			return
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && isCallOf(s, "time", "Sleep") {
				found = append(found, fmt.Sprintf("%s: time.Sleep: wait on a condition, or use testing/synctest", t.at(s.Pos())))
			}
			return true
		})
	})
	return found
}

// each calls visit with every file that is not generated.
func (t *Tree) each(visit func(p *Package, f *File)) {
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if !f.Generated {
				visit(p, f)
			}
		}
	}
}
