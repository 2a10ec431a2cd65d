package serve

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// side is one of two servers that are compared.
type side struct {
	name string
	url  string
	pid  int
	took []float64 // MB/s
	cpu  []float64 // seconds for each GB
}

// BenchmarkAgainstNginx downloads the same file from nginx and from us, in turn, and reports medians. nginx has a worker for
// each processor. Client and server share the processors.
func BenchmarkAgainstNginx(b *testing.B) {
	const size, pairs = 100_000_000, 7
	store := newStore(b)
	set := mustPublish(b, store, "0", size)
	addr, cmd := startChild(b, store)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	listen := l.Addr().String()
	l.Close()
	nginx := runNginx(b, allWorkers, listen, "tcp", listen, set.Dir)
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			sides := []*side{{name: "ours", url: "http://" + addr, pid: cmd.Process.Pid}, {name: "nginx", url: "http://" + listen, pid: nginx.Process.Pid}}
			for b.Loop() {
				for i := range pairs {
					for j := range sides {
						sides[(i+j)%2].run(b, clients, size)
					}
				}
			}
			b.ReportMetric(median(sides[0].took)/median(sides[1].took), "ours/nginx")
			for _, s := range sides {
				b.ReportMetric(median(s.took), s.name+"-MB/s")
				b.ReportMetric(median(s.cpu), s.name+"-cpu-s/GB")
			}
		})
	}
}

// run downloads with so many clients at a time, two files each at least.
func (s *side) run(b *testing.B, clients int, size int64) {
	b.Helper()
	each := max(2, 64/clients)
	before, begin := cpuOf(b, s.pid), time.Now()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			buf := make([]byte, 256<<10)
			for range each {
				resp, err := client.Get(s.url + "/" + initramfs)
				if err != nil {
					b.Error(err)
					return
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf)
				resp.Body.Close()
				if err != nil || n != size {
					b.Errorf("%s: %d bytes, %v", s.name, n, err)
				}
			}
		})
	}
	wg.Wait()
	total := float64(clients*each) * float64(size)
	s.took = append(s.took, total/1e6/time.Since(begin).Seconds())
	s.cpu = append(s.cpu, (cpuOf(b, s.pid)-before)/(total/1e9))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// cpuOf is the CPU time of a process and its children, nginx's workers, in seconds.
func cpuOf(b *testing.B, pid int) float64 {
	b.Helper()
	total := ticksOf(b, pid)
	children, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	if err != nil || len(children) == 0 {
		b.Fatalf("children of process %d: got %q, %v", pid, children, err)
	}
	for _, path := range children {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // of a thread that has ended, which had none
		}
		for _, field := range bytes.Fields(text) {
			child, err := strconv.Atoi(string(field))
			if err != nil {
				b.Fatal(err)
			}
			total += ticksOf(b, child)
		}
	}
	return float64(total) / 100
}

// ticksOf is the CPU time of a process in ticks of 10 ms: the 14th and the 15th field of proc_pid_stat(5).
func ticksOf(b *testing.B, pid int) (ticks int) {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		b.Fatal(err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return ticks
}
