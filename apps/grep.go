package apps

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/raftstream/raftstream/dstream"
)

type grepParams struct {
	Source  string `json:"source"`        // ingest, socket:HOST:PORT, files:DIR or rate:N
	Pattern string `json:"pattern"`       // regular expression, RE2 syntax
	Out     string `json:"out,omitempty"` // prefix of text files on a path that all nodes share; else print
}

// grep keeps the lines that match a pattern.
func grep(c *dstream.Context, p grepParams) error {
	if p.Pattern == "" {
		return errors.New("parameter pattern: empty, expected a regular expression")
	}
	pattern, err := regexp.Compile(p.Pattern)
	if err != nil {
		return fmt.Errorf("parameter pattern: %w", err)
	}
	lines, err := source(c, p.Source)
	if err != nil {
		return err
	}
	write(lines.Filter(pattern.MatchString), p.Out)
	return nil
}
