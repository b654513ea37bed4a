package chaos

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// LimitFiles makes every write of the process fail that would make a file larger than the given bytes: what a failing
// disk looks like to a program that only appends. It holds until the process ends.
func (p *Process) LimitFiles(bytes uint64) error {
	limit := unix.Rlimit{Cur: bytes, Max: bytes}
	if err := unix.Prlimit(p.Pid(), unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		return fmt.Errorf("limit the files of process %d: %w", p.Pid(), err)
	}
	return nil
}
