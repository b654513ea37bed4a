package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// named is a test of the page, with the directory of its package.
var named = regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9]+)`")

// docs/conformance.md names tests: they exist, and where a case holds as it is, it is the name of a subtest.
func TestTestsOfTheConformancePageExist(t *testing.T) {
	const root = "../.."
	page, err := os.ReadFile(filepath.Join(root, "docs/conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{} // text of the tests of a package and of their data, by directory
	of := func(dir string) string {
		if text, ok := tests[dir]; ok {
			return text
		}
		var text strings.Builder
		for _, pattern := range []string{"*_test.go", "testdata/*.json"} {
			files, err := filepath.Glob(filepath.Join(root, dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				text.Write(b)
			}
		}
		tests[dir] = text.String()
		return tests[dir]
	}
	cases, held := 0, 0
	for row := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(row), " | ")
		if len(cells) != 3 || cells[1] == "case" {
			continue
		}
		cases++
		cells[1] = strings.ReplaceAll(cells[1], `\|`, "|")
		holds := !strings.HasPrefix(cells[2], "differs: ")
		if holds {
			held++
		}
		found := named.FindAllStringSubmatch(cells[2], -1)
		if holds && len(found) == 0 {
			t.Errorf("case %q holds, and no test is named", cells[1])
		}
		for _, test := range found {
			text := of(test[1])
			if !strings.Contains(text, "func "+test[2]+"(") {
				t.Errorf("case %q: package %s has no test %s", cells[1], test[1], test[2])
			}
			if holds && !strings.Contains(text, `"`+cells[1]+`"`) {
				t.Errorf("case %q: no subtest of %s has its name", cells[1], test[1])
			}
		}
	}
	if cases < 100 {
		t.Errorf("%d cases on the page, expected more than 100", cases)
	}
	if want := fmt.Sprintf("\n%d of the %d cases hold as they are.\n", held, cases); !strings.Contains(string(page), want) {
		t.Errorf("the page does not say %q", strings.TrimSpace(want))
	}
}
