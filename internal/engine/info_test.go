package engine

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestInfo(t *testing.T) {
	e, _ := newFake(t, map[string]http.HandlerFunc{"GET /info": text(`{
		"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]], "DockerRootDir": "/data", "Name": "far",
		"MemTotal": 4096, "NCPU": 3, "HttpProxy": "http://a", "HttpsProxy": "http://b", "NoProxy": "c"}`)})
	got, err := e.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Info{
		Version: "20.10.24", API: "1.41", Host: got.Host, Name: "far", Driver: "overlayfs", Containerd: true, Root: "/data",
		Memory: 4096, CPUs: 3, HTTPProxy: "http://a", HTTPSProxy: "http://b", NoProxy: "c",
	}
	if diff := cmp.Diff(want, got); diff != "" || !strings.HasPrefix(got.Host, "tcp://127.0.0.1:") {
		t.Errorf("host %s, -want +got:\n%s", got.Host, diff)
	}
}

func TestInfoOfAnEngineWithoutContainerd(t *testing.T) {
	e, _ := newFake(t, map[string]http.HandlerFunc{"GET /info": text(`{"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}`)})
	if got, err := e.Info(t.Context()); err != nil || got.Containerd || got.Driver != "overlay2" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestInfoFails(t *testing.T) {
	e, _ := newFake(t, map[string]http.HandlerFunc{"GET /info": code(500)})
	if _, err := e.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "engine says 500") {
		t.Errorf("got %v", err)
	}
}

func TestBuildKitDoesNotAnswer(t *testing.T) {
	e, _ := newFake(t, nil)
	if _, err := e.BuildKit(t.Context()); err == nil {
		t.Error("an engine without BuildKit: no error")
	}
	stuck := make(chan struct{})
	defer close(stuck)
	e, _ = newFake(t, map[string]http.HandlerFunc{"POST /grpc": func(http.ResponseWriter, *http.Request) { <-stuck }})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := e.BuildKit(ctx); err == nil {
		t.Error("a BuildKit that hangs: no error")
	}
}
