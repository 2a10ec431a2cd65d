package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

const (
	headerTimeout = 10 * time.Second // for a client to send its request
	idleTimeout   = 2 * time.Minute  // of a connection that is kept for another request
	defaultGrace  = 10 * time.Second
	maxHeader     = 16 << 10 // bytes; iPXE sends some 200
)

// Options says what Run serves and where.
type Options struct {
	Listen string // "host:port"; an empty host is every address
	Store  *artifacts.Store
	Log    *slog.Logger        // one line for each request; nil for none
	Ready  func(addr net.Addr) // called when connections are accepted; nil for none
	Now    func() time.Time    // for the durations in Log; nil leaves them out
	Grace  time.Duration       // for downloads that run when ctx ends; 0 is 10 s
}

// PortTakenError says that another program listens there already.
type PortTakenError struct {
	Listen string
}

// Error names the address.
func (e *PortTakenError) Error() string { return e.Listen + " is taken: another program listens there" }

// Hint says how to find that program.
func (e *PortTakenError) Hint() string {
	_, port, _ := net.SplitHostPort(e.Listen)
	return fmt.Sprintf("`ss -ltnp 'sport = :%s'` (as root) names it; --listen takes another address", port)
}

// Run serves until ctx ends, then takes no more connections, lets running downloads finish for Options.Grace
// and cuts off the rest. It returns nil after that; a *PortTakenError, or another error of listening, before.
func Run(ctx context.Context, o Options) error {
	listener, err := net.Listen("tcp", o.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return &PortTakenError{Listen: o.Listen}
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	log := orDiscard(o.Log)
	var connections sync.WaitGroup
	server := newServer(logged(Handler(o.Store, log), log, o.Now), log, &connections)
	if o.Ready != nil {
		o.Ready(listener.Addr())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
		err = errors.Join(err, server.Close())
	case <-ctx.Done():
		err = stop(ctx, server, o.Grace)
		<-served // always http.ErrServerClosed: it was told to
	}
	connections.Wait()
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// newServer makes the server. There is no limit on how long a download may take: a slow BMC needs an hour.
// connections counts those whose goroutine runs; it grows only while Serve does.
func newServer(h http.Handler, log *slog.Logger, connections *sync.WaitGroup) *http.Server {
	return &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            headerTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				connections.Add(1)
			case http.StateClosed:
				connections.Done()
			}
		},
	}
}

// stop ends the server gracefully, and after the time of grace in any case.
func stop(ctx context.Context, server *http.Server, grace time.Duration) error {
	if grace == 0 {
		grace = defaultGrace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}
