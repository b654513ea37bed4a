package plan_test

import (
	"regexp"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

func words() *plan.Plan {
	return &plan.Plan{
		BatchMS: 1000, RememberMS: 1000,
		Streams: []plan.Stream{
			{ID: 0, Operator: "receiverStream", Type: "string", SlideMS: 1000, Name: "lines", At: "a.go:1"},
			{ID: 1, Operator: "map", Type: "int", Parents: []id.Stream{0}, SlideMS: 1000, At: "a.go:2"},
		},
		Inputs:  []plan.Input{{Stream: 0, Source: "ingest", Receiver: true, Pushed: true}},
		Outputs: []plan.Output{{Stream: 1, Operator: "print", Name: "print-0", At: "a.go:3"}},
	}
}

func TestFingerprintsTellProgramsApart(t *testing.T) {
	first := words().Fingerprint()
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(first) {
		t.Errorf("fingerprint %q", first)
	}
	for name, change := range map[string]func(*plan.Plan){
		"interval":   func(p *plan.Plan) { p.BatchMS = 500 },
		"remember":   func(p *plan.Plan) { p.RememberMS = 2000 },
		"operator":   func(p *plan.Plan) { p.Streams[1].Operator = "filter" },
		"type":       func(p *plan.Plan) { p.Streams[1].Type = "int64" },
		"parent":     func(p *plan.Plan) { p.Streams[1].Parents = nil },
		"partitions": func(p *plan.Plan) { p.Streams[1].Partitions = 3 },
		"source":     func(p *plan.Plan) { p.Inputs[0].Source = "socket" },
		"output":     func(p *plan.Plan) { p.Outputs[0].Stream = 0 },
	} {
		p := words()
		if change(p); p.Fingerprint() == first {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
}

func TestFingerprintsDoNotDependOnWhatIsShown(t *testing.T) {
	p := words()
	p.Streams[0].Name, p.Streams[0].At, p.Outputs[0].At, p.Inputs[0].Preferred = "other", "b.go:9", "b.go:8", "n2"
	if p.Fingerprint() != words().Fingerprint() {
		t.Error("a name, a place or a preferred node changed the fingerprint")
	}
}
