package suite

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// folder is that of a real run which was green: testdata/green.tar.gz, three nodes of which the leader was killed once, with
// four workloads. Of the logs it has the first lines. A line of another node's ledger is empty where it is that of n1.
type folder struct {
	t         *testing.T
	dir       string
	workloads []string
	events    []history.Event
	ledger    map[string][]map[string]any // node -> lines
}

var greenNodes = []string{"n1", "n2", "n3"}

const greenRate = 40

// greenFiles are the files of the archive.
func greenFiles(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "green.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// unpack lays the folder out anew, of its workloads some.
func unpack(t *testing.T, files map[string][]byte, workloads ...string) *folder {
	t.Helper()
	f := &folder{t: t, dir: t.TempDir(), workloads: workloads, ledger: map[string][]map[string]any{}}
	for name, b := range files {
		place := strings.Split(name, "/")
		if place[0] == "logs" || place[0] == "w" && slices.Contains(workloads, place[1]) {
			f.write(name, b)
		}
	}
	var err error
	if f.events, err = history.Decode(bytes.NewReader(files["history.jsonl"])); err != nil {
		t.Fatal(err)
	}
	base := bytes.Split(files["ledger/n1.jsonl"], []byte("\n"))
	for _, n := range greenNodes {
		for i, line := range bytes.Split(files["ledger/"+n+".jsonl"], []byte("\n")) {
			if len(line) == 0 {
				line = base[i]
			}
			if len(line) == 0 {
				continue // behind the last one
			}
			var l map[string]any
			d := json.NewDecoder(bytes.NewReader(line))
			d.UseNumber()
			if err := d.Decode(&l); err != nil {
				t.Fatal(err)
			}
			f.ledger[n] = append(f.ledger[n], l)
		}
	}
	return f
}

func (f *folder) write(name string, b []byte) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
		f.t.Fatal(err)
	}
}

// judge comes to the verdict of the folder as it now is.
func (f *folder) judge() *Verdict {
	f.t.Helper()
	run := &checker.Run{Dir: f.dir, Nodes: greenNodes, Logs: map[string]string{}, Ledgers: map[string]string{}}
	var b bytes.Buffer
	for i, e := range f.events {
		e.Index = int64(i)
		line, err := json.Marshal(e)
		if err != nil {
			f.t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	var err error
	if run.Events, err = history.Decode(&b); err != nil {
		f.t.Fatal(err)
	}
	for _, n := range greenNodes {
		run.Logs[n] = filepath.Join(f.dir, "logs", n+".log")
		var b bytes.Buffer
		for _, l := range f.ledger[n] {
			line, err := json.Marshal(l)
			if err != nil {
				f.t.Fatal(err)
			}
			b.Write(append(line, '\n'))
		}
		f.write("ledger/"+n+".jsonl", b.Bytes())
		run.Ledgers[n] = filepath.Join(f.dir, "ledger", n+".jsonl")
	}
	specs, err := workload.Named(f.workloads...)
	if err != nil {
		f.t.Fatal(err)
	}
	var workloads []workload.Workload
	for _, s := range specs {
		workloads = append(workloads, s.New())
	}
	v := &Verdict{Results: checks(run, workloads, greenRate)}
	v.judge(nil)
	return v
}

// command is a line of a ledger.
type command map[string]any

func (c command) in(member string) command { m, _ := c[member].(map[string]any); return m }

func (c command) int(member string) int64 {
	n, _ := c[member].(json.Number)
	v, err := n.Int64()
	if err != nil {
		panic(fmt.Sprintf("%s of %v: %v", member, c, err))
	}
	return v
}

func (c command) set(member string, n int64) { c[member] = json.Number(fmt.Sprint(n)) }

func (c command) list(member string) []any { l, _ := c[member].([]any); return l }

// nth finds command n, from 0, of a kind and an application, in a node's ledger; negative ones count from the end.
func (f *folder) nth(node, kind, app string, n int, like ...func(command) bool) int {
	f.t.Helper()
	var all []int
	for i, l := range f.ledger[node] {
		fits := l["kind"] == kind && (app == "" || l["app"] == app) && l["n"] != json.Number("0")
		for _, fit := range like {
			fits = fits && fit(l)
		}
		if fits {
			all = append(all, i)
		}
	}
	if n < 0 {
		n += len(all)
	}
	if n < 0 || n >= len(all) {
		f.t.Fatalf("there are %d commands %s of %q, want number %d", len(all), kind, app, n)
	}
	return all[n]
}

// everywhere changes a line of all ledgers alike.
func (f *folder) everywhere(at int, change func(command)) {
	for _, n := range greenNodes {
		change(f.ledger[n][at])
	}
}

// swap exchanges what two entries hold, everywhere; their places stay.
func (f *folder) swap(a, b int) {
	for _, n := range greenNodes {
		l := f.ledger[n]
		for _, member := range []string{"kind", "app", "app_id", "command", "crc", "allocated", "proposed_term"} {
			l[a][member], l[b][member] = l[b][member], l[a][member]
		}
	}
}

// copyTo puts what entry a holds also into entry b, as if it had taken effect there again.
func (f *folder) copyTo(a, b int) {
	for _, n := range greenNodes {
		l := f.ledger[n]
		for _, member := range []string{"kind", "app", "app_id", "command", "crc", "allocated"} {
			l[b][member] = l[a][member]
		}
		result := map[string]any{"outcome": "done", "index": l[b]["index"]}
		if blocks := command(command(l[a]).in("result")).list("blocks"); blocks != nil {
			var all []any
			for range blocks {
				all = append(all, map[string]any{"outcome": "done", "index": l[b]["index"]})
			}
			result["blocks"] = all
		}
		l[b]["result"] = result
	}
}

// batches are the directories of a workload's output, in order of time.
func (f *folder) batches(workload string) []string {
	f.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(f.dir, "w", workload, "out-*"))
	if err != nil || len(dirs) == 0 {
		f.t.Fatalf("no batches of %s: %v", workload, err)
	}
	slices.Sort(dirs)
	return dirs
}

// full are those of them that hold records.
func (f *folder) full(workload string) []string {
	return slices.DeleteFunc(f.batches(workload), func(dir string) bool { return len(slices.Concat(f.parts(dir)...)) == 0 })
}

// parts reads the lines of a batch by part.
func (f *folder) parts(dir string) [][]string {
	f.t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "part-*"))
	if err != nil {
		f.t.Fatal(err)
	}
	slices.Sort(paths)
	var all [][]string
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' }))
	}
	return all
}

