package serve

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stretch is what a client has to take within patience, 16 KiB in a second on the average. A download may last
	// hours; one that stands still is cut off.
	stretch  = 1 << 20
	patience = 64 * time.Second

	// What may wait unsent for each connection, in bytes. More is faster on a fast network. Beyond the first few it has to be
	// little: where Linux has 6 % of its memory in the buffers of TCP, it slows all connections down (tcp_mem in tcp(7)).
	roomy      = 64 // connections that are open at a time may have unsentFew
	unsentFew  = 1 << 20
	unsentMany = 64 << 10

	turnedAway = 256 // connections over the limit that are open at a time to be told so
)

// gate is a listener that takes a limited number of connections and marks those that are one too many, so that they
// are answered with 503 and not left waiting.
type gate struct {
	net.Listener
	now    func() time.Time // nil for no deadlines
	time   time.Duration    // that a client has for a stretch
	limit  int
	slots  chan struct{} // one for each open connection, and one for Accept
	close  sync.Once
	closed chan struct{}
}

func newGate(l net.Listener, o Options) *gate {
	limit := cmp.Or(o.Connections, DefaultConnections)
	return &gate{
		Listener: l, now: o.Now, time: cmp.Or(o.patience, patience), limit: limit,
		slots: make(chan struct{}, limit+turnedAway), closed: make(chan struct{}),
	}
}

// Accept waits for a connection, and where as many are open as may be turned away, for one of them to end.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case g.slots <- struct{}{}:
	case <-g.closed:
		return nil, net.ErrClosed
	}
	c, err := g.Listener.Accept()
	if err != nil {
		<-g.slots
		return nil, err
	}
	open := len(g.slots)
	if open <= roomy {
		holdBack(c, unsentFew)
	} else {
		holdBack(c, unsentMany)
	}
	return &conn{Conn: c, gate: g, over: open > g.limit, left: g.time}, nil
}

// holdBack keeps the kernel from taking in more than so many bytes that the client has no room for. Thousands of clients that
// stand still would else fill the memory that the kernel has for TCP, and it would reset connections of others. A connection
// for which that cannot be set is served all the same.
func holdBack(c net.Conn, bytes int) {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
	})
}

// Close ends Accept too.
func (g *gate) Close() error {
	g.close.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

// conn is a connection whose client must not stand still while it is written to. Only the time in which a write waits
// counts, so that a connection may rest between two requests.
type conn struct {
	net.Conn
	gate   *gate
	over   bool // one too many
	closed atomic.Bool

	// Of the one goroutine that writes, or under TLS of whoever holds tls.Conn's lock for writing: that is also the one
	// that reads, when it sends an alert.
	left  time.Duration // of patience, for the rest of the stretch
	taken int64         // bytes of the stretch

	sent atomic.Pointer[atomic.Int64] // counts what is written; nil for nobody
}

// Close gives the slot back.
func (c *conn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		defer func() { <-c.gate.slots }()
	}
	return c.Conn.Close()
}

// Write writes with the deadline of the stretch.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.paced(func() (int64, error) {
		n, err := c.Conn.Write(p)
		return int64(n), err
	})
	return int(n), err
}

// ReadFrom copies in stretches. The kernel copies by itself, with sendfile(2), if it is given a file, or a part of one
// as an io.LimitedReader, so that such a reader is taken apart and made anew for each stretch.
func (c *conn) ReadFrom(r io.Reader) (total int64, err error) {
	tcp, isTCP := c.Conn.(io.ReaderFrom)
	limited, isLimited := r.(*io.LimitedReader)
	if !isTCP || !isLimited {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	for limited.N > 0 {
		part := &io.LimitedReader{R: limited.R, N: min(limited.N, stretch)}
		n, err := c.paced(func() (int64, error) { return tcp.ReadFrom(part) })
		total, limited.N = total+n, limited.N-n
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}

// paced writes, and takes the time that this waits off what is left. A client that has used up its time is cut off
// with a reset, so that the kernel does not keep for minutes what it will not take.
func (c *conn) paced(write func() (int64, error)) (int64, error) {
	if c.gate.now == nil {
		n, err := write()
		c.count(n)
		return n, err
	}
	begin := c.gate.now()
	if err := c.SetWriteDeadline(begin.Add(c.left)); err != nil {
		return 0, err
	}
	n, err := write()
	c.count(n)
	c.taken, c.left = c.taken+n, c.left-c.gate.now().Sub(begin)
	if c.taken >= stretch {
		c.taken, c.left = 0, c.gate.time
	}
	if tcp, ok := c.Conn.(*net.TCPConn); ok && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.Join(err, tcp.SetLinger(0))
	}
	return n, err
}

func (c *conn) count(n int64) {
	if sent := c.sent.Load(); sent != nil {
		sent.Add(n)
	}
}

// CloseWrite is what net/http looks for when it ends a connection whose request it has not read to the end.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// connKey finds the connection in a request's context.
type connKey struct{}

// withConn is http.Server.ConnContext. Under TLS the connection is inside another one.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// connOf is the connection that a request came over; nil where it is none of a gate.
func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}

// isOver says whether a request came over a connection that is one too many.
func isOver(r *http.Request) bool {
	c := connOf(r)
	return c != nil && c.over
}
