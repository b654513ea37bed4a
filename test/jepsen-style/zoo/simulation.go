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

// inSimulation are bugs that whole clusters show, which know nothing of the code that is wrong.
var inSimulation = map[string]string{
	"snapshot-omits-empty-batches":        "damaged snapshot: restore snapshot",
	"ledger-reads-the-clock":              "has another state than another node",
	"missing-block-is-skipped":            "lines were allocated up to it; expected",
	"next-batch-goes-on-from-any-attempt": "lines were allocated up to it; expected",
	"orphans-are-deleted-too-early":       "lines: not within",
	"ledger-follows-the-order-of-a-map":   "has another state than another node",
}
