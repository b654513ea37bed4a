package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// FaultFSAvailable says why this process cannot have file systems that fail, nil if it can.
func FaultFSAvailable() error {
	if os.Geteuid() != 0 {
		return errors.New("a file system that fails needs root, to mount it")
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("a file system that fails needs FUSE: %w", err)
	}
	return f.Close()
}

// FaultFS shows a directory at another place and fails as it is told, while processes use it there. Its methods may be
// called from several goroutines. The process that has it must not map its files into memory, and should not use it at all.
type FaultFS struct {
	backing, mount string
	server         *fuse.Server
	rules          rules
	unsynced       unsynced
	counts         counters

	once     sync.Once
	closed   chan struct{} // ends what is slow
	closeErr error
}

type counters struct{ reads, writes, syncs atomic.Int64 }

// Counts are calls that reached a FaultFS, failed ones included.
type Counts struct {
	Reads, Writes, Syncs int64
}

// NewFaultFS mounts the directory backing at mount; both are made if need be.
func NewFaultFS(backing, mount string) (*FaultFS, error) {
	f := &FaultFS{backing: backing, mount: mount, unsynced: unsynced{files: map[uint64]*pages{}}, closed: make(chan struct{})}
	if err := f.start(); err != nil {
		return nil, fmt.Errorf("show %s at %s: %w", backing, mount, err)
	}
	return f, nil
}

func (f *FaultFS) start() error {
	for _, dir := range []string{f.backing, f.mount} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(f.backing, &st); err != nil {
		return err
	}
	data := &fusefs.LoopbackRoot{Path: f.backing, Dev: st.Dev}
	root := &node{LoopbackNode: &fusefs.LoopbackNode{RootData: data}, fs: f}
	data.RootNode = root
	var none time.Duration // names and sizes are asked for every time: damage at rest goes past this file system
	var err error
	f.server, err = fusefs.Mount(f.mount, root, &fusefs.Options{
		EntryTimeout: &none, AttrTimeout: &none, NegativeTimeout: &none,
		MountOptions: fuse.MountOptions{
			DirectMountStrict: true, FsName: f.backing, Name: "fault", MaxWrite: 1 << 20,
			Logger: log.New(io.Discard, "", 0),
		},
	})
	return errors.Join(err, keepConnections())
}

// keepConnections keeps this process' connections to the kernel from the processes that it starts: one that holds such a
// connection while it waits for an answer of the file system would wait for ever once this process is gone.
func keepConnections() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range open {
		fd, err := strconv.Atoi(e.Name())
		if to, gone := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && gone == nil && to == "/dev/fuse" {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// Dir is where the directory is shown.
func (f *FaultFS) Dir() string { return f.mount }

// Begin puts a rule in force. Of several for one call the first one counts.
func (f *FaultFS) Begin(r Rule) *Active { return f.rules.begin(r) }

// Counts gives what was asked of the file system so far.
func (f *FaultFS) Counts() Counts {
	return Counts{Reads: f.counts.reads.Load(), Writes: f.counts.writes.Load(), Syncs: f.counts.syncs.Load()}
}

// Drop takes back what syncs that failed did not bring to the disk, as the next start of the machine shows it, and gives
// the number of pages. Nothing uses the files meanwhile. What was written without any sync stays, as it does when a process
// is killed.
func (f *FaultFS) Drop() (pages int, err error) {
	pages, err = f.unsynced.drop(f.backing, func(i fs.FileInfo) uint64 { return i.Sys().(*syscall.Stat_t).Ino })
	if err != nil {
		return pages, fmt.Errorf("drop what was not synced in %s: %w", f.backing, err)
	}
	return pages, nil
}

// Close unmounts. Processes that still use the files get errors from then on. It may be called again.
func (f *FaultFS) Close() error {
	f.once.Do(func() {
		close(f.closed)
		f.closeErr = unmount(f.mount, 0, busyFor)
		if errors.Is(f.closeErr, unix.EBUSY) {
			_ = unix.Unmount(f.mount, unix.MNT_FORCE) // ends the connection; says busy all the same
			f.closeErr = unmount(f.mount, unix.MNT_DETACH, busyFor)
		}
		if f.closeErr == nil {
			f.server.Wait()
		}
	})
	return f.closeErr
}

// node is a file or directory.
type node struct {
	*fusefs.LoopbackNode
	fs *FaultFS
}

// WrapChild makes what is found in a directory fail as the directory does.
func (n *node) WrapChild(_ context.Context, child fusefs.InodeEmbedder) fusefs.InodeEmbedder {
	if l, ok := child.(*fusefs.LoopbackNode); ok {
		return &node{LoopbackNode: l, fs: n.fs}
	}
	return child
}

// handle is an open file. It must not be handed to the kernel to go past us.
type handle struct {
	*fusefs.LoopbackFile
}

// PassthroughFd is none: reads and writes come here.
func (handle) PassthroughFd() (int, bool) { return 0, false }

// dirHandle is an open directory.
type dirHandle struct {
	stream
	node *node
}

type stream interface {
	fusefs.FileReaddirenter
	fusefs.FileSeekdirer
	fusefs.FileReleasedirer
	fusefs.FileFsyncdirer
}

// file is the name below the root, as rules have it.
func (n *node) file() string { return n.Path(n.Root()) }

func (n *node) backing() string { return n.fs.backing + "/" + n.file() }

func (n *node) inode() uint64 { return n.StableAttr().Ino }

// size gives the length of an open file.
func size(h fusefs.FileHandle) (int64, syscall.Errno) {
	var out fuse.AttrOut
	g, ok := h.(fusefs.FileGetattrer)
	if !ok {
		return 0, syscall.EBADF
	}
	errno := g.Getattr(context.Background(), &out)
	return int64(out.Size), errno
}

// Open opens a file.
func (n *node) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_TRUNC != 0 {
		n.resize(0)
	}
	h, more, errno := n.LoopbackNode.Open(ctx, readable(flags))
	return wrap(h), more, errno
}

// Create makes and opens a file. A full disk has no place for its name.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	child, h, more, errno := n.LoopbackNode.Create(ctx, name, readable(flags), mode, out)
	if errno == 0 {
		n.fs.unsynced.forget(child.StableAttr().Ino) // the number may have been another file's
	}
	return child, wrap(h), more, errno
}

