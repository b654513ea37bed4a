package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

const (
	// sectorSize is what a disk writes whole or not at all.
	sectorSize = 512
	// tornBlock is how much of a file's end TearWrite takes for the last write, where it is not told.
	tornBlock = 4096
)

// Damage is what was done to a file while nothing had it open.
type Damage struct {
	File string
	What string  // "bits flipped", "bytes cut", "sectors torn", "files removed"
	N    int64   // how many
	At   []int64 // offsets in bytes, in order; of a cut the new end
}

// String says it in a line.
func (d Damage) String() string {
	const most = 8
	at, more := d.At, ""
	if len(at) > most {
		at, more = at[:most], " and more"
	}
	return fmt.Sprintf("%s: %d %s at %v%s", d.File, d.N, d.What, at, more)
}

// FlipBits flips n different bits of a file.
func FlipBits(path string, n int, seed uint64) (Damage, error) {
	d := Damage{File: path, What: "bits flipped"}
	err := change(path, func(f *os.File, size int64) error {
		r := rand.New(rand.NewPCG(seed, 1))
		bits := map[int64]bool{}
		for int64(len(bits)) < min(int64(n), size*8) {
			bits[r.Int64N(size*8)] = true
		}
		b := make([]byte, 1)
		for bit := range bits {
			if _, err := f.ReadAt(b, bit/8); err != nil {
				return err
			}
			b[0] ^= 1 << (bit % 8)
			if _, err := f.WriteAt(b, bit/8); err != nil {
				return err
			}
			d.At = append(d.At, bit/8)
		}
		d.N = int64(len(bits))
		return nil
	})
	slices.Sort(d.At)
	return d, err
}

// TruncateTail cuts bytes off the end of a file, all if it has not as many.
func TruncateTail(path string, bytes int64) (Damage, error) {
	d := Damage{File: path, What: "bytes cut"}
	err := change(path, func(f *os.File, size int64) error {
		d.N = min(bytes, size)
		d.At = []int64{size - d.N}
		return f.Truncate(size - d.N)
	})
	return d, err
}

// TearWrite makes the last write to a file one that reached the disk in part: some of its sectors, at least one and not all
// where there are several, are what they were before. With old, the file before that write, the sectors that differ are
// its last write, and where old has an end there were zeros; without, the last 4 KiB are, over zeros. A file that is
// as it was before is left as it is.
func TearWrite(path string, old []byte, seed uint64) (Damage, error) {
	d := Damage{File: path, What: "sectors torn"}
	err := change(path, func(f *os.File, size int64) error {
		now := make([]byte, size)
		if _, err := f.ReadAt(now, 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		written := written(now, old)
		r := rand.New(rand.NewPCG(seed, 3))
		r.Shuffle(len(written), func(i, j int) { written[i], written[j] = written[j], written[i] })
		if len(written) > 1 {
			written = written[:1+r.IntN(len(written)-1)]
		}
		for _, at := range written {
			if _, err := f.WriteAt(before(now, old, at), at); err != nil {
				return err
			}
		}
		d.At, d.N = written, int64(len(written))
		return nil
	})
	slices.Sort(d.At)
	return d, err
}

// written gives the offsets of the sectors of the last write.
func written(now, old []byte) (sectors []int64) {
	from := int64(0)
	if old == nil {
		from = max(int64(len(now))-1, 0) / tornBlock * tornBlock
	}
	for at := from; at < int64(len(now)); at += sectorSize {
		if !bytes.Equal(before(now, old, at), now[at:min(at+sectorSize, int64(len(now)))]) {
			sectors = append(sectors, at)
		}
	}
	return sectors
}

// before gives what a sector held before the last write.
func before(now, old []byte, at int64) []byte {
	sector := make([]byte, min(sectorSize, int64(len(now))-at))
	if at < int64(len(old)) {
		copy(sector, old[at:])
	}
	return sector
}

// Wipe removes everything in a directory, as a new disk has it. The directory itself stays: it may be a mount point.
func Wipe(dir string) (Damage, error) {
	d := Damage{File: dir, What: "files removed"}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return d, fmt.Errorf("wipe: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		err := filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				d.N++
			}
			return err
		})
		if err = errors.Join(err, os.RemoveAll(path)); err != nil {
			return d, fmt.Errorf("wipe %s: %w", dir, err)
		}
	}
	return d, nil
}

// change opens a file for damage and syncs it.
func change(path string, how func(f *os.File, size int64) error) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("damage: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("damage %s: %w", path, err)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return errors.New("it is empty")
	}
	return errors.Join(how(f, info.Size()), f.Sync())
}
