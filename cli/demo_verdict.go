package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// verdict holds the cluster's count against the demo's own.
type verdict struct {
	Sent       int64 `json:"sent"`       // words of the lines sent
	Counted    int64 `json:"counted"`    // words in the files of all batches
	Lost       int64 `json:"lost"`       // summed over the words that were counted too seldom
	Duplicated int64 `json:"duplicated"` // summed over the words that were counted too often
	FailoverMS int64 `json:"failover_ms"`
	Batches    int64 `json:"batches"` // completed, with or without words
	Lines      int64 `json:"lines"`   // sent and acknowledged
	LeaderMS   int64 `json:"leader_ms"`

	examples []string // words that differ
}

// good reports whether nothing is lost and nothing counted twice.
func (v *verdict) good() bool { return v.Lost == 0 && v.Duplicated == 0 }

// maxExamples bounds how many words that differ are named.
const maxExamples = 5

// compare fills in what differs, word by word.
func (v *verdict) compare(want, got map[string]int64) {
	words := make(map[string]bool, len(want))
	for w := range want {
		words[w] = true
	}
	for w := range got {
		words[w] = true
	}
	var wrong []string
	for w := range words {
		v.Counted += got[w]
		switch d := got[w] - want[w]; {
		case d < 0:
			v.Lost -= d
			wrong = append(wrong, w)
		case d > 0:
			v.Duplicated += d
			wrong = append(wrong, w)
		}
	}
	slices.Sort(wrong)
	for _, w := range wrong[:min(len(wrong), maxExamples)] {
		v.examples = append(v.examples, fmt.Sprintf("%q counted %d times, expected %d", w, got[w], want[w]))
	}
}

// sumBatches adds up the word counts in the directories of all batches of an output prefix.
func sumBatches(prefix string) (map[string]int64, error) {
	dirs, err := filepath.Glob(prefix + "-*")
	if err != nil {
		return nil, fmt.Errorf("look for batches: %w", err)
	}
	sum := make(map[string]int64)
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "_SUCCESS")); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("batch %s is not complete: it has no _SUCCESS although the application is stopped", dir)
		} else if err != nil {
			return nil, fmt.Errorf("look at batch: %w", err)
		}
		parts, err := filepath.Glob(filepath.Join(dir, "part-*"))
		if err != nil {
			return nil, fmt.Errorf("look for parts: %w", err)
		}
		for _, part := range parts {
			if err := addPart(sum, part); err != nil {
				return nil, err
			}
		}
	}
	return sum, nil
}

// maxWordLine bounds a line of a part: a word is at most a line of the text.
const maxWordLine = 4 << 20

func addPart(sum map[string]int64, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read counts: %w", err)
	}
	defer f.Close() // only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxWordLine)
	for lines.Scan() {
		word, count, ok := strings.Cut(lines.Text(), "\t")
		n, err := strconv.ParseInt(count, 10, 64)
		if !ok || err != nil {
			return fmt.Errorf("%s: line %q, expected word, tab, count", path, lines.Text())
		}
		sum[word] += n
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
