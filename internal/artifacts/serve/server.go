package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

const (
	headerTimeout = 10 * time.Second // for a client to send its request
	idleTimeout   = 75 * time.Second // of a connection that is kept for another request; nginx has the same
	defaultGrace  = 10 * time.Second
	maxHeader     = 16 << 10 // bytes; iPXE sends some 200
)

// DefaultConnections is how many may be open at a time where nobody says how many.
const DefaultConnections = 8192

// Options says what Run serves and where.
type Options struct {
	Listen string // "host:port"; an empty host is every address
	Store  *artifacts.Store
	Log    *slog.Logger        // one line for each request; nil for none
	Ready  func(addr net.Addr) // called when connections are accepted; nil for none
	Grace  time.Duration       // for downloads that run when ctx ends; 0 is 10 s

	// Now is the clock. Nil leaves the durations out of Log, cuts off no client that stands still, and gives every
	// machine the newest initramfs, whatever kernel it has.
	Now func() time.Time

	// Names says what a machine is called, for the page and Log; "" for one that nobody knows. It is called from several
	// goroutines and should not wait. Nil for no names.
	Names func(addr netip.Addr) string

	Extra       string // directory whose files are served at /extra/; empty for none
	Connections int    // open at a time; more are answered with 503. 0 is DefaultConnections

	TLSCert, TLSKey string // files in PEM; both empty for plain HTTP

	AdminListen string              // "host:port" for metrics and health; empty for none
	AdminReady  func(addr net.Addr) // as Ready, for that; called before Ready

	patience time.Duration // instead of 64 s, for tests
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

// OptionError says that a file or a directory that an option names cannot be used.
type OptionError struct {
	Option string // Extra, TLSCert, Hardware
	Err    error
}

// Error says which and why.
func (e *OptionError) Error() string { return e.Err.Error() }

func (e *OptionError) Unwrap() error { return e.Err }

// Run serves until ctx ends, then takes no more connections, lets running downloads finish for Options.Grace
// and cuts off the rest. It returns nil after that; a *PortTakenError, an *OptionError, or another error of
// listening, before.
func Run(ctx context.Context, o Options) (err error) {
	o.Log = orDiscard(o.Log)
	h, err := newHandler(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	config, err := tlsConfig(o)
	if err != nil {
		return err
	}
	l, err := listen(o.Listen)
	if err != nil {
		return err
	}
	if h.browser.base, err = BaseURL(l.Addr()); err != nil {
		o.Log.Debug("this host's address", "error", err) // the page shows the one that the browser used
	}
	main := newGate(l, o)
	h.stats.watch("hookbuild_connections", "Connections that are open.", func() int { return len(main.slots) })
	if o.AdminListen == "" {
		return h.run(ctx, o, main, config, nil)
	}
	admin, err := listen(o.AdminListen)
	if err != nil {
		return errors.Join(err, main.Close())
	}
	return h.run(ctx, o, main, config, admin)
}

// newHandler opens what is served.
func newHandler(o Options) (*handler, error) {
	h := &handler{store: o.Store, log: o.Log, clock: o.Now, stats: newStats(), names: o.Names}
	var err error
	if h.browser, err = newBrowser(o); err != nil {
		return nil, err
	}
	if o.Extra != "" {
		root, err := os.OpenRoot(o.Extra)
		if err != nil {
			return nil, &OptionError{"Extra", fmt.Errorf("directory of extra files: %w", err)}
		}
		h.extra = root
	}
	if o.Now != nil {
		h.pairs = newPairs(o.Store.Hold, o.Now, o.Log)
		h.stats.watch("hookbuild_machines", "Addresses whose kernel is remembered.", h.pairs.count)
	}
	return h, nil
}

func (h *handler) close() error {
	if h.pairs != nil {
		h.pairs.close()
	}
	if h.extra != nil {
		return h.extra.Close()
	}
	return nil
}

// run serves on both listeners until ctx ends or one of them fails. admin may be nil.
func (h *handler) run(ctx context.Context, o Options, main *gate, config *tls.Config, admin net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	if admin != nil {
		if o.AdminReady != nil {
			o.AdminReady(admin.Addr())
		}
		group.Go(func() error {
			return serveOn(ctx, admin, adminHandler(h.stats, h.ready), nil, time.Millisecond, o.Log)
		})
	}
	if o.Ready != nil {
		o.Ready(main.Addr())
	}
	group.Go(func() error { return serveOn(ctx, main, h, config, o.Grace, o.Log) })
	group.Go(func() error { return h.expire(ctx) })
	return group.Wait()
}

// expire forgets machines until ctx ends.
func (h *handler) expire(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if h.pairs != nil {
				h.pairs.expire()
			}
		}
	}
}

// listen listens, or says that somebody else does.
func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &PortTakenError{Listen: address}
	}
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	return l, nil
}

// tlsConfig is nil for plain HTTP. There is no HTTP/2: nothing that boots over the network speaks it.
func tlsConfig(o Options) (*tls.Config, error) {
	if o.TLSCert == "" && o.TLSKey == "" {
		return nil, nil
	}
	pair, err := newKeyPair(o.TLSCert, o.TLSKey, o.Log)
	if err != nil {
		return nil, &OptionError{"TLSCert", err}
	}
	return &tls.Config{GetCertificate: pair.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}, nil
}

// serveOn serves until ctx ends, then for as long as the time of grace allows.
func serveOn(ctx context.Context, l net.Listener, h http.Handler, config *tls.Config, grace time.Duration, log *slog.Logger) error {
	var connections sync.WaitGroup
	server := newServer(h, config, log, &connections)
	server.BaseContext = func(net.Listener) context.Context { return ctx } // streams of events end with it; downloads do not look
	served := make(chan error, 1)
	go func() {
		if config != nil {
			served <- server.ServeTLS(l, "", "")
		} else {
			served <- server.Serve(l)
		}
	}()
	var err error
	select {
	case err = <-served:
		err = errors.Join(err, server.Close())
	case <-ctx.Done():
		err = stop(ctx, server, grace)
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
func newServer(h http.Handler, config *tls.Config, log *slog.Logger, connections *sync.WaitGroup) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      h,
		TLSConfig:                    config,
		Protocols:                    &protocols,
		ReadHeaderTimeout:            headerTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ConnContext:                  withConn,
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
