package checker

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// save writes a batch as an application does.
func save(t *testing.T, dir string, app uint64, at int64, parts ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := successFile{Format: "raftstream-output", Version: 1, Application: app, BatchMS: at, Output: "saveAsTextFiles-0"}
	for i, text := range parts {
		name := fmt.Sprintf("part-%05d", i)
		put(t, filepath.Join(dir, name), text)
		s.Parts = append(s.Parts, struct {
			Name    string `json:"name"`
			Records int64  `json:"records"`
			Bytes   int64  `json:"bytes"`
			CRC32C  string `json:"crc32c"`
		}{name, int64(strings.Count(text, "\n")), int64(len(text)), sum(text)})
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	s.CRC32C = sum(string(b))
	if b, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "_SUCCESS"), string(b)+"\n")
}

func sum(text string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli))
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOutputsGivesTheRecordsOfEveryBatch(t *testing.T) {
	dir := t.TempDir()
	prefix := filepath.Join(dir, "out")
	save(t, prefix+"-2000.txt", 7, 2000, "c\n", "", "d\ne\n")
	save(t, prefix+"-1000.txt", 7, 1000, "a\nb\n")
	save(t, prefix+"-3000", 9, 3000, "x\n") // of another output
	save(t, filepath.Join(dir, "outer-1.txt"), 9, 1, "x\n")
	s, r := Outputs("w", prefix, "txt")
	if r.Verdict != Valid || len(s.Batches) != 2 || r.Counts["records"] != 5 {
		t.Fatalf("%d batches, expected 2 of 5 records: %+v, %+v", len(s.Batches), r, s)
	}
	var got []string
	for _, b := range s.Batches {
		if err := b.Lines(func(line []byte) error {
			got = append(got, fmt.Sprintf("%d %s", b.Time, line))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"1000 a", "1000 b", "2000 c", "2000 d", "2000 e"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestOutputsSeesWhatIsNotWhole(t *testing.T) {
	edit := func(name, old, now string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !strings.Contains(string(b), old) {
				t.Fatalf("%s: %v", b, err)
			}
			put(t, filepath.Join(dir, name), strings.Replace(string(b), old, now, 1))
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string
	}{
		{"no _SUCCESS", remove("_SUCCESS"), "is not complete"},
		{"a part is missing", remove("part-00001"), "part of a complete batch"},
		{"a part is changed", edit("part-00000", "a", "b"), "its _SUCCESS says 4 with"},
		{"a part is longer", edit("part-00000", "b\n", "b\nc\n"), "has 6 bytes"},
		{"a part too many", func(t *testing.T, dir string) { put(t, filepath.Join(dir, "part-00002"), "x") }, "does not name"},
		{"a temporary name", func(t *testing.T, dir string) { put(t, filepath.Join(dir, "._SUCCESS.abc"), "x") }, "._SUCCESS.abc"},
		{"temporary parts", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "_temporary"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "_temporary"},
		{"_SUCCESS is changed", edit("_SUCCESS", `"records":2`, `"records":3`), "it says"},
		{"_SUCCESS is of another version", edit("_SUCCESS", `"version":1`, `"version":2`), "version 2"},
		{"_SUCCESS is of another batch", func(t *testing.T, dir string) { save(t, dir, 7, 2000, "a\n", "") }, "says that it is batch 2000"},
		{"_SUCCESS is torn", func(t *testing.T, dir string) { put(t, filepath.Join(dir, "_SUCCESS"), `{"format":`) }, "is not complete"},
		{"of another application", func(t *testing.T, dir string) { save(t, dir, 8, 1000, "a\n", "") }, "of 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			prefix := filepath.Join(t.TempDir(), "out")
			save(t, prefix+"-1000", 7, 1000, "a\nb\n", "c\n")
			save(t, prefix+"-2000", 7, 2000, "d\n")
			tt.damage(t, prefix+"-1000")
			_, r := Outputs("w", prefix, "")
			if r.Verdict != Invalid || !strings.Contains(strings.Join(r.Details, "\n"), tt.want) {
				t.Errorf("%+v, expected %q", r, tt.want)
			}
		})
	}
}

func TestOutputsOfBatchesThatAreGivenUp(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	save(t, prefix+"-1000", 7, 1000, "a\n")
	if err := os.MkdirAll(prefix+"-2000/_temporary", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, r := Outputs("w", prefix, ""); r.Verdict != Invalid {
		t.Errorf("%+v", r)
	}
	if s, r := Outputs("w", prefix, "", 2000); r.Verdict != Valid || len(s.Batches) != 1 || r.Counts["given up"] != 1 {
		t.Errorf("%+v", r)
	}
}

func TestOutputsOfNothingIsUnknown(t *testing.T) {
	for _, prefix := range []string{filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "none", "out")} {
		if _, r := Outputs("w", prefix, ""); r.Verdict != Unknown {
			t.Errorf("%+v", r)
		}
	}
}

func logs(t *testing.T, text string) *Run {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n1.log")
	put(t, path, text)
	return &Run{Nodes: []string{"n1"}, Logs: map[string]string{"n1": path}}
}

const quietLog = "time=1 level=INFO msg=\"leads in term 3\"\ntime=2 level=WARN msg=\"goroutine pool is full\"\n"

func TestLogScanSeesCrashes(t *testing.T) {
	if r := LogScan(logs(t, quietLog)); r.Verdict != Valid || r.Counts["lines"] != 2 {
		t.Errorf("a quiet log is %+v", r)
	}
	for _, line := range []string{
		"panic: runtime error: index out of range", "fatal error: concurrent map writes", "WARNING: DATA RACE",
		"[signal SIGBUS: bus error code=0x2 addr=0x7f pc=0x1]", "unexpected fault address 0x7f", "goroutine 17 [chan receive]:",
		"goroutine 1 gp=0xc000002380 m=0 mp=0x1 [running]:", `level=ERROR msg="broken invariant: 3 pending"`,
		"http: panic serving 127.0.0.1:1: x", strings.Repeat("x", 300<<10) + "panic: far to the right",
	} {
		r := LogScan(logs(t, quietLog+line+"\n"+quietLog))
		if r.Verdict != Invalid || !strings.Contains(r.Details[0], "line 3") {
			t.Errorf("%.80q gives %+v", line, r)
		}
	}
	if r := LogScan(logs(t, quietLog+"panic: without an end")); r.Verdict != Invalid {
		t.Errorf("the last line was left out: %+v", r)
	}
}

func TestLogScanLeavesOutWhatIsNamed(t *testing.T) {
	run := logs(t, quietLog+"panic: as planned by p\n")
	if r := LogScan(run, regexp.MustCompile(`^panic: as planned`)); r.Verdict != Valid || r.Counts["excepted"] != 1 {
		t.Errorf("%+v", r)
	}
	if r := LogScan(run, regexp.MustCompile(`^panic: something else`)); r.Verdict != Invalid {
		t.Errorf("%+v", r)
	}
}

func TestLogScanWithoutLogsIsUnknown(t *testing.T) {
	for _, run := range []*Run{
		{}, {Nodes: []string{"n1"}}, {Logs: map[string]string{"n1": filepath.Join(t.TempDir(), "none")}}, logs(t, ""),
	} {
		if r := LogScan(run); r.Verdict != Unknown {
			t.Errorf("%+v gives %+v", run, r)
		}
	}
}
