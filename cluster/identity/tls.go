package identity

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// ErrPeer is wrapped by every refusal of a peer's certificate.
var ErrPeer = errors.New("peer certificate refused")

// ServerTLS is what the cluster port answers with: TLS 1.3, this host's
// certificate and the CA behind it (a joining host pins the CA). A client may
// come without a certificate, because one that joins has none; one that shows a
// certificate must show a good one of this cluster. What a client may do is
// decided by its Name, which Verified returns.
func (id *Identity) ServerTLS(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.chain()},
		NextProtos:   protocols,
		// The certificate is verified by Verified below, not by crypto/tls, which
		// knows no roles and would read NotBefore by a clock that may be wrong.
		ClientAuth: tls.RequestClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return nil
			}
			_, err := id.Verified(s)
			return err
		},
		// A resumed session would outlive the removal of a host.
		SessionTicketsDisabled: true,
	}
}

// ClientTLS is how this host calls host name of its cluster: TLS 1.3, its own
// certificate shown, and the other end refused unless its certificate is that
// of host name.
func (id *Identity) ClientTLS(name string, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.chain()},
		NextProtos:   protocols,
		ServerName:   name,
		// Not less checked but differently: by SAN URI, since there are no DNS names.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			who, err := id.Verified(s)
			if err != nil {
				return err
			}
			if who.Role != RoleHost || who.Host != name {
				return fmt.Errorf("%w: called host %s, but %s answered; check the addresses of both", ErrPeer, name, who)
			}
			return nil
		},
	}
}

// JoiningTLS is how a host that is not yet a member calls one, knowing nothing
// but a token: the other end must show a host certificate signed by the CA whose
// fingerprint the token carries.
func (t Token) JoiningTLS(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         protocols,
		InsecureSkipVerify: true, // pinned below: there is no pool to verify with yet
		VerifyConnection: func(s tls.ConnectionState) error {
			var ca *x509.Certificate
			for _, c := range s.PeerCertificates {
				sum := sha256.Sum256(c.Raw)
				if hex.EncodeToString(sum[:]) == t.Fingerprint {
					ca = c
				}
			}
			if ca == nil {
				return fmt.Errorf("%w: it is not of the cluster that the token was made for (CA fingerprint %.16s… not shown); check the token and the address", ErrPeer, t.Fingerprint)
			}
			if !ca.IsCA || clusterOf(ca) != t.Cluster {
				return fmt.Errorf("%w: the certificate with the token's fingerprint is not the authority of cluster %s", ErrPeer, t.Cluster)
			}
			_, err := verify(s.PeerCertificates, ca, x509.ExtKeyUsageServerAuth)
			return err
		},
	}
}

// Verified returns who is at the other end of a TLS connection, after verifying
// its certificate against the cluster's CA.
func (id *Identity) Verified(s tls.ConnectionState) (Name, error) {
	return verify(s.PeerCertificates, id.CA, x509.ExtKeyUsageAny)
}

// verify checks that the first certificate is a good one of ca's cluster. A
// certificate that is not valid yet is accepted: the CA never issues any for
// later, so it only means that this host's clock is behind, and a clock that
// boots in the past must not take the cluster apart.
func verify(shown []*x509.Certificate, ca *x509.Certificate, usage x509.ExtKeyUsage) (Name, error) {
	if len(shown) == 0 {
		return Name{}, fmt.Errorf("%w: none was shown", ErrPeer)
	}
	leaf := shown[0]
	now := time.Now()
	for _, c := range []*x509.Certificate{leaf, ca} {
		if now.Before(c.NotBefore) {
			now = c.NotBefore
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			return Name{}, fmt.Errorf("%w: %q is signed by another authority than that of cluster %s", ErrPeer, leaf.Subject.CommonName, clusterOf(ca))
		}
		return Name{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	who, err := NameOf(leaf)
	if err != nil {
		return Name{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	if who.Cluster != clusterOf(ca) {
		return Name{}, fmt.Errorf("%w: it is of cluster %s, this is cluster %s", ErrPeer, who.Cluster, clusterOf(ca))
	}
	return who, nil
}

// chain is what this host shows: its certificate and the CA's.
func (id *Identity) chain() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{id.Cert.Raw, id.CA.Raw}, PrivateKey: id.Key, Leaf: id.Cert}
}
