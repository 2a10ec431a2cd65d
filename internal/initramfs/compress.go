package initramfs

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// Compression is how an archive is compressed.
type Compression string

// The compressions that are written. Zstd is a seventh smaller than gzip at the default levels, and faster to unpack;
// its level 2 is faster to make, too, and a tenth smaller.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// Symbol is what must be y in the configuration of a kernel that is to unpack it.
func (c Compression) Symbol() string {
	if c == Zstd {
		return "RD_ZSTD"
	}
	return "RD_GZIP"
}

const (
	gzipLevel = 6
	gzipMax   = 9
	zstdLevel = 3
	zstdMax   = 4

	// pgzip works on blocks of this size, each on its own. The bytes depend on the size and not on how many
	// are under way, which bounds the memory: about 3 blocks and 1 MiB of state for each.
	blockSize   = 1 << 20
	concurrency = 4

	// The kernel needs this much memory to unpack zstd, and takes up to 128 MiB. It stands here so that another
	// version of the library does not choose another.
	zstdWindow = 8 << 20
	// From 2 on the bytes are the same; with 1 the library cuts blocks elsewhere.
	zstdConcurrency = 2

	// compressors enters the key of everything in the cache: another version may give other bytes.
	compressors = "github.com/klauspost/compress v1.20.3, github.com/klauspost/pgzip v1.3.0"
)

// Options says how an archive is written. The zero value is a good one.
type Options struct {
	Epoch       int64       // every mtime, in seconds since 1970, 0 to 2^32-1
	Compression Compression // "" is Gzip
	// Level is 1 (fast) to 9 (small) for gzip, 0 being 6; 1 to 4 for zstd, 0 being 3, which are about the zstd
	// program's 1, 3, 8 and 11.
	Level int
	// Dedup makes regular files with the same bytes, mode and owner hard links of each other, inside one archive.
	Dedup bool
}

// Validate reports all faults of the options.
func (o Options) Validate() error {
	var errs []error
	if o.Epoch < 0 || o.Epoch > math.MaxUint32 {
		errs = append(errs, &UnsupportedError{What: fmt.Sprintf("time %d, want 0 to %d", o.Epoch, uint32(math.MaxUint32))})
	}
	highest := map[Compression]int{Gzip: gzipMax, Zstd: zstdMax}[o.compression()]
	switch {
	case highest == 0:
		errs = append(errs, fmt.Errorf("compression %q, want %s or %s", o.Compression, Gzip, Zstd))
	case o.Level < 0 || o.Level > highest:
		errs = append(errs, fmt.Errorf("%s level %d, want 1 to %d, or 0 for %d", o.compression(), o.Level, highest, o.level0()))
	}
	return errors.Join(errs...)
}

func (o Options) compression() Compression {
	if o.Compression == "" {
		return Gzip
	}
	return o.Compression
}

// level0 is the level that 0 means.
func (o Options) level0() int {
	if o.compression() == Zstd {
		return zstdLevel
	}
	return gzipLevel
}

// EffectiveLevel is the level with the usual one in the place of 0.
func (o Options) EffectiveLevel() int {
	if o.Level == 0 {
		return o.level0()
	}
	return o.Level
}

// compressor writes streams one after the other, with the same memory: each new one of a library takes some 20 MiB.
type compressor struct {
	options Options
	gzip    *pgzip.Writer
	zstd    *zstd.Encoder
}

// begin returns a writer of a new stream into out. The one before has ended with finish.
func (c *compressor) begin(out io.Writer) (z io.WriteCloser, err error) {
	if c.options.compression() == Zstd {
		if c.zstd != nil {
			c.zstd.Reset(out)
			return c.zstd, nil
		}
		c.zstd, err = zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.EncoderLevel(c.options.EffectiveLevel())),
			zstd.WithWindowSize(zstdWindow), zstd.WithEncoderConcurrency(zstdConcurrency))
		return c.zstd, err
	}
	if c.gzip != nil {
		c.gzip.Reset(out)
	} else if c.gzip, err = pgzip.NewWriterLevel(out, c.options.EffectiveLevel()); err != nil { // the library's own default is 5
		return nil, err
	}
	c.gzip.ModTime = time.Unix(0, 0) // the zero time.Time is not zero in the header
	return c.gzip, c.gzip.SetConcurrency(blockSize, concurrency)
}

// finish waits for the library's goroutines, which Close leaves behind where a write has failed.
func (c *compressor) finish() {
	if c.zstd != nil {
		c.zstd.Reset(io.Discard)
	}
	if c.gzip != nil {
		c.gzip.Reset(io.Discard)
	}
}
