package peertest

import (
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/identity"
)

// Cluster is an authority and what its hosts share.
type Cluster struct {
	CA      *identity.CA
	SealKey []byte
}

// NewCluster makes the authority of cluster id. Inside a bubble, so that its
// certificates are valid at the bubble's time.
func NewCluster(t testing.TB, id string) *Cluster {
	t.Helper()
	ca, err := identity.NewCA(id, "test")
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	return &Cluster{CA: ca, SealKey: key}
}

// Identity makes the identity of a host, on the machine "machine-NAME".
func (c *Cluster) Identity(t testing.TB, host string) *identity.Identity {
	t.Helper()
	request, key, err := identity.NewRequest(host)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := c.CA.Sign(request, host, "machine-"+host)
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New("test", cert, key, c.CA.CertPEM(), c.SealKey)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
