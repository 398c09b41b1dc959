package linux

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// chunk is how much is read or written at once. It is a multiple of every drive's sectors.
const chunk = 4 << 20

// device is an open disk. In tests it is a file.
type device struct {
	*os.File
	block bool
	size  int64
}

// open opens a disk; for writing only one that nothing else uses: a mounted one, or one of an array, is
// refused by the kernel.
func open(path string, flags int) (*device, error) {
	if flags&os.O_RDWR != 0 {
		flags |= unix.O_EXCL
	}
	f, err := os.OpenFile(path, flags|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EINVAL) && flags&unix.O_DIRECT != 0 && !isBlock(path) { // a file in memory knows no direct way
		f, err = os.OpenFile(path, flags&^unix.O_DIRECT, 0)
	}
	if err != nil {
		return nil, err
	}
	d := &device{File: f}
	info, err := f.Stat()
	if err == nil {
		d.block, d.size = info.Mode()&os.ModeDevice != 0, info.Size()
	}
	if err == nil && d.block {
		err = d.ioctl(unix.BLKGETSIZE64, unsafe.Pointer(&d.size)) //nolint:gosec // the kernel writes eight bytes there
	}
	if err == nil && d.size == 0 {
		err = errors.New("it has no size")
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func isBlock(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeDevice != 0
}

func (d *device) ioctl(request uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, d.Fd(), request, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// span is an argument of the ioctls that work on a part of a disk.
func (d *device) span(request uintptr, at, n int64) error {
	r := [2]uint64{uint64(at), uint64(n)}
	return d.ioctl(request, unsafe.Pointer(&r)) //nolint:gosec // the kernel reads sixteen bytes there
}

// The ioctls of block devices that package unix does not name.
const (
	blkDiscard = 0x1277
	blkZeroOut = 0x127f
)

// discard tells the drive that nothing on it is needed any more.
func (d *device) discard() error {
	if !d.block {
		return unix.Fallocate(int(d.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, d.size)
	}
	return d.span(blkDiscard, 0, d.size)
}

// zero makes a part of the disk zeroes; the kernel asks the drive to do it where it can.
func (d *device) zero(at, n int64) error {
	if d.block {
		return d.span(blkZeroOut, at, n)
	}
	_, err := io.CopyN(io.NewOffsetWriter(d, at), zeroes{}, n)
	return err
}

// settle has everything on the disk and nothing of it in memory.
func (d *device) settle() error {
	if err := d.Sync(); err != nil {
		return err
	}
	if d.block {
		return d.ioctl(unix.BLKFLSBUF, nil)
	}
	return nil
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// buffer is memory that reading past the page cache needs: it begins at a page.
func buffer() ([]byte, func(), error) {
	b, err := unix.Mmap(-1, 0, chunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("memory of %d bytes: %w", chunk, err)
	}
	return b, func() { _ = unix.Munmap(b) }, nil
}

// readAt fills b from a disk, and allows that it ends there.
func readAt(d *device, b []byte, at int64) (int, error) {
	n, err := d.ReadAt(b[:min(int64(len(b)), d.size-at)], at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
