package serve

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// stats counts for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/). Labels are names of
// published files and plan ids only: nothing that a client makes up becomes one.
type stats struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	open     prometheus.Gauge
	sends    *prometheus.GaugeVec
	boots    *prometheus.CounterVec
}

func newStats() *stats {
	s := &stats{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookbuild_requests_total", Help: "Requests that have been answered; file is empty where the answer was none.",
		}, []string{"file", "status"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookbuild_response_bytes_total", Help: "Bytes of answers that have ended, without headers.",
		}, []string{"file", "generation"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hookbuild_requests_in_flight", Help: "Requests that are being answered.",
		}),
		sends: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hookbuild_files_in_flight", Help: "Files that are being sent.",
		}, []string{"file", "generation"}),
		boots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookbuild_boots_finished_total", Help: "Initramfs files that were sent to their last byte.",
		}, []string{"arch", "generation"}),
	}
	s.registry.MustRegister(s.requests, s.bytes, s.open, s.sends, s.boots)
	return s
}

// watch adds what is counted elsewhere.
func (s *stats) watch(name, help string, value func() int) {
	s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		return float64(value())
	}))
}

func (s *stats) begin() { s.open.Inc() }

// sending counts a file while it is sent.
func (s *stats) sending(f *file) (sent func()) {
	g := s.sends.WithLabelValues(f.label, f.generation)
	g.Inc()
	return g.Dec
}

// end counts an answer that has ended.
func (s *stats) end(w *response) {
	s.open.Dec()
	if w.file == nil {
		s.requests.WithLabelValues("", strconv.Itoa(w.status)).Inc()
		return
	}
	s.requests.WithLabelValues(w.file.label, strconv.Itoa(w.status)).Inc()
	s.bytes.WithLabelValues(w.file.label, w.file.generation).Add(float64(w.bytes))
	if arch, _, initramfs := archOf(w.file.label); initramfs && w.toTheEnd() {
		s.boots.WithLabelValues(string(arch), w.file.generation).Inc()
	}
}

// adminHandler answers on the second listener: metrics, whether the program is alive, whether it has something to serve.
func adminHandler(s *stats, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(); err != nil {
			answer(w, r, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		answer(w, r, http.StatusOK, "ok\n")
	})
	return mux
}
