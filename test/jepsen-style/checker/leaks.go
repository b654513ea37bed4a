package checker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Sample is what a process held at a time.
type Sample struct {
	Node    string  `json:"node"`
	Start   int     `json:"start"`   // which run of the process: a new one holds nothing of the old one
	Seconds float64 `json:"seconds"` // since the start of the run
	Memory  int64   `json:"memory_bytes"`
	Files   int64   `json:"files"`
}

// Growth is how much of each thing a process may get more of per hour, by the slope over its samples.
type Growth struct {
	Memory float64 // bytes
	Files  float64
}

// leakSamples is how many samples of one process tell a slope from noise.
const leakSamples = 10

// LoadSamples reads samples, one JSON object a line.
func LoadSamples(path string) ([]Sample, error) {
	var all []Sample
	err := linesOf(path, func(line []byte) error {
		var s Sample
		if err := json.Unmarshal(line, &s); err != nil {
			return fmt.Errorf("%s: sample %q: %w", path, line, err)
		}
		all = append(all, s)
		return nil
	})
	return all, err
}

// Leaks checks that no process holds more and more: the slope of each thing stays below the limit per hour. The first
// third of a process' samples is left out, in which it gets warm. Processes whose other samples span less than least are
// counted as "too short", and not judged.
func Leaks(samples []Sample, least time.Duration, limit Growth) Result {
	j := Judging("leaks", "")
	by := map[string][]Sample{}
	for _, s := range samples {
		key := fmt.Sprintf("%s, start %d", s.Node, s.Start)
		by[key] = append(by[key], s)
	}
	for _, key := range slices.Sorted(maps.Keys(by)) {
		all := by[key]
		slices.SortFunc(all, func(a, b Sample) int { return cmp.Compare(a.Seconds, b.Seconds) })
		all = all[len(all)/3:]
		if len(all) < leakSamples || all[len(all)-1].Seconds-all[0].Seconds < least.Seconds() {
			j.Found.Counts["too short"]++
			continue
		}
		for _, thing := range []struct {
			name  string
			limit float64
			of    func(Sample) int64
		}{
			{"bytes of memory", limit.Memory, func(s Sample) int64 { return s.Memory }},
			{"files", limit.Files, func(s Sample) int64 { return s.Files }},
		} {
			j.See("slopes", 1)
			if grows := slope(all, thing.of) * 3600; grows > thing.limit {
				j.Bad("%s gets %.0f %s more per hour, expected %.0f at most", key, grows, thing.name, thing.limit)
			}
		}
	}
	return j.Result()
}

// slope is that of the line with the least squares, per second.
func slope(all []Sample, of func(Sample) int64) float64 {
	var t, v, tt, tv float64
	n := float64(len(all))
	for _, s := range all {
		x, y := s.Seconds-all[0].Seconds, float64(of(s))
		t, v, tt, tv = t+x, v+y, tt+x*x, tv+x*y
	}
	if d := n*tt - t*t; d > 0 {
		return (n*tv - t*v) / d
	}
	return 0
}
