package checker

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// alarms are what no log of a node may hold: the runtime, the race detector and the ledger say so.
var alarms = [][]byte{
	[]byte("panic:"), []byte("panic serving"), []byte("fatal error:"), []byte("DATA RACE"), []byte("SIGBUS"), []byte("SIGSEGV"),
	[]byte("unexpected fault address"), []byte("broken invariant"), []byte("[running]:"), []byte("all goroutines are asleep"),
}

// stack is the head of a goroutine in a dump of stacks.
var stack = regexp.MustCompile(`^goroutine \d+ (gp=\S+ m=\S+ (mp=\S+ )?)?\[`)

// maxLogLine bounds what is told of a line.
const maxLogLine = 300

// LogScan reads the logs of all nodes for signs of a crash that nobody planned: panics, data races, fatal errors, faults of
// memory, dumps of goroutines, broken invariants. A line that one of the patterns in except matches is left out: what a
// schedule brings about on purpose has to be named there.
func LogScan(run *Run, except ...*regexp.Regexp) Result {
	j := Judging("logs", "")
	for _, node := range slices.Sorted(maps.Keys(run.Logs)) {
		n := 0
		err := linesOf(run.Logs[node], func(line []byte) error {
			n++
			if !alarming(line) {
				return nil
			}
			if slices.ContainsFunc(except, func(p *regexp.Regexp) bool { return p.Match(line) }) {
				j.Found.Counts["excepted"]++
				return nil
			}
			j.Bad("%s, line %d: %s", run.Logs[node], n, line[:min(len(line), maxLogLine)])
			return nil
		})
		if err != nil {
			j.Doubt("%v", fmt.Errorf("log of %s: %w", node, err))
		}
		j.See("lines", int64(n))
	}
	for _, node := range run.Nodes {
		if _, ok := run.Logs[node]; !ok {
			j.Doubt("there is no log of %s", node)
		}
	}
	return j.Result()
}

func alarming(line []byte) bool {
	return slices.ContainsFunc(alarms, func(a []byte) bool { return bytes.Contains(line, a) }) || stack.Match(line)
}
