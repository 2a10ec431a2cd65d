package servecheck

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// directory asks what EKS Anywhere and iPXE ask of a directory.
func (s *session) directory(ctx context.Context, base string) {
	a := s.ask(ctx, http.MethodGet, base, sample)
	switch {
	case a.err != nil:
		s.add(EKSA, "directory", No, "no answer: %v; EKS Anywhere asks for the directory where a proxy is configured", a.err)
		return // nothing else can be asked
	case a.StatusCode != http.StatusOK:
		s.add(EKSA, "directory", Note, "got %d; any answer will do for EKS Anywhere", a.StatusCode)
	default:
		s.add(EKSA, "directory", Yes, "got 200")
	}
	kernel := base + "/vmlinuz-x86_64"
	whole := s.file(ctx, "kernel", kernel)
	s.file(ctx, "initramfs", base+"/initramfs-x86_64")
	if whole < 0 {
		s.add(ISO, "range", No, "nothing to try ranges with")
		return
	}
	s.slashes(ctx, base+"//vmlinuz-x86_64", whole)
	s.head(ctx, kernel, whole)
	s.plainFile(ctx, kernel)
	s.ranges(ctx, kernel)
}

// file asks for a file as iPXE does, to its end, and returns its size, -1 where there is none.
func (s *session) file(ctx context.Context, name, address string) int64 {
	final, hops, a := s.follow(ctx, address)
	if fault := a.fault(http.StatusOK); fault != "" {
		s.add(EKSA, name, No, "%s: %s", address, fault)
		return -1
	}
	n, err := s.length(ctx, final)
	switch {
	case err != nil || n != a.ContentLength:
		s.add(EKSA, name, No, "%s: got %d bytes, want %d by its Content-Length (%v)", address, n, a.ContentLength, err)
		return -1
	case n == 0:
		s.add(EKSA, name, No, "%s is empty", address)
		return -1
	case hops > 0:
		s.add(EKSA, name, Note, "%d bytes, after %d redirects, which iPXE follows", n, hops)
	default:
		s.add(EKSA, name, Yes, "%d bytes", n)
	}
	return n
}

// follow asks for the beginning of a file, through redirects.
func (s *session) follow(ctx context.Context, address string) (final string, hops int, a answer) {
	for final = address; ; hops++ {
		a = s.ask(ctx, http.MethodGet, final, 1)
		location := ""
		if a.err == nil && a.StatusCode/100 == 3 {
			location = a.Header.Get("Location")
		}
		if location == "" || hops == maxRedirects {
			return final, hops, a
		}
		next, err := a.Request.URL.Parse(location)
		if err != nil {
			return final, hops, a
		}
		final = next.String()
	}
}

// length reads a file to its end.
func (s *session) length(ctx context.Context, address string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return io.Copy(io.Discard, resp.Body)
}

// slashes asks as machines do where hookImagesURLPath ends with a slash.
func (s *session) slashes(ctx context.Context, address string, size int64) {
	a := s.ask(ctx, http.MethodGet, address, 1)
	if a.fault(http.StatusOK) == "" && a.ContentLength == size {
		s.add(EKSA, "double slash", Yes, "served")
		return
	}
	s.add(EKSA, "double slash", Note, "not served as it is (status %d): hookImagesURLPath must not end with a slash", a.StatusCode)
}

func (s *session) head(ctx context.Context, address string, size int64) {
	a := s.ask(ctx, http.MethodHead, address, 1)
	switch fault := a.fault(http.StatusOK); {
	case fault != "":
		s.add(EKSA, "head", Note, "%s; only iPXE's SAN devices need it", fault)
	case a.ContentLength != size:
		s.add(EKSA, "head", Note, "got length %d, want %d", a.ContentLength, size)
	default:
		s.add(EKSA, "head", Yes, "the same length as with GET")
	}
}

// plainFile asks as a client that could undo compression.
func (s *session) plainFile(ctx context.Context, address string) {
	final, _, _ := s.follow(ctx, address)
	a := s.ask(ctx, http.MethodGet, final, 1, "Accept-Encoding: gzip, br, zstd")
	if fault := a.fault(http.StatusOK); fault != "" {
		s.add(EKSA, "no compression", Note, "asked for with Accept-Encoding: %s; iPXE sends none", fault)
		return
	}
	s.add(EKSA, "no compression", Yes, "no Content-Encoding, also where the client offers it")
}

