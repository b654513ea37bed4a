package workload

import (
	"fmt"
	"slices"
	"strings"
)

// Spec is a workload that there is.
type Spec struct {
	Name string
	// Programs that the nodes' binary must have; GetVersion tells which it has.
	Programs []string
	New      func() Workload
}

// All are the workloads, in the order in which they are described.
func All() []Spec {
	return []Spec{
		{"append-set", []string{"grep"}, newAppendSet},
		{"counter", []string{"wordcount"}, newCounter},
		{"map-counter", []string{"totals"}, newMapCounter},
		{"window", []string{"wordcount"}, newWindow},
		{"windows", []string{"windows"}, newWindows},
		{"receiver", []string{"cursor"}, func() Workload { return new(receiver) }},
		{"sink", []string{"journal"}, newSink},
		{"files", []string{"grep"}, func() Workload { return new(files) }},
		{"backpressure", []string{"slow"}, func() Workload { return new(backpressure) }},
		{"resume", []string{"brittle"}, newResume},
		{"apps", []string{"grep"}, newLifecycle},
		{"membership", nil, func() Workload { return membership{} }},
		{"ledger", []string{"grep"}, func() Workload { return new(ledger) }},
	}
}

// Named finds workloads by their names, each once, in the order given.
func Named(names ...string) ([]Spec, error) {
	var found []Spec
	for _, name := range names {
		i := slices.IndexFunc(All(), func(s Spec) bool { return s.Name == name })
		if i < 0 {
			var known []string
			for _, s := range All() {
				known = append(known, s.Name)
			}
			return nil, fmt.Errorf("workload %q, expected some of %s", name, strings.Join(known, ", "))
		}
		if !slices.ContainsFunc(found, func(s Spec) bool { return s.Name == name }) {
			found = append(found, All()[i])
		}
	}
	return found, nil
}
