package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Sizes of windows and buffers: bulk data runs up to half faster than with gRPC's own (notes of the design).
const (
	streamWindow = 8 << 20
	connWindow   = 16 << 20
	bufferSize   = 256 << 10
)

const (
	// connectTime bounds the making of one connection, with its handshakes.
	connectTime = time.Second
	// reconnectMax bounds gRPC's own wait between two connections.
	reconnectMax = 200 * time.Millisecond
	// pingAfter and pingTime find a host that vanished while a call waits. The server allows pings this often.
	pingAfter = 10 * time.Second
	pingTime  = 3 * time.Second
	pingFloor = 5 * time.Second
)

// dialFunc opens a connection; tests replace TCP by it.
type dialFunc func(ctx context.Context, addr string) (net.Conn, error)

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// connect makes a gRPC connection to addr; nothing is dialled before the first call.
func connect(addr string, sec Security, dial dialFunc) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if cfg := sec.client(protoGRPC); cfg != nil {
		creds = credentials.NewTLS(cfg)
	}
	cc, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMax},
			MinConnectTimeout: connectTime,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTime}),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithReadBufferSize(bufferSize),
		grpc.WithWriteBufferSize(bufferSize),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(newFraming()),
			grpc.MaxCallRecvMsgSize(messageMax),
			grpc.MaxCallSendMsgSize(messageMax),
		),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return cc, nil
}

var errNotConnected = errors.New("no connection")

// awaitReady waits until cc is connected or has failed to (the next call then says why), or until connectTime is over.
func awaitReady(ctx context.Context, cc *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	cc.Connect()
	for {
		s := cc.GetState()
		switch s {
		case connectivity.Ready, connectivity.TransientFailure, connectivity.Shutdown:
			return nil
		}
		if !cc.WaitForStateChange(ctx, s) {
			return fmt.Errorf("%w within %v", errNotConnected, connectTime)
		}
	}
}

const (
	probeTime = 100 * time.Millisecond
	probeStep = 20 * time.Millisecond
)

// gone reports whether the process at addr is dead for certain: its port refuses a dial. A process that accepts and
// then resets is dying: it is asked again for a while. Whatever else happens is not known to be dead (rule 3).
func gone(ctx context.Context, addr string, dial dialFunc) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
	defer cancel()
	for ctx.Err() == nil {
		c, err := dial(ctx, addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return true
		}
		if err == nil && lives(c) {
			return false
		}
		t := time.NewTimer(time.Millisecond)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
	return false
}

// Refuses reports whether nobody listens at an rpc address: its port refuses a dial. It returns within probeTime.
func Refuses(ctx context.Context, addr string) bool { return gone(ctx, addr, dialTCP) }

// lives reports whether the other side keeps a fresh connection open for a while.
func lives(c net.Conn) bool {
	defer c.Close()
	if c.SetReadDeadline(time.Now().Add(probeStep)) != nil {
		return false
	}
	_, err := c.Read(make([]byte, 1))
	var timeout net.Error
	return err == nil || errors.As(err, &timeout) && timeout.Timeout()
}
