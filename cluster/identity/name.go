package identity

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
)

const scheme = "holdfast"

// Role is what a certificate's holder may speak as.
type Role string

// RoleHost is an agent on a host of the cluster: it may speak raft and the API.
const RoleHost Role = "host"

// Name is what a certificate says of its holder.
type Name struct {
	Cluster string // cluster id
	Role    Role
	Host    string // host name
	// Machine tells this machine from an earlier member of the same name.
	Machine string
}

func (n Name) String() string { return fmt.Sprintf("%s %s of cluster %s", n.Role, n.Host, n.Cluster) }

// uri is the SAN that carries the name.
func (n Name) uri() (*url.URL, error) {
	for _, part := range []struct{ what, value string }{{"cluster id", n.Cluster}, {"role", string(n.Role)}, {"host name", n.Host}, {"machine id", n.Machine}} {
		if err := checkPart(part.what, part.value); err != nil {
			return nil, err
		}
	}
	return &url.URL{Scheme: scheme, Host: n.Cluster, Path: "/" + strings.Join([]string{string(n.Role), n.Host, n.Machine}, "/")}, nil
}

// NameOf reads who a certificate belongs to. It does not verify the certificate.
func NameOf(cert *x509.Certificate) (Name, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != scheme {
		return Name{}, fmt.Errorf("certificate %q names no member of a Holdfast cluster", cert.Subject.CommonName)
	}
	uri := cert.URIs[0]
	parts := strings.Split(strings.TrimPrefix(uri.Path, "/"), "/")
	if len(parts) != 3 || uri.Host == "" || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return Name{}, fmt.Errorf("certificate %q: cannot read the name %q", cert.Subject.CommonName, uri)
	}
	return Name{Cluster: uri.Host, Role: Role(parts[0]), Host: parts[1], Machine: parts[2]}, nil
}

// clusterOf is the cluster that a CA certificate is the authority of; empty when it is none.
func clusterOf(ca *x509.Certificate) string {
	if len(ca.URIs) != 1 || ca.URIs[0].Scheme != scheme || ca.URIs[0].Path != "/ca" {
		return ""
	}
	return ca.URIs[0].Host
}

// checkPart accepts what can be one part of a name: letters, digits, hyphen,
// dot and underscore, at most 253 of them, not beginning with a dot.
func checkPart(what, value string) error {
	if value == "" {
		return fmt.Errorf("%s is empty", what)
	}
	if len(value) > 253 {
		return fmt.Errorf("%s has %d characters, at most 253 are allowed", what, len(value))
	}
	for i, c := range value {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 {
			continue
		}
		return fmt.Errorf("%s %.64q: letters, digits, '-', '_' and (not first) '.' are allowed", what, value)
	}
	return nil
}
