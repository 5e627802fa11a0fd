package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

const (
	// caLife is how long a cluster's authority is valid.
	caLife = 10 * 365 * 24 * time.Hour
	// hostLife is how long a host certificate is valid.
	hostLife = 2 * 365 * 24 * time.Hour
	// backdate is how far before its making a certificate begins, so that no
	// program which does look at the beginning stumbles over a clock set back.
	backdate = 7 * 24 * time.Hour
)

const (
	pemCertificate = "CERTIFICATE"
	pemRequest     = "CERTIFICATE REQUEST"
	pemKey         = "PRIVATE KEY"
	caKeyLabel     = "cluster CA key"
)

// CA is a cluster's certificate authority with its private key (ECDSA P-256, 10
// years). Only the master holds one, and only while it admits a host.
type CA struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	cluster string
}

// NewCA makes the authority of a new cluster. clusterID becomes part of every
// name it signs; clusterName is for people.
func NewCA(clusterID, clusterName string) (*CA, error) {
	if err := checkPart("cluster id", clusterID); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Holdfast cluster " + clusterName, Organization: []string{clusterID}},
		URIs:                  []*url.URL{{Scheme: scheme, Host: clusterID, Path: "/ca"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back the CA certificate: %w", err)
	}
	return &CA{cert: cert, key: key, cluster: clusterID}, nil
}

// OpenCA restores an authority from what the replicated state keeps: its
// certificate (PEM) and its private key as Sealed returned it.
func OpenCA(certPEM, sealedKey, sealKey []byte) (*CA, error) {
	cert, err := ParseCA(certPEM)
	if err != nil {
		return nil, err
	}
	der, err := Open(sealKey, caKeyLabel, sealedKey)
	if err != nil {
		return nil, fmt.Errorf("open the cluster CA key: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read the cluster CA key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the cluster CA key does not belong to the cluster CA certificate")
	}
	return &CA{cert: cert, key: key, cluster: clusterOf(cert)}, nil
}

// ParseCA reads a cluster's CA certificate (PEM) and refuses any other certificate.
func ParseCA(certPEM []byte) (*x509.Certificate, error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("read the CA certificate: %w", err)
	}
	if !cert.IsCA || clusterOf(cert) == "" {
		return nil, fmt.Errorf("certificate %q is not the authority of a Holdfast cluster", cert.Subject.CommonName)
	}
	return cert, nil
}

// Certificate is the authority's own certificate.
func (a *CA) Certificate() *x509.Certificate { return a.cert }

// CertPEM is the authority's own certificate, PEM.
func (a *CA) CertPEM() []byte { return encode(pemCertificate, a.cert.Raw) }

// Sealed is the private key, sealed with the cluster's seal key, for OpenCA.
func (a *CA) Sealed(sealKey []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("encode the cluster CA key: %w", err)
	}
	return Seal(sealKey, caKeyLabel, der)
}

// Fingerprint is the SHA-256 of a certificate, as a join token carries it.
func Fingerprint(cert *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(cert.Raw) }

// Sign makes the certificate of host name on machine machineID for a request
// (PEM) that the host made with NewRequest. Nothing but the public key is taken
// from the request: what a host is called is decided by the cluster.
func (a *CA) Sign(requestPEM []byte, name, machineID string) (certPEM []byte, err error) {
	block, rest := pem.Decode(requestPEM)
	if block == nil || block.Type != pemRequest || len(rest) != 0 {
		return nil, errors.New("certificate request: not one PEM block of type CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request is not signed by its own key: %w", err)
	}
	if key, ok := request.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("certificate request has a %v key, ECDSA P-256 is wanted", request.PublicKeyAlgorithm)
	}
	who := Name{Cluster: a.cluster, Role: RoleHost, Host: name, Machine: machineID}
	uri, err := who.uri()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{a.cluster}},
		URIs:                  []*url.URL{uri},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(hostLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, request.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	return encode(pemCertificate, der), nil
}

// NewRequest makes a private key and a certificate request (PEM) for it. The key
// never leaves the host.
func NewRequest(name string) (requestPEM []byte, key *ecdsa.PrivateKey, err error) {
	key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make host key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate request: %w", err)
	}
	return encode(pemRequest, der), key, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial, nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemCertificate {
		return nil, errors.New("no PEM block of type CERTIFICATE")
	}
	return x509.ParseCertificate(block.Bytes)
}
