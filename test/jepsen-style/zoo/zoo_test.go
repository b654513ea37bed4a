package zoo

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module, as seen from here.
const root = "../../.."

var update = flag.Bool("update", false, "write the table of the zoo anew")

// The code moves; the bugs have to move with it. This is cheap and runs always, the hunt itself does not.
func TestEveryEditFitsTheCode(t *testing.T) {
	for _, b := range Bugs() {
		if _, err := b.Edited(root); err != nil {
			t.Error(err)
		}
	}
}

func TestEveryBugIsDescribed(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, b := range Bugs() {
		if !name.MatchString(b.Name) || seen[b.String()] {
			t.Errorf("bug %q: expected a name of its own, of lower case words with hyphens", b.Name)
		}
		seen[b.String()] = true
		if b.Does == "" || b.Expect == "" {
			t.Errorf("bug %s: expected what it does and what its test says", b.Name)
		}
		for _, f := range functions(b.Catch.Run) {
			if !hasTest(t, b.Catch.Package, f) {
				t.Errorf("bug %s: package %s has no test %s", b.Name, b.Catch.Package, f)
			}
		}
	}
	if all := Bugs(); len(all) < 27 || !slices.IsSortedFunc(all, func(a, b Bug) int { return int(a.Layer - b.Layer) }) {
		t.Errorf("%d bugs, expected 27 at least, in order of layer", len(all))
	}
}

func TestEveryRuleHasABug(t *testing.T) {
	for rule := 1; rule <= 15; rule++ {
		if !slices.ContainsFunc(Bugs(), func(b Bug) bool { return slices.Contains(b.Rules, rule) }) {
			t.Errorf("no bug breaks rule %d", rule)
		}
	}
}

// functions are the top-level tests that a pattern of -run names.
func functions(run string) []string {
	top, _, _ := strings.Cut(run, "/")
	return strings.Split(strings.Trim(top, "^$()"), "|")
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(f string) bool {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(b), "func "+name+"(")
	})
}

// The table of the zoo in README.md is made of the bugs; go test -update writes it.
func TestTableOfTheZooIsUpToDate(t *testing.T) {
	const begin, end = "<!-- zoo -->\n", "<!-- /zoo -->\n"
	name := filepath.Join("..", "README.md")
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the table: expected %q and %q", name, begin, end)
	}
	want := before + begin + table() + end + after
	if want == string(page) {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not that of the bugs: go test ./test/jepsen-style/zoo -update", name)
	}
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// table is the zoo as Markdown.
func table() string {
	var s strings.Builder
	s.WriteString("\n| bug | what is done wrong | seen in | rules | layer | caught by |\n|---|---|---|---|---|---|\n")
	for _, b := range Bugs() {
		rules := strings.Trim(strings.ReplaceAll(fmt.Sprint(b.Rules), " ", ", "), "[]")
		catch := fmt.Sprintf("`%s` %s", b.Catch.Package, strings.Join(functions(b.Catch.Run), ", "))
		fmt.Fprintf(&s, "| %s | %s | %s | %s | %v | %s |\n", b.Name, b.Does, b.Origin, rules, b.Layer, catch)
	}
	s.WriteString("\n")
	return s.String()
}
