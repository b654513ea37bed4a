//go:build !linux

package disk

import (
	"errors"
	"fmt"
)

var errNotHere = fmt.Errorf("volumes and file systems that fail are there on Linux only: %w", errors.ErrUnsupported)

// VolumesAvailable says why this process cannot have volumes.
func VolumesAvailable() error { return errNotHere }

// FaultFSAvailable says why this process cannot have file systems that fail.
func FaultFSAvailable() error { return errNotHere }

// Sweep finds nothing.
func Sweep(string) ([]string, error) { return nil, nil }

// Volume is there on Linux only.
type Volume struct{}

// NewVolume is there on Linux only.
func NewVolume(string, int64) (*Volume, error) { return nil, errNotHere }

// Dir is where the volume is used.
func (v *Volume) Dir() string { return "" }

// Cut cuts the power.
func (v *Volume) Cut() error { return errNotHere }

// Remount gives the power back.
func (v *Volume) Remount() (bool, error) { return false, errNotHere }

// Fill takes space.
func (v *Volume) Fill(int64) error { return errNotHere }

// Free gives it back.
func (v *Volume) Free() error { return errNotHere }

// Left gives the bytes that are free.
func (v *Volume) Left() (int64, error) { return 0, errNotHere }

// Close unmounts.
func (v *Volume) Close() error { return nil }

// FaultFS is there on Linux only.
type FaultFS struct{}

// Counts are calls that reached a FaultFS.
type Counts struct {
	Reads, Writes, Syncs int64
}

// NewFaultFS is there on Linux only.
func NewFaultFS(string, string) (*FaultFS, error) { return nil, errNotHere }

// Dir is where the directory is shown.
func (f *FaultFS) Dir() string { return "" }

// Begin puts a rule in force.
func (f *FaultFS) Begin(r Rule) *Active { return (&rules{}).begin(r) }

// Counts gives what was asked of the file system.
func (f *FaultFS) Counts() Counts { return Counts{} }

// Drop takes back what was not synced.
func (f *FaultFS) Drop() (int, error) { return 0, errNotHere }

// Close unmounts.
func (f *FaultFS) Close() error { return nil }
