package archtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// checks are all checks by name.
var checks = []struct {
	name  string
	check func(*Tree) []string
}{
	{"imports", CheckImports},
	{"purity", CheckPurity},
	{"sizes", CheckSizes},
	{"comments", CheckComments},
	{"sleeps", CheckSleeps},
}

func TestHouseIsAsDescribed(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Packages) < 10 {
		t.Fatalf("%d packages found, expected the whole module", len(tree.Packages))
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			for _, finding := range c.check(tree) {
				t.Error(finding)
			}
		})
	}
}

func TestEveryCheckFindsItsViolation(t *testing.T) {
	const doc = "// Package x is made up.\n"
	own := func(dir string) string { return fmt.Sprintf("import _ %q\n", Module+"/"+dir) }
	long := strings.Repeat("\t_ = 1\n", 101)
	tests := []struct {
		name, file, src string
		check           func(*Tree) []string
		want            string
	}{
		{"low floor imports a high one", "tracker/a.go", doc + "package tracker\n" + own("fsm"), CheckImports, "tracker must not import fsm"},
		{"neighbours import each other", "tracker/a.go", doc + "package tracker\n" + own("blocktracker"), CheckImports, "must not import blocktracker"},
		{"executor knows the ledger", "executor/task/a.go", doc + "package task\n" + own("fsm"), CheckImports, "executor/task must not import fsm"},
		{"executor's parts know each other", "executor/task/a.go", doc + "package task\n" + own("executor/blocks"), CheckImports, "must not import executor/blocks"},
		{"a duty knows another one", "internal/driver/batches/a.go", doc + "package batches\n" + own("internal/driver/receivers"), CheckImports, "a duty knows no other duty"},
		{"an application knows the engine", "apps/a.go", doc + "package apps\n" + own("internal/id"), CheckImports, "as a user would"},
		{"package that is not in the table", "surprise/a.go", doc + "package surprise\n", CheckImports, "not in the import table"},
		{"raft outside raftnode", "internal/driver/a.go", doc + "package driver\nimport _ \"github.com/hashicorp/raft\"\n", CheckImports, "raftnode alone"},
		{"raft-boltdb v2 outside raftnode", "cli/a.go", doc + "package cli\nimport _ \"github.com/hashicorp/raft-boltdb/v2\"\n", CheckImports, "raftnode alone"},
		{"memberlist outside gossip", "cli/a.go", doc + "package cli\nimport _ \"github.com/hashicorp/memberlist\"\n", CheckImports, "gossip alone"},
		{"grpc in an executor", "executor/a.go", doc + "package executor\nimport _ \"google.golang.org/grpc/codes\"\n", CheckImports, "border"},
		{"protobuf in the driver", "internal/driver/a.go", doc + "package driver\nimport _ \"google.golang.org/protobuf/proto\"\n", CheckImports, "border"},
		{"pure package reads a clock", "fsm/a.go", doc + "package fsm\nimport \"time\"\nvar _ = time.Now\n", CheckPurity, "fsm/a.go:4"},
		{"pure package has a lock", "fsm/a.go", doc + "package fsm\nimport _ \"sync/atomic\"\n", CheckPurity, "sync/atomic"},
		{"pure package rolls dice", "tracker/a.go", doc + "package tracker\nimport _ \"math/rand/v2\"\n", CheckPurity, "math/rand/v2"},
		{"pure package starts a goroutine", "jobgen/a.go", doc + "package jobgen\nfunc f() { go f() }\n", CheckPurity, "goroutines"},
		{"pure package logs", "blocktracker/a.go", doc + "package blocktracker\nimport _ \"log/slog\"\n", CheckPurity, "log/slog"},
		{"file too long", "fsm/a.go", doc + "package fsm\n" + strings.Repeat("\n", 800), CheckSizes, "at most 800"},
		{"function too long", "fsm/a.go", doc + "package fsm\nfunc f() {\n" + long + "}\n", CheckSizes, "at most 100"},
		{"many functions long", "fsm/a.go", doc + "package fsm\nfunc f() {\n" + long[:70*len("\t_ = 1\n")] + "}\n", CheckSizes, "1 of 1 functions"},
		{"package without a comment", "fsm/a.go", "package fsm\n", CheckComments, "package comment is missing"},
		{"exported function without a comment", "fsm/a.go", doc + "package fsm\nfunc F() {}\n", CheckComments, "exported F"},
		{"exported method without a comment", "fsm/a.go", doc + "package fsm\n// T is.\ntype T[K any] struct{}\nfunc (t *T[K]) M() {}\n", CheckComments, "exported M"},
		{"exported type without a comment", "fsm/a.go", doc + "package fsm\ntype T struct{}\n", CheckComments, "exported T"},
		{"exported value without a comment", "fsm/a.go", doc + "package fsm\nvar V = 1\n", CheckComments, "exported V"},
		{"work left undone", "fsm/a.go", doc + "package fsm\n// TO" + "DO: more\n", CheckComments, "left in a comment"},
		{"test sleeps", "fsm/a_test.go", "package fsm\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", CheckSleeps, "fsm/a_test.go:3"},
		{"engine sleeps", "executor/a.go", doc + "package executor\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", CheckSleeps, "wait on a condition"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := tt.check(load(t, map[string]string{tt.file: tt.src}))
			if !strings.Contains(strings.Join(found, "\n"), tt.want) {
				t.Errorf("found %q, expected a finding with %q", found, tt.want)
			}
		})
	}
}

func TestAllowedThingsAreNotFound(t *testing.T) {
	tree := load(t, map[string]string{
		"fsm/a.go":               "// Package fsm is.\npackage fsm\nimport (\n_ \"time\"\n_ \"" + Module + "/tracker\"\n)\n// F does.\nfunc F() {}\n",
		"fsm/b_test.go":          "package fsm\nimport (\n\"time\"\n_ \"testing/synctest\"\n_ \"sync\"\n_ \"" + Module + "/executor\"\n)\nfunc f() { time.Sleep(1); go f() }\n",
		"internal/raftnode/a.go": "// Package raftnode is.\npackage raftnode\nimport _ \"github.com/hashicorp/raft-boltdb/v2\"\n",
		"internal/rpc/pb/a.go":   "// Code generated by x. DO NOT EDIT.\n\npackage pb\nfunc F() {}\n",
		"fsm/testdata/a.go":      "package broken\nfunc F() {}\n",
		"tools/go.mod":           "module x\n",
		"tools/a.go":             "package main\nfunc F() {}\n",
	})
	for _, c := range checks {
		if found := c.check(tree); len(found) > 0 {
			t.Errorf("%s: found %q", c.name, found)
		}
	}
}

func load(t *testing.T, files map[string]string) *Tree {
	t.Helper()
	fsys := make(fstest.MapFS)
	for name, src := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(src)}
	}
	tree, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
