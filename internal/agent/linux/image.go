package linux

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"github.com/cagenut/cagenut/internal/agent"
	"github.com/cagenut/cagenut/internal/bootproto"
)

// head is the part of an image that is written last: until the whole is there and proved, its disk holds
// no partition table, and nothing boots from it.
const head = 1 << 20

// WriteImage streams an image to a disk: what was fetched must have the SHA-256 that was promised, and
// what is read back past the page cache must be what was written.
func (m *Machine) WriteImage(ctx context.Context, args bootproto.ImageArgs, say agent.Say) (bootproto.ImageResult, error) {
	disks, err := m.chosen(args.Disks)
	if err != nil {
		return bootproto.ImageResult{}, err
	}
	if len(disks) != 1 {
		return bootproto.ImageResult{}, fmt.Errorf("an image goes to one disk, and %d are named", len(disks))
	}
	if sum, err := hex.DecodeString(args.SHA256); err != nil || len(sum) != sha256.Size {
		return bootproto.ImageResult{}, fmt.Errorf("sha256 %q: want 64 hexadecimal digits: no image is written unproved", args.SHA256)
	}
	d := disks[0]
	f, err := open(d.dev, os.O_RDWR)
	if err != nil {
		return bootproto.ImageResult{}, err
	}
	defer f.Close()
	from := fetch(ctx, m.o.HTTP, args.URL, func(err error) { m.o.Log.Warn("the image does not come: trying again", "error", err) })
	defer from.Close()
	file, content := sha256.New(), sha256.New()
	source := bufio.NewReaderSize(io.TeeReader(from, file), 1<<20)
	image, err := unpack(source)
	if err != nil {
		return bootproto.ImageResult{}, err
	}
	first, size, err := f.write(ctx, io.TeeReader(image, content), func(n int64) {
		if from.size > 0 {
			progress(say, fmt.Sprintf("writes %s (%d MB)", d.Path, n/1e6), from.at, from.size)
		} else {
			say(fmt.Sprintf("writes %s: %d MB", d.Path, n/1e6), -1)
		}
	})
	if err != nil {
		return bootproto.ImageResult{}, fmt.Errorf("write %s: %w", d.Path, err)
	}
	if _, err := io.Copy(io.Discard, source); err != nil { // what stands behind the packed image counts too
		return bootproto.ImageResult{}, err
	}
	if got := hex.EncodeToString(file.Sum(nil)); !strings.EqualFold(got, args.SHA256) {
		return bootproto.ImageResult{}, fmt.Errorf("the image has SHA-256 %s, and %s was promised: nothing on %s boots", got, args.SHA256, d.Path)
	}
	if _, err := f.WriteAt(first, 0); err != nil {
		return bootproto.ImageResult{}, fmt.Errorf("write the head of %s: %w", d.Path, err)
	}
	if err := f.settle(); err != nil {
		return bootproto.ImageResult{}, fmt.Errorf("write %s: %w", d.Path, err)
	}
	back, err := readBack(ctx, d, size, say)
	if err == nil && !bytes.Equal(back, content.Sum(nil)) {
		err = fmt.Errorf("what is read back of %s has SHA-256 %x, and %x was written: the drive does not keep what it is given", d.Path, back, content.Sum(nil))
	}
	if err != nil {
		return bootproto.ImageResult{}, errors.Join(err, f.zero(0, min(head, f.size)), f.settle())
	}
	return bootproto.ImageResult{SHA256: strings.ToLower(args.SHA256), Content: hex.EncodeToString(back), Bytes: size}, nil
}

// unpack gives the raw image, by how its file begins.
func unpack(r *bufio.Reader) (io.Reader, error) {
	magic, err := r.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	begins := func(s string) bool { return strings.HasPrefix(string(magic), s) }
	switch {
	case len(magic) == 0:
		return nil, errors.New("the image is empty")
	case begins("\x1f\x8b"):
		return gzip.NewReader(r)
	case begins("\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return z, nil
	case begins("\xfd7zXZ\x00"):
		return xz.NewReader(r)
	case begins("QFI\xfb"):
		return nil, errors.New("the image is in qcow2: convert it with qemu-img convert -O raw")
	case begins("BZh"), begins("PK\x03\x04"):
		return nil, errors.New("the image is packed with bzip2 or zip: use a raw one, or gzip, zstd or xz")
	}
	return r, nil
}

// write puts an image on the disk but for its head, which is given back; the disk's own is made zeroes.
func (d *device) write(ctx context.Context, from io.Reader, told func(int64)) (first []byte, size int64, err error) {
	if err := d.zero(0, min(head, d.size)); err != nil {
		return nil, 0, err
	}
	b := make([]byte, chunk)
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		n, err := io.ReadFull(from, b)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, 0, fmt.Errorf("at byte %d of the image: %w", size, err)
		}
		if size+int64(n) > d.size {
			return nil, 0, fmt.Errorf("the image is larger than the disk, which has %d bytes", d.size)
		}
		data, at := b[:n], size
		if size == 0 {
			first = bytes.Clone(data[:min(len(data), head)])
			data, at = data[len(first):], int64(len(first))
		}
		if _, err := d.WriteAt(data, at); err != nil {
			return nil, 0, err
		}
		size += int64(n)
		told(size)
		if err != nil {
			if size == 0 {
				return nil, 0, errors.New("the image is empty")
			}
			return first, size, nil
		}
	}
}

// readBack gives the SHA-256 of what a disk begins with, past the page cache.
func readBack(ctx context.Context, d drive, size int64, say agent.Say) ([]byte, error) {
	f, err := open(d.dev, os.O_RDONLY|unix.O_DIRECT)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, free, err := buffer()
	if err != nil {
		return nil, err
	}
	defer free()
	sum := sha256.New()
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := readAt(f, b, at)
		if err != nil {
			return nil, fmt.Errorf("read back %s at byte %d: %w", d.Path, at, err)
		}
		n = int(min(int64(n), size-at))
		sum.Write(b[:n])
		at += int64(n)
		progress(say, "reads back "+d.Path, at, size)
	}
	return sum.Sum(nil), nil
}
