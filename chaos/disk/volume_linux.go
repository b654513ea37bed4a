package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// shutdownIoctl ends all traffic of a mounted ext4 (EXT4_IOC_SHUTDOWN); noLogFlush leaves the journal in memory unwritten,
	// as a power cut does.
	shutdownIoctl = 0x8004587d
	noLogFlush    = 2

	// mountOptions let the file system keep to itself for long what it was not told to sync: it may.
	mountOptions = "commit=60,noauto_da_alloc"

	// busyFor is how long a file system may be busy after its users have ended, before that is an error.
	busyFor   = 10 * time.Second
	busyEvery = 20 * time.Millisecond

	dataName    = "data"
	fillName    = "fill"
	witnessName = "witness"
)

// VolumesAvailable says why this process cannot have volumes, nil if it can.
func VolumesAvailable() error {
	if os.Geteuid() != 0 {
		return errors.New("volumes need root, to mount them")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return fmt.Errorf("volumes need mkfs.ext4: %w", err)
	}
	f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("volumes need loop devices: %w", err)
	}
	return f.Close()
}

// Volume is a small disk with an ext4 file system: a file, behind a loop device, mounted. What a power cut takes from it is
// what was not synced and not yet written by the kernel; it has no cache of its own that could forget more. Its methods may
// be called from several goroutines.
type Volume struct {
	image, mount string

	mu      sync.Mutex
	mounted bool
	witness bool // an unsynced file was there at the cut
}

// NewVolume makes a volume of so many bytes with its image and its mount point below dir, and mounts it.
func NewVolume(dir string, bytes int64) (_ *Volume, err error) {
	v := &Volume{image: filepath.Join(dir, "image"), mount: filepath.Join(dir, "mount")}
	defer func() {
		if err != nil {
			err = fmt.Errorf("make a volume in %s: %w", dir, errors.Join(err, v.Close()))
		}
	}()
	if err := os.MkdirAll(v.mount, 0o755); err != nil {
		return nil, err
	}
	if err := sparse(v.image, bytes); err != nil {
		return nil, err
	}
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", v.image).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("mkfs.ext4: %w: %s", err, strings.TrimSpace(string(out)))
	}
	if err := v.attach(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(v.Dir(), 0o755); err != nil {
		return nil, err
	}
	return v, v.sync()
}

func sparse(path string, bytes int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(bytes), f.Close())
}

// Dir is an empty directory on the volume, for what is to be put to the test. It is there after every cut.
func (v *Volume) Dir() string { return filepath.Join(v.mount, dataName) }

// attach puts the image behind a free loop device and mounts that. The device detaches itself when it is unmounted.
func (v *Volume) attach() error {
	image, err := os.OpenFile(v.image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer image.Close()
	loop, err := freeLoop(image)
	if err != nil {
		return err
	}
	defer loop.Close()
	if err := unix.Mount(loop.Name(), v.mount, "ext4", 0, mountOptions); err != nil {
		return fmt.Errorf("mount %s at %s: %w", loop.Name(), v.mount, err)
	}
	v.mounted = true
	return nil
}

// freeLoop puts a file behind a loop device. Others take devices at the same time, so it tries more than one.
func freeLoop(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		c := unix.LoopConfig{Fd: uint32(image.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &c)
		if err == nil {
			return loop, nil
		}
		if err = errors.Join(err, loop.Close()); !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach %s to %s: %w", image.Name(), loop.Name(), err)
		}
	}
	return nil, errors.New("no loop device stays free long enough to be taken")
}

func (v *Volume) sync() error {
	d, err := os.Open(v.mount)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// Cut cuts the power of the disk: from now on everything on the volume fails with EIO, and what was not synced is gone. The
// processes that use it are to be killed next, as they would be by a power cut; then Remount.
func (v *Volume) Cut() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := os.WriteFile(filepath.Join(v.mount, witnessName), []byte("not synced"), 0o644); err != nil {
		return fmt.Errorf("cut the power: %w", err)
	}
	d, err := os.Open(v.mount)
	if err != nil {
		return fmt.Errorf("cut the power: %w", err)
	}
	err = unix.IoctlSetPointerInt(int(d.Fd()), shutdownIoctl, noLogFlush)
	if err := errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("cut the power of %s: %w", v.mount, err)
	}
	v.witness = true
	return nil
}

