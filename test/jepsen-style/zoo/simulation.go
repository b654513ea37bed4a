package zoo

import "fmt"

// seen adds a layer at which bugs must be caught besides that of their own test: by their name, what is expected there.
func seen(layer Layer, by Test, expect map[string]string, bugs []Bug) []Bug {
	var also []Bug
	for _, b := range bugs {
		if text, ok := expect[b.Name]; ok {
			b.Layer, b.Catch, b.Expect = layer, by, text
			also = append(also, b)
		}
	}
	if len(also) != len(expect) {
		panic(fmt.Sprintf("zoo: %d of %d bugs to be seen in %v are not in the zoo", len(expect)-len(also), len(expect), layer))
	}
	return also
}

// simulated runs whole clusters under drawn faults, until one fails.
var simulated = Test{Package: "test/simulation", Run: "^TestSeeds$", Args: "-seeds 60"}

// simulationBugs are those that need a cluster to be seen.
var simulationBugs = []Bug{
	{
		Name: "blocks-are-allocated-again", Rules: []int{10},
		Does:  "a batch leaves its last block in the queue: the next one has it too",
		File:  "blocktracker/allocate.go",
		Old:   "\tn.Allocated = last\n\tn.Records -= in.Records\n",
		New:   "\tn.Allocated = last - 1\n\tn.Records -= in.Records\n",
		Layer: Simulation,
		Catch: simulated, Expect: "waiting and",
	},
}

// inSimulation are bugs that whole clusters show, which know nothing of the code that is wrong.
var inSimulation = map[string]string{
	"snapshot-omits-empty-batches":        "damaged snapshot: restore snapshot",
	"ledger-reads-the-clock":              "has another state than another node",
	"missing-block-is-skipped":            "lines were allocated up to it; expected",
	"next-batch-goes-on-from-any-attempt": "lines were allocated up to it; expected",
	"orphans-are-deleted-too-early":       "lines: not within",
	"acknowledged-before-the-sync":        "is damaged at offset",
	"segment-name-is-not-synced":          "has no holder that answers",
	"snapshot-omits-requests":             "damaged snapshot: restore snapshot",
	"state-is-updated-twice":              "lines were allocated up to it; expected",
	"missing-counts-as-failing":           "input is missing",
}

// simulatedLong is for bugs that one run in some dozens shows.
var simulatedLong = Test{Package: "test/simulation", Run: "^TestSeeds$", Args: "-seeds 300"}

// inSimulationRarely are such bugs.
var inSimulationRarely = map[string]string{
	"ledger-follows-the-order-of-a-map": "than another node",
	"late-completion-counts":            "(rule 1)",
}
