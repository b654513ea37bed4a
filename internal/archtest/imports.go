package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// CheckImports holds every file that is not a test against the import table and the list of external modules.
func CheckImports(t *Tree) []string {
	var found []string
	for _, p := range t.Packages {
		rule, known := ruleOf(p.Dir)
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			if !known {
				found = append(found, fmt.Sprintf("%s: package %s is not in the import table: add it to docs/architecture.md section 2 and to archtest.Table", f.Name, p.Dir))
				break
			}
			for _, imported := range f.Imports() {
				found = append(found, checkImport(p.Dir, f.Name, imported, rule)...)
			}
		}
	}
	return found
}

func checkImport(dir, file, imported string, rule Rule) []string {
	if own, ok := strings.CutPrefix(imported, Module+"/"); ok {
		if own != dir && !slices.ContainsFunc(rule.Allow, func(a string) bool { return fits(a, own) }) {
			return []string{fmt.Sprintf("%s: %s must not import %s: %s", file, dir, own, rule.Reason)}
		}
		return nil
	}
	for _, e := range Externals {
		if !fits(e.Path+"/...", imported) && !strings.HasPrefix(imported, e.Path+"/v") {
			continue
		}
		if !slices.ContainsFunc(e.Only, func(a string) bool { return fits(a, dir) }) {
			return []string{fmt.Sprintf("%s: %s must not import %s: %s", file, dir, imported, e.Reason)}
		}
	}
	return nil
}

func ruleOf(dir string) (Rule, bool) {
	i := slices.IndexFunc(Table, func(r Rule) bool { return fits(r.Dir, dir) })
	if i < 0 {
		return Rule{}, false
	}
	return Table[i], true
}

// fits reports whether a path is the pattern, or for a pattern "x/..." x or anything below it.
func fits(pattern, path string) bool {
	if pattern == "..." {
		return true
	}
	below, ok := strings.CutSuffix(pattern, "/...")
	return path == below || ok && strings.HasPrefix(path, below+"/")
}

// CheckPurity finds clocks, randomness, I/O, goroutines, locks and logging in the packages that compute only.
func CheckPurity(t *Tree) []string {
	var found []string
	for _, p := range t.Packages {
		if !slices.Contains(Pure, p.Dir) {
			continue
		}
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			for _, imported := range f.Imports() {
				if slices.ContainsFunc(impureImports, func(i string) bool { return fits(i+"/...", imported) }) {
					found = append(found, fmt.Sprintf("%s: %s must not import %s: it computes only, so that the same log gives the same state", f.Name, p.Dir, imported))
				}
			}
			found = append(found, t.impureCode(p.Dir, f)...)
		}
	}
	return found
}

func (t *Tree) impureCode(dir string, f *File) []string {
	var found []string
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, fmt.Sprintf("%s: %s must not start goroutines", t.at(n.Pos()), dir))
		case *ast.SelectorExpr:
			if isCallOf(n, "time", impureTime...) {
				found = append(found, fmt.Sprintf("%s: %s must not read a clock (time.%s): times come in commands", t.at(n.Pos()), dir, n.Sel.Name))
			}
		}
		return true
	})
	return found
}

// isCallOf reports whether a selector names one of the package's functions. It takes the package to be imported under
// its own name, as it is everywhere here.
func isCallOf(s *ast.SelectorExpr, pkg string, names ...string) bool {
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg && slices.Contains(names, s.Sel.Name)
}