// Remount gives the disk its power back. It is an error while a process uses the volume. It reports whether what was
// written just before the cut, and not synced, is gone: else the cut was none. The name of the witness proves nothing: a sync
// of another file in the same moment brings names to the disk, and no bytes.
func (v *Volume) Remount() (cut bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.detach(0); err != nil {
		return false, fmt.Errorf("give the power back: %w", err)
	}
	if err := v.attach(); err != nil {
		return false, fmt.Errorf("give the power back: %w", err)
	}
	if !v.witness {
		return false, nil
	}
	v.witness = false
	name := filepath.Join(v.mount, witnessName)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look what the power cut has left: %w", err)
	}
	return info.Size() == 0, os.Remove(name)
}

// detach unmounts the volume and waits, for a while, for those who still use it.
func (v *Volume) detach(flags int) error {
	if !v.mounted {
		return nil
	}
	if err := unmount(v.mount, flags, busyFor); err != nil {
		return err
	}
	v.mounted = false
	return nil
}

// unmount waits for users that are just ending.
func unmount(mount string, flags int, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	again := time.NewTicker(busyEvery)
	defer again.Stop()
	for {
		err := unix.Unmount(mount, flags)
		if err == nil || errors.Is(err, unix.EINVAL) { // the latter: nothing is mounted there, somebody swept
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount %s: %w", mount, err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("unmount %s: still in use after %v: %w", mount, wait, err)
		}
	}
}

// Fill takes all space of the volume but about the given bytes, to which the file system rounds up its own needs.
func (v *Volume) Fill(left int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.fill(left); err != nil {
		return fmt.Errorf("fill %s: %w", v.mount, err)
	}
	return nil
}

func (v *Volume) fill(left int64) (err error) {
	f, err := os.OpenFile(filepath.Join(v.mount, fillName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, 2)
	if err != nil {
		return err
	}
	const block = 4096
	for step := int64(1) << 40; step >= block; { // extents cost space too: what is free last is found by halving
		free, err := v.available()
		if err != nil {
			return err
		}
		step = min(step, (free-left)/block*block)
		if step <= 0 {
			return nil
		}
		err = unix.Fallocate(int(f.Fd()), 0, size, step)
		switch {
		case err == nil:
			size += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		default:
			return err
		}
	}
	return nil
}

// Left gives the bytes that are free on the volume.
func (v *Volume) Left() (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.available()
}

func (v *Volume) available() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(v.mount, &s); err != nil {
		return 0, fmt.Errorf("ask for the space of %s: %w", v.mount, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Free undoes Fill. The space is free when it returns.
func (v *Volume) Free() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := os.Remove(filepath.Join(v.mount, fillName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := errors.Join(err, v.sync()); err != nil { // freed blocks are given out again when the journal has them
		return fmt.Errorf("free %s: %w", v.mount, err)
	}
	return nil
}

// Close unmounts the volume and leaves its image. Where processes still use it, it goes from the tree of directories at
// once and from the kernel with the last of them. It may be called again.
func (v *Volume) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.detach(0); err == nil {
		return nil
	}
	return v.detach(unix.MNT_DETACH)
}

// Sweep unmounts what processes that did not come to Close have left mounted below dir, and gives the mount points.
func Sweep(dir string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("sweep %s: %w", dir, err)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	var found []string
	var errs []error
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		at := unescape(fields[4])
		if !strings.HasPrefix(at, dir+"/") {
			continue
		}
		found = append(found, at)
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", at, err))
		}
	}
	return found, errors.Join(errs...)
}

// unescape undoes what the kernel does to names in its table of mounts.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
