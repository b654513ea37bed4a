package failpoint_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/failpoint"
)

var declared = regexp.MustCompile(`(?m)^\t(\w+)\s+Point = "([^"]+)"$`)

// A point that nothing hits would be a fault that never happens; one hit at two places could not be told apart.
func TestEveryPointIsHitAtOnePlace(t *testing.T) {
	source, err := os.ReadFile("failpoint.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
		names["failpoint.Hit(failpoint."+m[1]+")"] = m[2]
	}
	if len(names) != len(failpoint.All()) {
		t.Errorf("%d points are declared, All has %d", len(names), len(failpoint.All()))
	}
	places := map[string]int{}
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for hit, name := range names {
			places[name] += bytes.Count(b, []byte(hit))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range failpoint.All() {
		if n := places[string(p)]; n != 1 {
			t.Errorf("point %s is hit at %d places, expected 1", p, n)
		}
	}
}

// What points do is behind the tag: its tests run here too.
func TestWithTheTag(t *testing.T) {
	if failpoint.Enabled {
		t.Skip("this is the test with the tag")
	}
	if testing.Short() {
		t.Skip("builds a test binary; left out by -short")
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-tags=failpoints", ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", cmd, err, out)
	}
}

// Without the tag the compiler leaves nothing of a hit.
func TestAHitCostsNothing(t *testing.T) {
	if failpoint.Enabled {
		t.Skip("built with points")
	}
	if testing.Short() {
		t.Skip("runs the compiler; left out by -short")
	}
	dir := t.TempDir()
	probe := "package main\n\nimport \"github.com/raftstream/raftstream/internal/failpoint\"\n\n//go:noinline\nfunc probe() { failpoint.Hit(failpoint.WALSynced) }\n\nfunc main() { probe() }\n"
	file := filepath.Join(dir, "probe.go")
	if err := os.WriteFile(file, []byte(probe), 0o600); err != nil {
		t.Fatal(err)
	}
	// The module allows the import of its internal packages to what is below its root: the overlay puts the file there.
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	text := `{"Replace":{"` + filepath.Join(root, "internal/failpoint/zzprobe/main.go") + `":"` + file + `"}}`
	if err := os.WriteFile(overlay, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-gcflags=-S", "-o", filepath.Join(dir, "probe"), "./internal/failpoint/zzprobe")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, body, found := strings.Cut(string(out), "main.probe STEXT")
	if !found {
		t.Fatalf("no assembly of the probe in\n%s", out)
	}
	body, _, _ = strings.Cut(body, " STEXT")
	if strings.Contains(body, "CALL") || strings.Contains(body, "Hit(SB)") {
		t.Errorf("the compiler left a call in\n%s", body)
	}
}
