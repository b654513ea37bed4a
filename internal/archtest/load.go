package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of the module that is checked.
const Module = "github.com/raftstream/raftstream"

// File is one parsed Go file.
type File struct {
	Name      string // path below the root
	AST       *ast.File
	Lines     int
	Test      bool // its name ends in _test.go
	Generated bool
}

// Imports gives the import paths of the file.
func (f *File) Imports() []string {
	var paths []string
	for _, spec := range f.AST.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has checked it
		}
		paths = append(paths, p)
	}
	return paths
}

// Package is the Go files of one directory.
type Package struct {
	Dir   string // below the root, "." for the root itself
	Files []*File
}

// Tree is all packages of the module, in order of their directory.
type Tree struct {
	Fset     *token.FileSet
	Packages []*Package
}

// Load parses every Go file below the root of fsys, but testdata, hidden directories and nested modules. Build
// constraints are not looked at: the rules hold on every system.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{Fset: token.NewFileSet()}
	byDir := make(map[string]*Package)
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(fsys, name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		f, err := t.parse(fsys, name)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if byDir[dir] == nil {
			byDir[dir] = &Package{Dir: dir}
			t.Packages = append(t.Packages, byDir[dir])
		}
		byDir[dir].Files = append(byDir[dir].Files, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the module's source: %w", err)
	}
	slices.SortFunc(t.Packages, func(a, b *Package) int { return strings.Compare(a.Dir, b.Dir) })
	return t, nil
}

// enter says whether a directory belongs to the module.
func enter(fsys fs.FS, name string) error {
	if name == "." {
		return nil
	}
	base := path.Base(name)
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func (t *Tree) parse(fsys fs.FS, name string) (*File, error) {
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.ParseFile(t.Fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &File{
		Name:      name,
		AST:       parsed,
		Lines:     bytes.Count(src, []byte("\n")),
		Test:      strings.HasSuffix(name, "_test.go"),
		Generated: ast.IsGenerated(parsed),
	}, nil
}

// at gives a position as file:line.
func (t *Tree) at(p token.Pos) string {
	pos := t.Fset.Position(p)
	return fmt.Sprintf("%s:%d", pos.Filename, pos.Line)
}