// save writes a batch that is whole, with other lines.
func (f *folder) save(dir string, parts [][]string) {
	f.t.Helper()
	sum := func(b []byte) string {
		return fmt.Sprintf("%08x", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	var head struct {
		Application uint64 `json:"application"`
		Output      string `json:"output"`
		BatchMS     int64  `json:"batch_ms"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "_SUCCESS"))
	if err == nil {
		err = json.Unmarshal(b, &head)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	var list []string
	name, _ := filepath.Rel(f.dir, dir)
	for i, lines := range parts {
		text := []byte(strings.Join(append(slices.Clone(lines), ""), "\n"))
		part := fmt.Sprintf("part-%05d", i)
		f.write(filepath.Join(name, part), text)
		list = append(list, fmt.Sprintf(`{"name":%q,"records":%d,"bytes":%d,"crc32c":%q}`, part, len(lines), len(text), sum(text)))
	}
	text := fmt.Sprintf(`{"format":"raftstream-output","version":1,"application":%d,"batch_ms":%d,"output":%q,"parts":[%s],"crc32c":""}`,
		head.Application, head.BatchMS, head.Output, strings.Join(list, ","))
	whole := strings.TrimSuffix(text, `""}`) + fmt.Sprintf("%q}", sum([]byte(text)))
	f.write(filepath.Join(name, "_SUCCESS"), []byte(whole+"\n"))
}

// edit changes the lines of the first part of a batch that has any.
func (f *folder) edit(dir string, change func([]string) []string) {
	f.t.Helper()
	parts := f.parts(dir)
	i := slices.IndexFunc(parts, func(p []string) bool { return len(p) > 0 })
	if i < 0 {
		f.t.Fatalf("%s is empty", dir)
	}
	parts[i] = change(parts[i])
	f.save(dir, parts)
}

// value changes the value of an event.
func (f *folder) value(e *history.Event, change func(command)) {
	f.t.Helper()
	d := json.NewDecoder(bytes.NewReader(e.Value))
	d.UseNumber()
	var v map[string]any
	err := d.Decode(&v)
	if err == nil {
		change(v)
		e.Value, err = json.Marshal(v)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// event finds event n, from 0, of a workload that fits; negative ones count from the end.
func (f *folder) event(workload, op string, kind history.Type, n int, like ...func(*history.Event) bool) int {
	f.t.Helper()
	var all []int
	for i := range f.events {
		e := &f.events[i]
		fits := e.Workload == workload && e.F == op && e.Type == kind
		for _, fit := range like {
			fits = fits && fit(e)
		}
		if fits {
			all = append(all, i)
		}
	}
	if n < 0 {
		n += len(all)
	}
	if n < 0 || n >= len(all) {
		f.t.Fatalf("there are %d events %s %s of %s, want number %d", len(all), op, kind, workload, n)
	}
	return all[n]
}
