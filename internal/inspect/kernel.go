package inspect

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hookbuild/hookbuild/internal/unpack"
)

// The formats of a kernel file.
const (
	BzImage    = "bzImage"     // https://docs.kernel.org/arch/x86/boot.html
	Arm64Image = "arm64 Image" // https://docs.kernel.org/arch/arm64/booting.html
	EFIZboot   = "EFI zboot"   // drivers/firmware/efi/libstub/zboot-header.S
)

// Kernel is what a kernel file says of itself.
type Kernel struct {
	Format      string        // BzImage, Arm64Image or EFIZboot
	Arch        string        // x86_64, i386 or aarch64; "" where an EFI zboot file does not say
	Release     string        // as uname -r
	Banner      string        // release, who built it, and when
	Compression unpack.Format // of the kernel proper; "" for none
	Config      []byte        // its configuration (CONFIG_IKCONFIG); nil where there is none
	Unread      string        // why the kernel proper was not searched for Config; "" where it was
}

// KernelError says that a file is no kernel, or a damaged one.
type KernelError struct{ What string }

// Error says what is wrong.
func (e *KernelError) Error() string { return "kernel: " + e.What }

const (
	maxKernel = 256 << 20 // bytes of an unpacked kernel that are searched; today's have 100 MiB at most
	maxConfig = 4 << 20   // bytes of a configuration; today's have 300 KiB
	headSize  = 0x270     // of what is looked at first
)

// IsKernel says whether the file r is a kernel of one of the formats; it may also be gzip around an Image.
func IsKernel(r io.ReaderAt) (bool, error) {
	head, err := readHead(r)
	if err != nil {
		return false, err
	}
	if formatOf(head) != "" {
		return true, nil
	}
	inner, _ := gunzipHead(r, head) // what is damaged is no kernel
	return formatOf(inner) == Arm64Image, nil
}

// readHead reads the first bytes, fewer where the file has no more.
func readHead(r io.ReaderAt) ([]byte, error) {
	head := make([]byte, headSize)
	n, err := r.ReadAt(head, 0)
	if err == io.EOF {
		err = nil
	}
	return head[:n], err
}

// formatOf tells the format by the first bytes, "" where it is none.
func formatOf(head []byte) string {
	at := func(offset int, s string) bool {
		return len(head) >= offset+len(s) && string(head[offset:offset+len(s)]) == s
	}
	switch {
	case len(head) == headSize && at(0x1fe, "\x55\xaa") && at(0x202, "HdrS"):
		return BzImage
	case at(0, "MZ") && at(4, "zimg"):
		return EFIZboot
	case at(0x38, "ARM\x64"):
		return Arm64Image
	}
	return ""
}

// gunzipHead returns the first bytes of what a gzip file holds.
func gunzipHead(r io.ReaderAt, head []byte) ([]byte, error) {
	if unpack.Detect(head) != unpack.Gzip {
		return nil, errors.New("not gzip")
	}
	z, err := gzip.NewReader(io.NewSectionReader(r, 0, 1<<62))
	if err != nil {
		return nil, err
	}
	inner := make([]byte, headSize)
	n, err := io.ReadFull(z, inner)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return inner[:n], err
}

// ReadKernel reads the kernel r of size bytes. A file that is none is a *KernelError.
func ReadKernel(r io.ReaderAt, size int64) (*Kernel, error) {
	head, err := readHead(r)
	if err != nil {
		return nil, err
	}
	switch formatOf(head) {
	case BzImage:
		return readBzImage(r, size, head)
	case EFIZboot:
		return readZboot(r, size, head)
	case Arm64Image:
		k := &Kernel{Format: Arm64Image, Arch: "aarch64"}
		return k, k.search(io.NewSectionReader(r, 0, size), "")
	}
	inner, err := gunzipHead(r, head)
	if err == nil && formatOf(inner) == Arm64Image {
		k := &Kernel{Format: Arm64Image, Arch: "aarch64"}
		return k, k.search(io.NewSectionReader(r, 0, size), unpack.Gzip)
	}
	return nil, &KernelError{"the file is neither a bzImage nor an arm64 Image nor an EFI zboot file"}
}

// Places in a bzImage. The kernel proper has been there since version 2.08 of the boot protocol.
const (
	setupSects    = 0x1f1
	bootVersion   = 0x206
	kernelVersion = 0x20e
	xloadFlags    = 0x236
	payloadOffset = 0x248
	payloadLength = 0x24c
	sector        = 512
)

func readBzImage(r io.ReaderAt, size int64, head []byte) (*Kernel, error) {
	le := binary.LittleEndian
	k := &Kernel{Format: BzImage, Arch: "i386"}
	if le.Uint16(head[xloadFlags:])&1 != 0 {
		k.Arch = "x86_64"
	}
	sects := int64(head[setupSects])
	if sects == 0 {
		sects = 4
	}
	if at := int64(le.Uint16(head[kernelVersion:])); at != 0 {
		if at >= sects*sector {
			return nil, &KernelError{"the version is not where one may be"}
		}
		text := make([]byte, 512)
		n, err := r.ReadAt(text, at+sector)
		if err != nil && err != io.EOF {
			return nil, err
		}
		text, _, ok := bytes.Cut(text[:n], []byte{0})
		if !ok {
			return nil, &KernelError{"the version has no end"}
		}
		k.banner(string(text))
	}
	if le.Uint16(head[bootVersion:]) < 0x208 {
		k.Unread = "its boot protocol is too old to say where the kernel proper is"
		return k, nil
	}
	begin := (sects+1)*sector + int64(le.Uint32(head[payloadOffset:]))
	return k, k.payload(r, size, begin, int64(le.Uint32(head[payloadLength:])))
}

