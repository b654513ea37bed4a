package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/raftstream/raftstream/internal/failpoint"
)

// Set by the linker (see Makefile); a plain go build leaves them as they are here.
var (
	version = "dev"
	commit  = ""
)

// commitID is the commit that the binary was built from, as far as it is known.
func commitID() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// buildID identifies the binary that runs: one batch runs on executors of one build only. It is a hash of the file,
// because two builds of one commit may still differ.
func buildID() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this binary: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read this binary: %w", err)
	}
	defer f.Close() // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read this binary: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

func (e *env) versionCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: "  raftstream version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if g.output == "json" {
				return printJSON(e.out, struct {
					Version string `json:"version"`
					Commit  string `json:"commit"`
					Go      string `json:"go"`
					// Failpoints are those of a binary that is built for tests of failures.
					Failpoints []failpoint.Point `json:"failpoints,omitempty"`
				}{version, commitID(), runtime.Version(), points()})
			}
			_, err := fmt.Fprintf(e.out, "raftstream %s, commit %s, %s %s/%s\n", version, commitID(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func points() []failpoint.Point {
	if !failpoint.Enabled {
		return nil
	}
	return failpoint.All()
}
