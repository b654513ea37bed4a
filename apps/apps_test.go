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
		name, app, params, output string
	}{
		{"word count that prints", "wordcount", `{"source":"ingest"}`, "print"},
		{"word count to files", "wordcount", `{"source":"ingest","out":"/shared/wc"}`, "saveAsTextFiles"},
		{"grep to files", "grep", `{"source":"ingest","pattern":"^a+","out":"/shared/g"}`, "saveAsTextFiles"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, err := dstream.Builder().Build(dataset.Spec{Name: tt.app, Params: []byte(tt.params), BatchMS: 1000, Partitions: 2})
			if err != nil {
				t.Fatal(err)
			}
			p := app.Plan()
			if len(p.Inputs) != 1 || p.Inputs[0].Source != "ingest" || !p.Inputs[0].Pushed {
				t.Errorf("inputs %+v, expected one that is pushed through the API", p.Inputs)
			}
			if len(p.Outputs) != 1 || !strings.EqualFold(p.Outputs[0].Operator, tt.output) {
				t.Errorf("outputs %+v, expected %s", p.Outputs, tt.output)
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
		{"unknown source", "wordcount", `{"source":"tape:1"}`, []string{"source", "tape:1", "ingest"}},
		{"unknown parameter", "wordcount", `{"source":"ingest","colour":"red"}`, []string{"colour"}},
		{"windows are to come", "wordcount", `{"source":"ingest","window":"30s/1s"}`, []string{"window", "not available in this version"}},
		{"running totals are to come", "wordcount", `{"source":"ingest","running":true}`, []string{"running", "not available in this version"}},
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
