//go:build !race

package cluster

// raceEnabled says whether the tests, and so the nodes that they build, run under the race detector.
const raceEnabled = false
