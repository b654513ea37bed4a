package apps_test

import (
	"os"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/apps"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
)

func TestMain(m *testing.M) {
	apps.Register()
	os.Exit(m.Run())
}

func TestApplicationsBuildFromTheirParameters(t *testing.T) {
	tests := []struct {
		name, app, params, source, output string
		states                            int
	}{
		{"word count that prints", "wordcount", `{"source":"ingest"}`, "ingest", "print", 0},
		{"word count to files", "wordcount", `{"source":"ingest","out":"/shared/wc"}`, "ingest", "saveAsTextFiles", 0},
		{"word count of a window", "wordcount", `{"source":"ingest","window":"30s/10s"}`, "ingest", "print", 1},
		{"frequent words of a window", "topk", `{"source":"ingest","window":"30s/1s"}`, "ingest", "print", 1},
		{"running word count", "wordcount", `{"source":"files:/shared/in","running":true,"out":"/shared/wc"}`, "files", "saveAsTextFiles", 1},
		{"word count of a socket", "wordcount", `{"source":"socket:localhost:9999"}`, "socket", "print", 0},
		{"word count of an IPv6 socket", "wordcount", `{"source":"socket:[::1]:9999"}`, "socket", "print", 0},
		{"grep to files", "grep", `{"source":"ingest","pattern":"^a+","out":"/shared/g"}`, "ingest", "saveAsTextFiles", 0},
		{"grep of made lines", "grep", `{"source":"rate:100","pattern":"river"}`, "rate", "print", 0},
		{"frequent words", "topk", `{"source":"rate:100","k":3}`, "rate", "print", 0},
		{"ten frequent words since the start", "topk", `{"source":"rate:100","running":true}`, "rate", "print", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, err := dstream.Builder().Build(dataset.Spec{Name: tt.app, Params: []byte(tt.params), BatchMS: 1000, Partitions: 2})
			if err != nil {
				t.Fatal(err)
			}
			p := app.Plan()
			if len(p.Inputs) != 1 || p.Inputs[0].Source != tt.source || p.Inputs[0].Pushed != (tt.source == "ingest") {
				t.Errorf("inputs %+v, expected one of %s", p.Inputs, tt.source)
			}
			if len(p.Outputs) != 1 || !strings.EqualFold(p.Outputs[0].Operator, tt.output) {
				t.Errorf("outputs %+v, expected %s", p.Outputs, tt.output)
			}
			if len(p.States) != tt.states {
				t.Errorf("states %+v, expected %d", p.States, tt.states)
			}
		})
	}
}

func TestWrongParametersAreNamed(t *testing.T) {
	tests := []struct {
		name, app, params string
		want              []string
	}{
		{"no source", "wordcount", `{}`, []string{"wordcount", "source"}},
		{"unknown source", "wordcount", `{"source":"tape:1"}`, []string{"source", "tape:1", "ingest", "socket:HOST:PORT", "files:DIR", "rate:N"}},
		{"totals saved at no multiple of the batch", "wordcount", `{"source":"ingest","running":true,"checkpoint":"1500ms"}`, []string{"checkpoint", "1.5s"}},
		{"unknown parameter", "wordcount", `{"source":"ingest","colour":"red"}`, []string{"colour"}},
		{"window without a slide", "wordcount", `{"source":"ingest","window":"30s"}`, []string{"window", "30s", "length/slide"}},
		{"window that no batch fits", "topk", `{"source":"ingest","window":"2500ms/1s"}`, []string{"2.5s", "multiple"}},
		{"window of totals", "wordcount", `{"source":"ingest","window":"30s/1s","running":true}`, []string{"window", "running", "one of them"}},
		{"ingest from somewhere", "wordcount", `{"source":"ingest:x"}`, []string{"source", "ingest:x"}},
		{"socket without a port", "wordcount", `{"source":"socket:localhost"}`, []string{"source", "socket:localhost", "HOST:PORT"}},
		{"socket with a strange port", "wordcount", `{"source":"socket:localhost:http"}`, []string{"source", "HOST:PORT"}},
		{"files of nothing", "wordcount", `{"source":"files:"}`, []string{"source", "files:", "directory"}},
		{"rate of nothing", "wordcount", `{"source":"rate:many"}`, []string{"source", "rate:many", "rate:N"}},
		{"rate of nought", "wordcount", `{"source":"rate:0"}`, []string{"source", "rate:0", "expected 1 to"}},
		{"negative k", "topk", `{"source":"ingest","k":-1}`, []string{"k", "-1", "expected 1 to"}},
		{"no pattern", "grep", `{"source":"ingest"}`, []string{"grep", "pattern"}},
		{"empty pattern", "grep", `{"source":"ingest","pattern":""}`, []string{"pattern", "empty"}},
		{"broken pattern", "grep", `{"source":"ingest","pattern":"("}`, []string{"pattern", "("}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := dstream.Builder().Build(dataset.Spec{Name: tt.app, Params: []byte(tt.params), BatchMS: 1000, Partitions: 2})
			if err == nil {
				t.Fatal("it was built")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not name %q", err, w)
				}
			}
		})
	}
}
