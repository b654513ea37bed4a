package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", true)
	return a
}

// issue writes NAME.pem and NAME.key.
func (a *authority) issue(name string, isCA bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: isCA,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if isCA {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

func (a *authority) flags(name string) []string {
	a.issue(name, false)
	return []string{
		"--tls-cert", filepath.Join(a.dir, name+".pem"), "--tls-key", filepath.Join(a.dir, name+".key"),
		"--tls-ca", filepath.Join(a.dir, "ca.pem"),
	}
}

func TestNodeWithTLSAnswersItsOwnAuthorityOnly(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	operator := ours.flags("operator")
	n := newTestNodeWith(t, ours.flags("n1"), operator)
	var members membersJSON
	n.must(&members, "", "members")
	if members.Leader != "n1" {
		t.Errorf("members %+v, expected n1 to lead", members)
	}
	for name, flags := range map[string][]string{"no TLS": nil, "another authority": theirs.flags("stranger")} {
		n.tls = flags
		if status, _, stderr := n.command("", "--timeout", "500ms", "members"); status != statusUnreachable {
			t.Errorf("%s: status %d, %s, expected 3", name, status, stderr)
		}
	}
}
