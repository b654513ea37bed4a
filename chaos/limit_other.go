//go:build !linux

package chaos

import (
	"errors"
	"fmt"
)

// LimitFiles is there on Linux only.
func (p *Process) LimitFiles(uint64) error {
	return fmt.Errorf("limit the files of process %d: %w", p.Pid(), errors.ErrUnsupported)
}
