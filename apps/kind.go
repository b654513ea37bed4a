package apps

import (
	"fmt"
	"strings"
	"time"
)

// kind says of what words are counted: of each batch, of a window, or of all batches since the start.
type kind struct {
	window, slide time.Duration // no window where 0
	running       bool
}

// kindOf reads the parameters window ("length/slide") and running.
func kindOf(window string, running bool) (kind, error) {
	k := kind{running: running}
	switch {
	case window == "":
		return k, nil
	case running:
		return k, fmt.Errorf("parameter window: %q together with running: expected one of them", window)
	}
	length, slide, _ := strings.Cut(window, "/")
	var err error
	if k.window, err = time.ParseDuration(length); err == nil {
		k.slide, err = time.ParseDuration(slide)
	}
	if err != nil || k.window <= 0 {
		return k, fmt.Errorf("parameter window: %q, expected length/slide, such as 30s/1s", window)
	}
	return k, nil
}
