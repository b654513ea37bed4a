//go:build race

package raftnode

// raceEnabled says whether the tests run under the race detector.
const raceEnabled = true
