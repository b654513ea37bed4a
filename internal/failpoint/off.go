//go:build !failpoints

package failpoint

// Enabled says whether points act in this binary.
const Enabled = false

// Hit says that the process is at a point. Here nothing happens.
func Hit(Point) {}
