// Package cluster holds the tests that only real processes can show: nodes started from the built binary, driven
// through the command line's contract, killed, paused and damaged. It promises to know no package of the engine.
package cluster