// readable lets us read what a process opened for writing only: the kernel sees to it that the process does not.
func readable(flags uint32) uint32 {
	if flags&syscall.O_ACCMODE == syscall.O_WRONLY {
		return flags&^syscall.O_ACCMODE | syscall.O_RDWR
	}
	return flags
}

func wrap(h fusefs.FileHandle) fusefs.FileHandle {
	if l, ok := h.(*fusefs.LoopbackFile); ok {
		return handle{l}
	}
	return h
}

// OpendirHandle opens a directory.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	h, more, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if s, ok := h.(stream); ok && errno == 0 {
		return dirHandle{s, n}, more, errno
	}
	return h, more, errno
}

// Read reads.
func (n *node) Read(ctx context.Context, h fusefs.FileHandle, dest []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	n.fs.counts.reads.Add(1)
	if n.fs.rules.bite(ReadFails, n.file()) != nil {
		return nil, syscall.EIO
	}
	r, ok := h.(fusefs.FileReader)
	if !ok {
		return nil, syscall.EBADF
	}
	return r.Read(ctx, dest, offset)
}

// Write writes all, the half, or what there is space for.
func (n *node) Write(ctx context.Context, h fusefs.FileHandle, data []byte, offset int64) (uint32, syscall.Errno) {
	n.fs.counts.writes.Add(1)
	w, ok := h.(fusefs.FileWriter)
	before, errno := size(h)
	if !ok || errno != 0 {
		return 0, syscall.EBADF
	}
	file, torn := n.file(), false
	if torn = n.fs.rules.bite(WriteTorn, file) != nil; torn {
		data = data[:len(data)/2]
	}
	if more := offset + int64(len(data)) - before; more > 0 {
		if given := n.fs.rules.grow(file, more); given < more {
			data = data[:max(int64(len(data))-(more-given), 0)]
			if len(data) == 0 {
				return 0, syscall.ENOSPC
			}
		}
	}
	if err := n.fs.unsynced.write(n.inode(), readerAt{h}, before, offset, int64(len(data))); err != nil {
		return 0, fusefs.ToErrno(err)
	}
	written, errno := w.Write(ctx, data, offset)
	if torn && errno == 0 {
		return 0, syscall.EIO
	}
	return written, errno
}

// readerAt reads an open file.
type readerAt struct{ fusefs.FileHandle }

// ReadAt reads.
func (r readerAt) ReadAt(b []byte, offset int64) (int, error) {
	f, ok := r.FileHandle.(fusefs.FileReader)
	if !ok {
		return 0, syscall.EBADF
	}
	result, errno := f.Read(context.Background(), b, offset)
	if errno != 0 {
		return 0, errno
	}
	defer result.Done()
	got, status := result.Bytes(b)
	if !status.Ok() {
		return 0, syscall.Errno(status)
	}
	copy(b, got)
	if len(got) < len(b) {
		return len(got), io.EOF
	}
	return len(got), nil
}

