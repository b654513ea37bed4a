package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// Protocols that share the port, as ALPN names them.
const (
	protoGRPC  = "h2"
	protoRaft  = "raftstream-raft/1"
	protoWatch = "raftstream-watch/1"
)

// Security says how the port is protected. The zero value is a port without TLS: for trusted networks only. With TLS
// both sides show certificates of one authority, and nothing else is accepted.
type Security struct {
	Certificate *tls.Certificate
	Authority   *x509.CertPool
}

// LoadSecurity reads PEM files: this node's certificate and key, and the authority that signed everybody's.
func LoadSecurity(certFile, keyFile, authorityFile string) (Security, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return Security{}, fmt.Errorf("read certificate %s with key %s: %w", certFile, keyFile, err)
	}
	pem, err := os.ReadFile(authorityFile)
	if err != nil {
		return Security{}, fmt.Errorf("read certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return Security{}, fmt.Errorf("certificate authority %s: no certificate in PEM found", authorityFile)
	}
	return Security{Certificate: &cert, Authority: pool}, nil
}

// Enabled reports whether the port speaks TLS.
func (s Security) Enabled() bool { return s.Certificate != nil }

func (s Security) check() error {
	if s.Enabled() != (s.Authority != nil) {
		return errors.New("security: a certificate and an authority are needed together, or neither")
	}
	return nil
}

// server is the configuration of accepted connections.
func (s Security) server() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{*s.Certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    s.Authority,
		NextProtos:   []string{protoGRPC, protoRaft, protoWatch},
	}
}

// Client is the configuration of connections to other nodes that speak proto; nil without TLS.
func (s Security) client(proto string) *tls.Config {
	if !s.Enabled() {
		return nil
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{*s.Certificate},
		RootCAs:      s.Authority,
		NextProtos:   []string{proto},
	}
}

// accepted are gRPC's credentials of connections whose handshake the port has made already.
type accepted struct {
	credentials.TransportCredentials
}

// ServerHandshake hands the connection on, with what its certificates said.
func (a accepted) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	inner := c
	if from, ok := inner.(*caller); ok {
		inner = from.Conn
	}
	if held, ok := inner.(*counted); ok {
		inner = held.Conn
	}
	t, ok := inner.(*tls.Conn)
	if !ok {
		return nil, nil, fmt.Errorf("connection from %v is not protected", c.RemoteAddr())
	}
	return c, credentials.TLSInfo{
		State:          t.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone copies the credentials.
func (a accepted) Clone() credentials.TransportCredentials {
	return accepted{a.TransportCredentials.Clone()}
}
