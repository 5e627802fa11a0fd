package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// fileName is the identity's file in the data directory.
const fileName = "identity.json"

// fileVersion is the version of that file.
const fileVersion = 1

var (
	// ErrNone: the directory holds no identity; the host is no member of a cluster yet.
	ErrNone = errors.New("this host has no identity")
	// ErrCorrupt is wrapped when an identity is there but cannot be used.
	ErrCorrupt = errors.New("identity cannot be used")
)

// Identity is all that makes this host a member of its cluster. It is written
// once, when the host joins, and read at each start.
type Identity struct {
	ClusterID   string
	ClusterName string // for people
	Host        string // this host's name
	MachineID   string // UUID of this machine as a member
	Cert        *x509.Certificate
	Key         *ecdsa.PrivateKey
	CA          *x509.Certificate // the cluster's authority
	SealKey     []byte            // opens what the replicated state keeps sealed
}

// New puts an identity together from what the authority signed and checks that
// the parts fit one another.
func New(clusterName string, certPEM []byte, key *ecdsa.PrivateKey, caPEM, sealKey []byte) (*Identity, error) {
	ca, err := ParseCA(caPEM)
	if err != nil {
		return nil, err
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("read the host certificate: %w", err)
	}
	who, err := verify([]*x509.Certificate{cert}, ca, x509.ExtKeyUsageAny)
	// An own certificate that has expired is not corrupt: peers refuse it and say so.
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		who, err = NameOf(cert)
	}
	if err != nil {
		return nil, err
	}
	if who.Role != RoleHost {
		return nil, fmt.Errorf("the certificate is that of a %s, not of a host", who.Role)
	}
	if key == nil || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the private key does not belong to the host certificate")
	}
	if len(sealKey) != SealKeySize {
		return nil, fmt.Errorf("the seal key has %d bytes, %d are wanted", len(sealKey), SealKeySize)
	}
	return &Identity{ClusterID: who.Cluster, ClusterName: clusterName, Host: who.Host, MachineID: who.Machine,
		Cert: cert, Key: key, CA: ca, SealKey: bytes.Clone(sealKey)}, nil
}

// file is an Identity on disk. Everything is in one file, so that it is there
// as a whole or not at all.
type file struct {
	Version     int    `json:"version"`
	ClusterID   string `json:"cluster_id"`
	ClusterName string `json:"cluster_name"`
	Host        string `json:"host"`
	MachineID   string `json:"machine_id"`
	Cert        string `json:"cert"` // PEM
	Key         string `json:"key"`  // PEM, PKCS #8
	CA          string `json:"ca"`   // PEM
	SealKey     []byte `json:"seal_key"`
}

// Save writes the identity into dir (made 0700 if need be) as one file, 0600,
// atomically and durably. It refuses to replace an identity of another cluster
// or another host.
func (id *Identity) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if old, err := Load(dir); err == nil && (old.ClusterID != id.ClusterID || old.Host != id.Host) {
		return fmt.Errorf("%s already holds the identity of host %s of cluster %q (%s); use another data directory, or remove this one if that cluster no longer needs it",
			dir, old.Host, old.ClusterName, old.ClusterID)
	} else if err != nil && !errors.Is(err, ErrNone) {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(id.Key)
	if err != nil {
		return fmt.Errorf("encode host key: %w", err)
	}
	data, err := json.MarshalIndent(file{Version: fileVersion, ClusterID: id.ClusterID, ClusterName: id.ClusterName, Host: id.Host, MachineID: id.MachineID,
		Cert: string(encode(pemCertificate, id.Cert.Raw)), Key: string(encode(pemKey, der)), CA: string(encode(pemCertificate, id.CA.Raw)), SealKey: id.SealKey}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	path := filepath.Join(dir, fileName)
	if err := renameio.WriteFile(path, append(data, '\n'), 0o600, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(dir)
}

// Load reads the identity in dir. ErrNone is wrapped when there is none,
// ErrCorrupt when there is one that cannot be used.
func Load(dir string) (*Identity, error) {
	path := filepath.Join(dir, fileName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no %s", ErrNone, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	id, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w; restore the file, or remove the data directory and join again with a new token", ErrCorrupt, path, err)
	}
	return id, nil
}

func parse(data []byte) (*Identity, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("not readable (%d bytes): %w", len(data), err)
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("it is of version %d, this program reads version %d", f.Version, fileVersion)
	}
	block, _ := pem.Decode([]byte(f.Key))
	if block == nil || block.Type != pemKey {
		return nil, errors.New("the host key is not a PEM block of type PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the host key is not an ECDSA key")
	}
	id, err := New(f.ClusterName, []byte(f.Cert), key, []byte(f.CA), f.SealKey)
	if err != nil {
		return nil, err
	}
	if id.ClusterID != f.ClusterID || id.Host != f.Host || id.MachineID != f.MachineID {
		return nil, fmt.Errorf("it is said to be host %s of cluster %s, but its certificate is that of host %s of cluster %s", f.Host, f.ClusterID, id.Host, id.ClusterID)
	}
	return id, nil
}

// CAPEM is the cluster authority's certificate, PEM.
func (id *Identity) CAPEM() []byte { return encode(pemCertificate, id.CA.Raw) }

// Name is what this host's certificate says of it.
func (id *Identity) Name() Name {
	return Name{Cluster: id.ClusterID, Role: RoleHost, Host: id.Host, Machine: id.MachineID}
}

// syncDir makes a rename in dir survive a power loss.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open %s to sync it: %w", dir, err)
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
