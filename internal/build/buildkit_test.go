package build

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client/buildid"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fakeBuildKit is the part of BuildKit that an LLB build speaks to. It runs nothing: what comes of a step is said
// in steps.
type fakeBuildKit struct {
	control.UnimplementedControlServer

	engine *fakeEngine

	mu     sync.Mutex
	steps  map[string]fakeStep // by the beginning of the image's name
	ran    []ranStep
	builds map[string]*fakeBuild
}

// fakeStep is what comes of a build.
type fakeStep struct {
	image fakeImage
	says  []string
	code  int // exit code of the step
}

// ranStep is a step that was to be run.
type ranStep struct {
	tag string
	env map[string]string
}

// fakeBuild is a build under way.
type fakeBuild struct {
	step     fakeStep
	tag      chan string   // what the image will be called, once
	ran      chan struct{} // closed when the step has ended
	returned chan error    // what the client says of the result
}

func newBuildKit(f *fakeEngine) *fakeBuildKit {
	return &fakeBuildKit{engine: f, steps: map[string]fakeStep{}, builds: map[string]*fakeBuild{}}
}

func (k *fakeBuildKit) makes(start string, s fakeStep) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.steps[start] = s
}

// all are the steps so far.
func (k *fakeBuildKit) all() []ranStep {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ran
}

// tags are the images that were to be made, without their digests.
func (k *fakeBuildKit) tags() []string {
	var all []string
	for _, s := range k.all() {
		all = append(all, s.tag[:strings.LastIndex(s.tag, "-")])
	}
	return all
}

// serve takes over a connection as the engine does. On /session BuildKit would ask for the build's directories.
func (k *fakeBuildKit) serve(w http.ResponseWriter, path string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	if path == "/session" {
		io.Copy(io.Discard, conn)
		conn.Close()
		return
	}
	s := grpc.NewServer()
	control.RegisterControlServer(s, k)
	gateway.RegisterLLBBridgeServer(s, &fakeBridge{buildKit: k})
	one := &oneConn{conn: conn, done: make(chan struct{})}
	s.Serve(one) // until the client has gone
}

// oneConn is a listener for a connection that is there already.
type oneConn struct {
	conn net.Conn
	once sync.Once
	done chan struct{}
}

func (l *oneConn) Accept() (conn net.Conn, err error) {
	err = io.EOF
	l.once.Do(func() { conn, err = &closing{Conn: l.conn, done: l.done}, nil })
	if err != nil {
		<-l.done
	}
	return conn, err
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

type closing struct {
	net.Conn
	once sync.Once
	done chan struct{}
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

func (k *fakeBuildKit) build(ref string) *fakeBuild {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.builds[ref] == nil {
		k.builds[ref] = &fakeBuild{tag: make(chan string, 1), ran: make(chan struct{}), returned: make(chan error, 1)}
	}
	return k.builds[ref]
}

func (k *fakeBuildKit) ListWorkers(context.Context, *control.ListWorkersRequest) (*control.ListWorkersResponse, error) {
	return &control.ListWorkersResponse{}, nil
}

// Solve exports what the client's frontend returns.
func (k *fakeBuildKit) Solve(ctx context.Context, r *control.SolveRequest) (*control.SolveResponse, error) {
	b := k.build(r.Ref)
	name := r.ExporterAttrsDeprecated["name"]
	b.tag <- name
	select {
	case err := <-b.returned:
		if err != nil {
			return nil, err
		}
		k.engine.put(name, b.step.image)
		return &control.SolveResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Status tells what the step says, and how it ended.
func (k *fakeBuildKit) Status(r *control.StatusRequest, to grpc.ServerStreamingServer[control.StatusResponse]) error {
	b := k.build(r.Ref)
	select {
	case <-b.ran:
	case <-to.Context().Done():
		return nil
	}
	now := timestamppb.Now()
	v := &control.Vertex{Digest: "sha256:" + r.Ref, Name: "the step", Started: now, Completed: now}
	if b.step.code != 0 {
		v.Error = b.step.failure()
	}
	response := &control.StatusResponse{Vertexes: []*control.Vertex{v}}
	for _, line := range b.step.says {
		response.Logs = append(response.Logs, &control.VertexLog{Vertex: v.Digest, Timestamp: now, Msg: []byte(line + "\n")})
	}
	return to.Send(response)
}

func (s fakeStep) failure() string {
	return fmt.Sprintf("process did not complete successfully: exit code: %d", s.code)
}

// fakeBridge is where the frontend, which is in the client, has its steps done.
type fakeBridge struct {
	gateway.UnimplementedLLBBridgeServer
	buildKit *fakeBuildKit
}

func (g *fakeBridge) Ping(context.Context, *gateway.PingRequest) (*gateway.PongResponse, error) {
	return &gateway.PongResponse{FrontendAPICaps: gateway.Caps.All(), LLBCaps: pb.Caps.All()}, nil
}

func (g *fakeBridge) Solve(ctx context.Context, r *gateway.SolveRequest) (*gateway.SolveResponse, error) {
	b := g.buildKit.build(buildid.FromIncomingContext(ctx))
	defer close(b.ran)
	tag := <-b.tag
	var ok bool
	if b.step, ok = g.buildKit.run(tag, r.Definition); !ok {
		return nil, status.Error(codes.NotFound, "nobody knows how to make "+tag)
	}
	if b.step.code != 0 {
		return nil, status.Error(codes.Unknown, b.step.failure())
	}
	return &gateway.SolveResponse{Result: &gateway.Result{Result: &gateway.Result_Ref{Ref: &gateway.Ref{Id: "result"}}}}, nil
}

func (g *fakeBridge) Return(ctx context.Context, r *gateway.ReturnRequest) (*gateway.ReturnResponse, error) {
	var err error
	if r.Error != nil {
		err = status.Error(codes.Code(r.Error.Code), r.Error.Message)
	}
	g.buildKit.build(buildid.FromIncomingContext(ctx)).returned <- err
	return &gateway.ReturnResponse{}, nil
}

// run notes the definition's step.
func (k *fakeBuildKit) run(tag string, def *pb.Definition) (fakeStep, bool) {
	ran := ranStep{tag: tag, env: map[string]string{}}
	for _, raw := range def.GetDef() {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			return fakeStep{}, false
		}
		for _, e := range op.GetExec().GetMeta().GetEnv() {
			name, value, _ := strings.Cut(e, "=")
			ran.env[name] = value
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ran = append(k.ran, ran)
	for start, s := range k.steps {
		if strings.HasPrefix(tag, start) {
			return s, true
		}
	}
	return fakeStep{}, false
}