// Fsync syncs a file.
func (n *node) Fsync(ctx context.Context, h fusefs.FileHandle, flags uint32) syscall.Errno {
	before, errno := size(h)
	if errno != 0 {
		return errno
	}
	switch errno := n.sync(ctx); errno {
	case 0:
	case syscall.EINTR: // it is asked for again, and nothing is lost: a signal came for one of the process's threads, or its end
		return errno
	default:
		n.fs.unsynced.fail(n.inode(), before)
		return errno
	}
	s, ok := h.(fusefs.FileFsyncer)
	if !ok {
		return syscall.EBADF
	}
	if errno = s.Fsync(ctx, flags); errno == 0 {
		n.fs.unsynced.synced(n.inode(), before)
	}
	return errno
}

// Fsyncdir syncs a directory.
func (d dirHandle) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	if errno := d.node.sync(ctx); errno != 0 {
		return errno
	}
	return d.stream.Fsyncdir(ctx, flags)
}

// sync is what comes before a sync: the wait, or the failure.
func (n *node) sync(ctx context.Context) syscall.Errno {
	n.fs.counts.syncs.Add(1)
	file := n.file()
	if n.fs.rules.bite(SyncFails, file) != nil {
		return syscall.EIO
	}
	slow := n.fs.rules.bite(SyncSlow, file)
	if slow == nil {
		return 0
	}
	t := time.NewTimer(slow.rule.Delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-n.fs.closed:
	case <-ctx.Done(): // a signal came
		return syscall.EINTR
	}
	return 0
}

// Setattr changes attributes; the length among them is a matter of space.
func (n *node) Setattr(ctx context.Context, h fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if to, ok := in.GetSize(); ok {
		if errno := n.resize(int64(to)); errno != 0 {
			return errno
		}
	}
	return n.LoopbackNode.Setattr(ctx, h, in, out)
}

// resize is to be called before the length of a file is set.
func (n *node) resize(to int64) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Lstat(n.backing(), &st); err != nil {
		return fusefs.ToErrno(err)
	}
	switch more := to - st.Size; {
	case more > 0:
		if given := n.fs.rules.grow(n.file(), more); given < more {
			n.fs.rules.shrink(n.file(), given)
			return syscall.ENOSPC
		}
	case more < 0:
		n.fs.rules.shrink(n.file(), -more)
	}
	n.fs.unsynced.cut(n.inode(), st.Size, to)
	return 0
}

// Allocate is not there: files get their space when they are written.
func (n *node) Allocate(context.Context, fusefs.FileHandle, uint64, uint64, uint32) syscall.Errno {
	return syscall.ENOTSUP
}

// CopyFileRange is not there: the kernel reads and writes instead.
func (n *node) CopyFileRange(
	context.Context, fusefs.FileHandle, uint64, *fusefs.Inode, fusefs.FileHandle, uint64, uint64, uint64,
) (uint32, syscall.Errno) {
	return 0, syscall.ENOSYS
}

// Unlink deletes a name; the space of the file is given back, also where a process has it open yet.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	gone := n.replaced(name)
	errno := n.LoopbackNode.Unlink(ctx, name)
	if errno == 0 {
		gone()
	}
	return errno
}

// Rename moves a name, over another one if that is there.
func (n *node) Rename(ctx context.Context, name string, parent fusefs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	gone := func() {}
	if p, ok := parent.(*node); ok && flags == 0 {
		gone = p.replaced(newName)
	}
	errno := n.LoopbackNode.Rename(ctx, name, parent, newName, flags)
	if errno == 0 {
		gone()
	}
	return errno
}

// replaced looks at a name that is about to go, and gives what to do when it has gone.
func (n *node) replaced(name string) (gone func()) {
	var st syscall.Stat_t
	err := syscall.Lstat(n.backing()+"/"+name, &st)
	if err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Nlink > 1 {
		return func() {}
	}
	file := n.file() + "/" + name
	if n.file() == "" {
		file = name
	}
	return func() {
		n.fs.rules.shrink(file, st.Size)
		n.fs.unsynced.forget(st.Ino)
	}
}

// Statfs tells the space that is left.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	errno := n.LoopbackNode.Statfs(ctx, out)
	if left, limited := n.fs.rules.space(n.file()); limited && errno == 0 {
		blocks := uint64(left) / uint64(max(out.Frsize, 1))
		out.Bavail, out.Bfree = min(out.Bavail, blocks), min(out.Bfree, blocks)
	}
	return errno
}
