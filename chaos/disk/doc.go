// Package disk owns faults of disks: a volume whose power can be cut, so that it forgets what was not synced; a file system
// that fails when it is told to; damage of files while nothing has them open. It promises that what it mounts is unmounted
// again by Close, also after failures, and that every fault counts what it did. It must not know the engine: parts of a
// node's data directory are known by their names alone.
//
// What mounts needs Linux and root: ask VolumesAvailable and FaultFSAvailable.
package disk
