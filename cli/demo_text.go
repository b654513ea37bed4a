package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode"
)

// errEnough ends the walk over the text's files.
var errEnough = errors.New("enough lines")

// textDir is a directory with text that every Go installation has: the sources of the standard library.
func textDir(ctx context.Context, getenv func(string) (string, bool)) (string, error) {
	root, _ := getenv("GOROOT")
	if root == "" {
		out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		if err != nil {
			return "", fmt.Errorf("no text to count: go env GOROOT: %w; install Go, set GOROOT or give --text DIR", err)
		}
		root = strings.TrimSpace(string(out))
	}
	return filepath.Join(root, "src"), nil
}

// readText reads lines of the .go, .md and .txt files below dir, in the order of their names, until there are count of
// them.
func readText(dir string, count int) ([]string, error) {
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		switch filepath.Ext(path) {
		case ".go", ".md", ".txt":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if lines = append(lines, strings.TrimSuffix(line, "\n")); len(lines) == count {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("read text to count: %w", err)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("no text to count: no .go, .md or .txt file below %s; give --text DIR", dir)
	}
	return lines, nil
}

// countWords is the demo's own count of words, which the cluster's is held against. It shares no code with the
// application: words are cut by hand at white space.
func countWords(lines []string) (byWord map[string]int64, words int64) {
	byWord = make(map[string]int64)
	for _, line := range lines {
		start := -1
		for i, r := range line {
			switch {
			case unicode.IsSpace(r):
				if start >= 0 {
					byWord[line[start:i]]++
					words++
				}
				start = -1
			case start < 0:
				start = i
			}
		}
		if start >= 0 {
			byWord[line[start:]]++
			words++
		}
	}
	return byWord, words
}
