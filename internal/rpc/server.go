package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

const (
	// streamsMax bounds the calls of one connection that run at a time.
	streamsMax = 1024
	// serverWindow is what a stream that nobody reads can have a server hold. A hundred producers that are slowed down stay
	// within half of intakeMax. A message that is read gets the window that it takes.
	serverWindow = 1 << 20
	// serverBuffer is what a connection reads at once.
	serverBuffer = 64 << 10
)

// ServerConfig says what a node answers.
type ServerConfig struct {
	Security Security
	// Store is this node's; calls that mean another one are refused.
	Store id.Store
	// Drivers is the node's driver, nil without that role.
	Drivers job.Dialer
	// Executor is the node's executor, nil without that role.
	Executor job.Server
	// API serves the public API; nil: it is not served.
	API *API
	// Ready is what gRPC's health service says: the node sees a leader.
	Ready  func() bool
	Logger *slog.Logger // nil: none
}

// Server answers gRPC calls on the port.
type Server struct {
	clusterpb.UnimplementedClusterServer
	cfg      ServerConfig
	grpc     *grpc.Server
	log      *slog.Logger
	dial     dialFunc
	intake   *intake
	stopping chan struct{}
	// controlLimit is controlMax; tests make it smaller.
	controlLimit int
	once         sync.Once
	workers      sync.WaitGroup // goroutines of streams, which end with them
}

// NewServer makes a server; Serve starts it.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, log: cfg.Logger, dial: dialTCP, intake: newIntake(cfg.Logger), stopping: make(chan struct{}), controlLimit: controlMax}
	creds := insecure.NewCredentials()
	if cfg.Security.Enabled() {
		creds = accepted{credentials.NewTLS(cfg.Security.server())}
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(creds),
		grpc.ForceServerCodecV2(newFraming()),
		grpc.MaxRecvMsgSize(launchMax),
		grpc.MaxSendMsgSize(resultMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.MaxHeaderListSize(headersMax),
		grpc.InTapHandle(s.intake.tap),
		grpc.StatsHandler(s.intake),
		grpc.InitialWindowSize(serverWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.ReadBufferSize(serverBuffer), // of every connection, also of one that says nothing
		grpc.WriteBufferSize(bufferSize),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTime}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingFloor, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.guardCall),
		grpc.StreamInterceptor(s.guardStream),
		grpc.WaitForHandlers(true),
	)
	clusterpb.RegisterClusterServer(s.grpc, s)
	if cfg.API != nil {
		a := &apiServer{API: cfg.API, server: s}
		raftstreamv1.RegisterApplicationsServer(s.grpc, applications{apiServer: a})
		raftstreamv1.RegisterClusterServer(s.grpc, members{apiServer: a})
	}
	healthpb.RegisterHealthServer(s.grpc, &health{ready: cfg.Ready, stopping: s.stopping})
	reflection.Register(s.grpc)
	return s
}

// Serve answers until Stop; it is nil then.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(counting{l, s.intake}); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve grpc on %v: %w", l.Addr(), err)
	}
	return nil
}

// Stop ends streams, waits for calls until ctx ends, breaks off the rest, and joins every goroutine of the server.
func (s *Server) Stop(ctx context.Context) {
	s.once.Do(func() { close(s.stopping) })
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	defer stop()
	s.grpc.GracefulStop()
	s.workers.Wait()
}

// guardCall turns a panic into an answer: one bad request must not end a node.
func (s *Server) guardCall(
	ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler,
) (reply any, err error) {
	defer s.recovered(info.FullMethod, &err)
	reply, err = h(ctx, req)
	replies(ctx, reply)
	return reply, err
}

func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return h(srv, stream)
}

func (s *Server) recovered(method string, err *error) {
	if p := recover(); p != nil {
		s.log.Error("call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "%s panicked: %v", method, p)
	}
}
