package vfs

import (
	"errors"
	"fmt"
	"io/fs"
)

// SizeError says that a file is longer than what it can sensibly hold.
type SizeError struct {
	Name        string
	Size, Limit int64
}

// Error names the file, its size and the limit.
func (e *SizeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, expected at most %d", e.Name, e.Size, e.Limit)
}

// RemoveIfExists removes a file; that it is not there is no error.
func RemoveIfExists(f FS, name string) error {
	if err := f.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