// The header of an EFI zboot file.
const (
	zbootOffset = 8
	zbootSize   = 12
	zbootType   = 24
)

func readZboot(r io.ReaderAt, size int64, head []byte) (*Kernel, error) {
	if len(head) < headSize {
		return nil, &KernelError{"the file is cut"}
	}
	le := binary.LittleEndian
	k := &Kernel{Format: EFIZboot}
	if machine := peMachine(head); machine == 0xaa64 {
		k.Arch = "aarch64"
	} else if machine == 0x8664 {
		k.Arch = "x86_64"
	}
	return k, k.payload(r, size, int64(le.Uint32(head[zbootOffset:])), int64(le.Uint32(head[zbootSize:])))
}

// peMachine is the machine of a PE file, whose header's place is at 0x3c; 0 where that is not in the head.
func peMachine(head []byte) uint16 {
	at := int(binary.LittleEndian.Uint32(head[0x3c:]))
	if at > len(head)-6 || at < 0 || string(head[at:at+4]) != "PE\x00\x00" {
		return 0
	}
	return binary.LittleEndian.Uint16(head[at+4:])
}

// payload searches the kernel proper, which is compressed and stands at begin.
func (k *Kernel) payload(r io.ReaderAt, size, begin, length int64) error {
	if begin < 0 || length <= 0 || begin+length > size {
		return &KernelError{fmt.Sprintf("the kernel proper is at %d to %d of %d bytes", begin, begin+length, size)}
	}
	section := io.NewSectionReader(r, begin, length)
	magic := make([]byte, 2)
	if _, err := section.ReadAt(magic, 0); err != nil && err != io.EOF {
		return err
	}
	return k.search(section, unpack.Detect(magic))
}

// search reads the kernel proper for its banner, where that is not known, and its configuration.
func (k *Kernel) search(r io.Reader, f unpack.Format) error {
	k.Compression = f
	file := &failing{r: r}
	err := k.searchStream(file, f)
	switch {
	case file.err != nil:
		return file.err
	case k.Release == "" && err != nil:
		return &KernelError{err.Error()}
	case k.Release == "":
		return &KernelError{"it does not say its version"}
	case err != nil:
		k.Unread = err.Error()
	}
	return nil
}

func (k *Kernel) searchStream(r io.Reader, f unpack.Format) error {
	if f == "" {
		return k.scan(bufio.NewReaderSize(io.LimitReader(r, maxKernel), scanWindow))
	}
	z, err := unpack.NewReader(bufio.NewReader(r), f)
	if err != nil {
		return err
	}
	defer z.Close()
	return k.scan(bufio.NewReaderSize(io.LimitReader(z, maxKernel), scanWindow))
}

// failing remembers why reading failed, so that it is not taken for a fault of the file.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

const (
	scanWindow   = 256 << 10
	bannerStart  = "Linux version "
	configStart  = "IKCFG_ST"
	configMagic  = configStart + "\x1f\x8b\x08" // the text alone may stand elsewhere
	longestStart = 1 << 10                      // no banner is longer
)

// scan looks for the two.
func (k *Kernel) scan(r *bufio.Reader) error {
	for k.Config == nil || k.Release == "" {
		window, err := r.Peek(scanWindow)
		if err != nil && err != io.EOF {
			return err
		}
		if k.Release == "" {
			k.findBanner(window)
		}
		if at := bytes.Index(window, []byte(configMagic)); at >= 0 && k.Config == nil {
			if _, err := r.Discard(at + len(configStart)); err != nil {
				return err
			}
			if err := k.readConfig(r); err != nil {
				return err
			}
			continue
		}
		if err == io.EOF {
			return nil
		}
		if _, err := r.Discard(len(window) - longestStart); err != nil {
			return err
		}
	}
	return nil
}

func (k *Kernel) findBanner(window []byte) {
	for {
		_, rest, ok := bytes.Cut(window, []byte(bannerStart))
		if !ok {
			return
		}
		if end := bytes.IndexAny(rest, "\n\x00"); end > 0 && end < longestStart && rest[0] >= '0' && rest[0] <= '9' {
			k.banner(string(rest[:end]))
			return
		}
		window = rest
	}
}

// readConfig reads the configuration, which is the kernel's .config in gzip.
func (k *Kernel) readConfig(r *bufio.Reader) error {
	z, err := unpack.NewReader(r, unpack.Gzip)
	if err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	defer z.Close()
	text, err := io.ReadAll(io.LimitReader(z, maxConfig+1))
	if err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	if len(text) > maxConfig {
		return fmt.Errorf("its configuration has more than %d bytes", maxConfig)
	}
	k.Config = text
	return nil
}

func (k *Kernel) banner(text string) {
	k.Banner = text
	k.Release, _, _ = strings.Cut(text, " ")
}
