package engine

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// archive answers with a tar of one entry, as the engine sends a path.
func archive(t *testing.T, h tar.Header, content string) http.HandlerFunc {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	h.Size = int64(len(content))
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, content)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return sending(buf.Bytes())
}

func sending(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString([]byte(`{"name":"x"}`)))
		w.Write(data)
	}
}

// leaving is container1 or terminal1 that has files by path after its end.
func leaving(reply map[string]http.HandlerFunc, files map[string]http.HandlerFunc) map[string]http.HandlerFunc {
	reply["GET /containers/c1/json"] = text(`{"Id":"c1"}`)
	reply["GET /containers/c1/archive"] = func(w http.ResponseWriter, r *http.Request) {
		if send, ok := files[r.URL.Query().Get("path")]; ok {
			send(w, r)
			return
		}
		status404(w, r)
	}
	return reply
}

func TestOutputs(t *testing.T) {
	files := map[string]http.HandlerFunc{
		"/w/.config": archive(t, tar.Header{Name: ".config", Typeflag: tar.TypeReg}, "CONFIG_A=y\n"),
		"/w/log":     archive(t, tar.Header{Name: "log", Typeflag: tar.TypeReg}, ""),
	}
	var got []string
	keep := func(path string) Output {
		return Output{Path: path, Read: func(r io.Reader) error {
			data, err := io.ReadAll(r)
			got = append(got, path+" "+string(data))
			return err
		}}
	}
	c := Container{Image: "a:b", Cmd: []string{"x"}, Outputs: []Output{keep("/w/log"), keep("/w/.config")}}
	want := []string{"/w/log ", "/w/.config CONFIG_A=y\n"}

	e, f := newFake(t, leaving(container1(), files))
	if code, err := e.Run(t.Context(), c, io.Discard); code != 3 || err != nil {
		t.Errorf("Run: got %d, %v", code, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Run (-want +got):\n%s", diff)
	}
	if calls := f.after("/start"); len(calls) != 3 || calls[2] != "DELETE /containers/c1" {
		t.Errorf("got calls %q, want the outputs before the removal", calls)
	}

	got = nil
	e, f = newFake(t, leaving(terminal1(goodbye), files))
	if code, err := e.RunTerminal(t.Context(), c, Terminal{In: noKeys(), Out: io.Discard}); code != 3 || err != nil {
		t.Errorf("RunTerminal: got %d, %v", code, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("RunTerminal (-want +got):\n%s", diff)
	}
	if calls := f.after("/exec/x1/json"); len(calls) != 3 || calls[2] != "DELETE /containers/c1" {
		t.Errorf("got calls %q, want the outputs before the removal", calls)
	}
}

func TestOutputFailures(t *testing.T) {
	refused := errors.New("larger than I take")
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   error  // in the chain
		text   string // in the message
	}{
		{"missing", status404, ErrNoOutput, "read /w/x from the container"},
		{"refused by the reader", archive(t, tar.Header{Name: "x", Typeflag: tar.TypeReg}, "abc"), refused, "/w/x"},
		{"a directory", archive(t, tar.Header{Name: "x/", Typeflag: tar.TypeDir, Mode: 0o755}, ""), nil, "got drwxr-xr-x, want a regular file"},
		{"a link", archive(t, tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "y"}, ""), nil, "want a regular file"},
		{"an empty archive", sending(nil), io.EOF, "/w/x"},
		{"no archive", sending(bytes.Repeat([]byte("x"), 1024)), tar.ErrHeader, "/w/x"},
		{"an engine with a fault", code(http.StatusInternalServerError), nil, "engine says 500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, f := newFake(t, leaving(container1(), map[string]http.HandlerFunc{"/w/x": c.answer}))
			box := Container{Image: "a:b", Outputs: []Output{{Path: "/w/x", Read: func(io.Reader) error { return refused }}}}
			code, err := e.Run(t.Context(), box, io.Discard)
			if code != 3 || err == nil || !strings.Contains(err.Error(), c.text) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %d, %v; want 3, %v, %q", code, err, c.want, c.text)
			}
			if !f.called("DELETE /containers/c1") {
				t.Error("the container is left behind")
			}
		})
	}
}

// A container that somebody has removed is not a program that has left no file.
func TestOutputOfNoContainer(t *testing.T) {
	e, _ := newFake(t, container1())
	box := Container{Image: "a:b", Outputs: []Output{{Path: "/w/x"}}}
	if _, err := e.Run(t.Context(), box, io.Discard); err == nil || errors.Is(err, ErrNoOutput) {
		t.Errorf("got %v", err)
	}
}

// A file that is cut off on the way is an error for the one who reads it.
func TestOutputCutOff(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: 1 << 40})
	io.WriteString(w, "the beginning")
	w.Flush()
	e, _ := newFake(t, leaving(container1(), map[string]http.HandlerFunc{"/w/x": sending(buf.Bytes())}))
	box := Container{Image: "a:b", Outputs: []Output{{Path: "/w/x", Read: func(r io.Reader) error {
		_, err := io.ReadAll(r)
		return err
	}}}}
	if _, err := e.Run(t.Context(), box, io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}