// ranges asks for parts of a file as a BMC does through smee.
func (s *session) ranges(ctx context.Context, address string) {
	final, hops, whole := s.follow(ctx, address)
	if fault := whole.fault(http.StatusOK); fault != "" {
		s.add(ISO, "file", No, "%s: %s", address, fault)
		return
	}
	size := whole.ContentLength
	head := s.ask(ctx, http.MethodGet, final, sample).body
	if hops > 0 {
		s.add(ISO, "file", Note, "%d bytes, after %d redirects; smee follows ten", size, hops)
	} else {
		s.add(ISO, "file", Yes, "%d bytes", size)
	}
	if len(head) < 2 {
		s.add(ISO, "range", No, "the file has %d bytes: nothing to take a part of", len(head))
		return
	}
	if !s.part(ctx, final, "range", "bytes=1-1", fmt.Sprintf("bytes 1-1/%d", size), head[1:2]) {
		return // the rest says the same
	}
	last := len(head) - 1
	s.part(ctx, final, "long range", fmt.Sprintf("bytes=0-%d", last), fmt.Sprintf("bytes 0-%d/%d", last, size), head)
	tail := s.ask(ctx, http.MethodGet, final, 1, fmt.Sprintf("Range: bytes=%d-", size-1))
	s.part(ctx, final, "last bytes", "bytes=-1", fmt.Sprintf("bytes %d-%d/%d", size-1, size-1, size), tail.body)
	s.behind(ctx, final, size)
	s.many(ctx, final, head, size)
	s.condition(ctx, final, whole.Header.Get("ETag"), size)
}

// part asks for one range.
func (s *session) part(ctx context.Context, address, name, field, contentRange string, want []byte) bool {
	a := s.ask(ctx, http.MethodGet, address, int64(len(want))+1, "Range: "+field)
	fault := a.fault(http.StatusPartialContent)
	switch {
	case fault == "" && a.Header.Get("Content-Range") != contentRange:
		fault = fmt.Sprintf("got Content-Range %q, want %q", a.Header.Get("Content-Range"), contentRange)
	case fault == "" && !bytes.Equal(a.body, want):
		fault = "other bytes than the whole file has there"
	case a.err == nil && a.StatusCode == http.StatusOK:
		fault = "got 200, the whole file: this server knows no ranges, and a BMC cannot boot from it"
	}
	if fault != "" {
		s.add(ISO, name, No, "%s: %s", field, fault)
		return false
	}
	s.add(ISO, name, Yes, "%s: got 206", field)
	return true
}

// behind asks for what is not there.
func (s *session) behind(ctx context.Context, address string, size int64) {
	a := s.ask(ctx, http.MethodGet, address, 1, fmt.Sprintf("Range: bytes=%d-", size))
	if a.err != nil || a.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		s.add(ISO, "behind the end", Note, "got %d, want 416", a.StatusCode)
		return
	}
	s.add(ISO, "behind the end", Yes, "got 416")
}

// many asks for a hundred sectors, one after the other: a BMC asks for thousands.
func (s *session) many(ctx context.Context, address string, head []byte, size int64) {
	const sector = 2048
	for i := range 100 {
		from := i * sector % len(head)
		to := min(from+sector, len(head)) - 1
		a := s.ask(ctx, http.MethodGet, address, sector+1, fmt.Sprintf("Range: bytes=%d-%d", from, to))
		if fault := a.fault(http.StatusPartialContent); fault != "" || !bytes.Equal(a.body, head[from:to+1]) {
			s.add(ISO, "many ranges", No, "range %d of 100, bytes=%d-%d of %d: %s", i+1, from, to, size, fault)
			return
		}
	}
	s.add(ISO, "many ranges", Yes, "100 of 100")
}

// condition asks whether a client can notice that the file has been replaced.
func (s *session) condition(ctx context.Context, address, etag string, size int64) {
	if etag == "" {
		s.add(ISO, "if-range", Note, "no ETag: a client cannot notice that the file has been replaced between two ranges")
		return
	}
	same := s.ask(ctx, http.MethodGet, address, 1, "Range: bytes=0-0", "If-Range: "+etag)
	other := s.ask(ctx, http.MethodGet, address, 1, "Range: bytes=0-0", `If-Range: "of another file"`)
	if same.fault(http.StatusPartialContent) != "" || other.fault(http.StatusOK) != "" || other.ContentLength != size {
		s.add(ISO, "if-range", Note, "got %d for this file and %d for another one, want 206 and 200", same.StatusCode, other.StatusCode)
		return
	}
	s.add(ISO, "if-range", Yes, "a replaced file is noticed")
}
