package decompress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/download"
)

// pack compresses with the format's own tool.
func pack(t *testing.T, data []byte, tool ...string) []byte {
	t.Helper()
	cmd := exec.Command(tool[0], tool[1:]...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("this test needs %s: %v", tool[0], err)
	}
	return out
}

func TestNewReader(t *testing.T) {
	data := bytes.Repeat([]byte("some text\n"), 20000)
	xz, gz, zst := pack(t, data, "xz", "-c"), pack(t, data, "gzip", "-c"), pack(t, data, "zstd", "-c")
	twice := append(bytes.Clone(data), data...)
	tests := map[string]struct {
		suffix string
		stream []byte
		want   []byte
	}{
		"not compressed":    {"", data, data},
		"gzip":              {".gz", gz, data},
		"xz":                {".xz", xz, data},
		"xz at its best":    {".xz", pack(t, data, "xz", "-9e", "-c"), data},
		"xz in blocks":      {".xz", pack(t, data, "xz", "-T2", "--block-size=50000", "-c"), data},
		"xz with sizes":     {".xz", pack(t, data, "xz", "-T1", "--block-size=200000", "-c"), data},
		"xz with a filter":  {".xz", pack(t, data, "xz", "--x86", "--lzma2", "-c"), data},
		"two gzip in a row": {".gz", slices.Concat(gz, gz), twice},
		"two xz in a row":   {".xz", slices.Concat(xz, xz), twice},
		"two zstd in a row": {".zst", slices.Concat(zst, zst), twice},
		"xz with padding":   {".xz", slices.Concat(xz, make([]byte, 8), xz, make([]byte, 4)), twice},
		"xz of nothing":     {".xz", pack(t, nil, "xz", "-c"), nil},
		"zstd":              {".zst", zst, data},
		"zstd at its best":  {".zst", pack(t, data, "zstd", "-19", "-c"), data},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			size := int64(len(test.want))
			got, err := read(bytes.NewReader(test.stream), test.suffix, size)
			if err != nil || !bytes.Equal(got, test.want) {
				t.Errorf("got %d bytes, %v, want %d", len(got), err, size)
			}
			if size == 0 {
				return
			}
			_, err = read(bytes.NewReader(test.stream), test.suffix, size-1)
			var ve *download.VerifyError
			if !errors.As(err, &ve) || !strings.HasPrefix(err.Error(), "the stream: wrong uncompressed size: got more, want at most ") {
				t.Errorf("one byte over the limit: got %v, want a VerifyError", err)
			}
		})
	}
}

func read(stream io.Reader, suffix string, limit int64) ([]byte, error) {
	r, err := NewReader(stream, suffix, "the stream", limit)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// dictionary sets the size of the dictionary in the first block header of an xz stream, as the format encodes it,
// and mends the header's sum.
func dictionary(t *testing.T, stream []byte, code byte) []byte {
	t.Helper()
	const block = 12 // where its header begins
	at := bytes.Index(stream, []byte{0x21, 1})
	if at < 0 {
		t.Fatal("no LZMA2 filter")
	}
	stream = bytes.Clone(stream)
	stream[at+2] = code
	sum := block + int(stream[block])*4
	binary.LittleEndian.PutUint32(stream[sum:], crc32.ChecksumIEEE(stream[block:sum]))
	return stream
}

func TestNewReaderRefuses(t *testing.T) {
	data := bytes.Repeat([]byte("some text\n"), 20000)
	xz, gz, zst := pack(t, data, "xz", "-c"), pack(t, data, "gzip", "-c"), pack(t, data, "zstd", "-c")
	tests := map[string]struct {
		suffix string
		stream []byte
		want   string
	}{
		"another compression":           {".bz2", nil, `compression ".bz2" is not supported`},
		"gzip that is none":             {".gz", xz, "invalid header"},
		"gzip cut off":                  {".gz", gz[:len(gz)-10], "unexpected EOF"},
		"xz that is none":               {".xz", gz, ""},
		"xz cut off":                    {".xz", xz[:len(xz)-40], "unexpected EOF"},
		"xz cut off in its header":      {".xz", xz[:14], "unexpected EOF"},
		"xz of no bytes":                {".xz", nil, "unexpected EOF"},
		"xz with an odd filter":         {".xz", pack(t, data, "xz", "--delta", "--lzma2", "-c"), "other filters than LZMA2"},
		"xz with text after it":         {".xz", slices.Concat(xz, []byte("text")), "unexpected EOF"},
		"xz with half a padding":        {".xz", slices.Concat(xz, make([]byte, 6)), "unexpected EOF"},
		"gzip with text after it":       {".gz", slices.Concat(gz, []byte("text after it")), "invalid header"},
		"zstd with text after it":       {".zst", slices.Concat(zst, []byte("text after it")), "magic"},
		"xz damaged in its second":      {".xz", slices.Concat(xz, xz[:len(xz)/2], []byte{0}, xz[len(xz)/2+1:]), ""},
		"a further xz with 4 GiB":       {".xz", slices.Concat(xz, dictionary(t, xz, 40)), "dictionary of 4294967295 bytes"},
		"xz dictionary of 4 GiB":        {".xz", dictionary(t, xz, 40), "dictionary of 4294967295 bytes"},
		"xz dictionary of 192 MiB":      {".xz", dictionary(t, xz, 31), "dictionary of 201326592 bytes"},
		"xz dictionary that is no size": {".xz", dictionary(t, xz, 41), ""},
		"zstd that is none":             {".zst", gz, "magic"},
		"zstd cut off":                  {".zst", zst[:len(zst)-10], "unexpected EOF"},
		"zstd window of 256 MiB":        {".zst", pack(t, data, "zstd", "--ultra", "--long=28", "-c"), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := read(bytes.NewReader(test.stream), test.suffix, 1<<20)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %d bytes, %v, want %q", len(got), err, test.want)
			}
		})
	}
}
