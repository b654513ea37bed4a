// Package simulation runs the whole control plane and real executors in one process, in virtual time
// (testing/synctest): real Raft, drivers with all duties, executors and their logs of received blocks, over links and
// disks that it controls. From a seed it draws a cluster, applications, faults, and what owners do meanwhile: stop and
// submit again, resume, accept loss. Then it heals everything and checks that nothing was counted twice, and nothing
// lost but what an owner gave up. It is layer 1 of the proofs (docs/architecture.md, section 6). It promises that a seed
// draws the same faults at the same virtual times; the order in which goroutines run is not in its hand, so a failing
// seed may need to be run some times. It must not know operators of streams.
//
//	go test ./test/simulation -run TestSeeds -seeds 1000 -first 1
package simulation
