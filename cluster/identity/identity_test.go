package identity_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/identity"
)

// newIdentity makes host name's identity in a new cluster.
func newIdentity(t testing.TB, cluster, name string) (*identity.CA, *identity.Identity) {
	t.Helper()
	ca, err := identity.NewCA(cluster, "lab")
	if err != nil {
		t.Fatal(err)
	}
	return ca, signed(t, ca, name)
}

// signed makes host name's identity with an authority.
func signed(t testing.TB, ca *identity.CA, name string) *identity.Identity {
	t.Helper()
	request, key, err := identity.NewRequest(name)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(request, name, "7e4c")
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New("lab", cert, key, ca.CertPEM(), bytes.Repeat([]byte{7}, identity.SealKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestSaveAndLoad(t *testing.T) {
	_, id := newIdentity(t, "c1", "kvm1")
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := identity.Load(dir); !errors.Is(err, identity.ErrNone) {
		t.Errorf("Load of nothing: %v, want ErrNone", err)
	}
	for range 2 {
		if err := id.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	got, err := identity.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name() != id.Name() || got.ClusterName != "lab" || !got.Key.Equal(id.Key) || !got.Cert.Equal(id.Cert) || !got.CA.Equal(id.CA) || !bytes.Equal(got.SealKey, id.SealKey) {
		t.Errorf("loaded %+v, saved %+v", got, id)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "identity.json"): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v (%v), want %v", path, info.Mode().Perm(), err, want)
		}
	}
	for name, other := range map[string]*identity.Identity{"another cluster": second(newIdentity(t, "c2", "kvm1")), "another host": second(newIdentity(t, "c1", "kvm2"))} {
		if err := other.Save(dir); err == nil || !strings.Contains(err.Error(), "already holds the identity of host kvm1") {
			t.Errorf("saving the identity of %s over it: %v, want it refused", name, err)
		}
	}
}

func second[A, B any](_ A, b B) B { return b }

func TestLoadRefusesWhatIsCorrupt(t *testing.T) {
	_, id := newIdentity(t, "c1", "kvm1")
	_, other := newIdentity(t, "c1", "kvm1") // the same names, another authority
	dir := t.TempDir()
	if err := id.Save(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "identity.json")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	otherDir := t.TempDir()
	if err := other.Save(otherDir); err != nil {
		t.Fatal(err)
	}
	otherWhole, err := os.ReadFile(filepath.Join(otherDir, "identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	edit := func(change func(mine, theirs map[string]any)) []byte {
		var mine, theirs map[string]any
		if json.Unmarshal(whole, &mine) != nil || json.Unmarshal(otherWhole, &theirs) != nil {
			t.Fatal("cannot read what was saved")
		}
		change(mine, theirs)
		b, err := json.Marshal(mine)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not readable (0 bytes)"},
		{"cut short", whole[:len(whole)/2], "not readable"},
		{"newer format", edit(func(m, _ map[string]any) { m["version"] = 2 }), "version 2, this program reads version 1"},
		{"key of another host", edit(func(m, o map[string]any) { m["key"] = o["key"] }), "does not belong to the host certificate"},
		{"authority of another cluster", edit(func(m, o map[string]any) { m["ca"] = o["ca"] }), "another authority"},
		{"host certificate as authority", edit(func(m, _ map[string]any) { m["ca"] = m["cert"] }), "not the authority"},
		{"certificate destroyed", edit(func(m, _ map[string]any) { m["cert"] = "-----BEGIN" }), "no PEM block"},
		{"renamed", edit(func(m, _ map[string]any) { m["host"] = "kvm9" }), "said to be host kvm9"},
		{"seal key lost", edit(func(m, _ map[string]any) { delete(m, "seal_key") }), "seal key has 0 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := identity.Load(dir)
			if !errors.Is(err, identity.ErrCorrupt) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("Load: %v, want ErrCorrupt, the path and %q", err, tt.want)
			}
			if err := id.Save(dir); !errors.Is(err, identity.ErrCorrupt) {
				t.Errorf("Save over it: %v, want it refused", err)
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	ca, _ := newIdentity(t, "c1", "kvm1")
	request, _, err := identity.NewRequest("kvm2")
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Replace(request, []byte("MIH"), []byte("MIG"), 1)
	for _, tt := range []struct {
		name, host, machine string
		request             []byte
	}{
		{"no PEM", "kvm2", "m", []byte("hello")},
		{"two requests", "kvm2", "m", append(bytes.Clone(request), request...)},
		{"a broken request", "kvm2", "m", broken},
		{"no host name", "", "m", request},
		{"a host name that is a path", "kvm2/../kvm1", "m", request},
		{"a host name with a blank", "kvm 2", "m", request},
		{"no machine", "kvm2", "", request},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if cert, err := ca.Sign(tt.request, tt.host, tt.machine); err == nil {
				t.Errorf("signed: %s", cert)
			}
		})
	}
}

func TestSealedCA(t *testing.T) {
	ca, id := newIdentity(t, "c1", "kvm1")
	sealed, err := ca.Sealed(id.SealKey)
	if err != nil {
		t.Fatal(err)
	}
	again, err := identity.OpenCA(ca.CertPEM(), sealed, id.SealKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.Verified(state(signed(t, again, "kvm2"))); err != nil {
		t.Errorf("a certificate of the reopened authority: %v", err)
	}
	otherKey := bytes.Repeat([]byte{8}, identity.SealKeySize)
	if _, err := identity.OpenCA(ca.CertPEM(), sealed, otherKey); !errors.Is(err, identity.ErrUnsealed) {
		t.Errorf("another seal key: %v, want ErrUnsealed", err)
	}
	for i := 1; i < len(sealed); i += 7 {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := identity.OpenCA(ca.CertPEM(), bad, id.SealKey); !errors.Is(err, identity.ErrUnsealed) {
			t.Errorf("byte %d altered: %v, want ErrUnsealed", i, err)
		}
	}
	if _, err := identity.Open(id.SealKey, "another purpose", sealed); !errors.Is(err, identity.ErrUnsealed) {
		t.Errorf("another purpose: %v, want ErrUnsealed", err)
	}
	if _, err := identity.Open(id.SealKey, "x", sealed[:5]); !errors.Is(err, identity.ErrUnsealed) {
		t.Errorf("cut short: %v, want ErrUnsealed", err)
	}
}

// state is the end of a handshake in which id showed its certificate.
func state(id *identity.Identity) tls.ConnectionState {
	s := tls.ConnectionState{}
	s.PeerCertificates = append(s.PeerCertificates, id.Cert, id.CA)
	return s
}

// TestClocks: a clock that is wrong by an hour, or begins in the year 2000, does
// not take the cluster apart; an expired certificate is refused.
func TestClocks(t *testing.T) {
	now, past := makeNow(t)
	if _, err := now.Verified(state(now)); err != nil {
		t.Errorf("now: %v", err)
	}
	synctest.Test(t, func(t *testing.T) { // in the year 2000
		if _, err := now.Verified(state(now)); err != nil {
			t.Errorf("with a clock at %v: %v", time.Now(), err)
		}
	})
	if _, err := past.Verified(state(past)); !errors.Is(err, identity.ErrPeer) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a certificate of the year 2000: %v, want it to be expired", err)
	}
}

// makeNow makes identities that were signed now and in the year 2000.
func makeNow(t *testing.T) (now, past *identity.Identity) {
	t.Helper()
	_, now = newIdentity(t, "c1", "kvm1")
	synctest.Test(t, func(t *testing.T) { _, past = newIdentity(t, "c1", "kvm1") })
	return now, past
}

func TestHandshakes(t *testing.T) {
	ca, kvm1 := newIdentity(t, "c1", "kvm1")
	kvm2 := signed(t, ca, "kvm2")
	_, stranger := newIdentity(t, "c1", "kvm2")
	good, err := identity.NewToken("c1", identity.Fingerprint(ca.Certificate()), []string{"192.0.2.1:7400"})
	if err != nil {
		t.Fatal(err)
	}
	bad, err := identity.NewToken("c1", identity.Fingerprint(stranger.CA), []string{"192.0.2.1:7400"})
	if err != nil {
		t.Fatal(err)
	}
	// The fingerprint of a host certificate is not that of an authority.
	leaf, err := identity.NewToken("c1", identity.Fingerprint(kvm1.Cert), []string{"192.0.2.1:7400"})
	if err != nil {
		t.Fatal(err)
	}
	unpinned := stranger.ClientTLS("kvm1", "p")
	unpinned.VerifyConnection = nil
	for _, tt := range []struct {
		name           string
		client, server *tls.Config
		want           bool
	}{
		{"two hosts", kvm2.ClientTLS("kvm1", "p"), kvm1.ServerTLS("p"), true},
		{"another host answers", kvm1.ClientTLS("kvm3", "p"), kvm2.ServerTLS("p"), false},
		{"the server is of another authority", kvm1.ClientTLS("kvm2", "p"), stranger.ServerTLS("p"), false},
		{"the client is of another authority", unpinned, kvm1.ServerTLS("p"), false},
		{"joining", good.JoiningTLS("p"), kvm1.ServerTLS("p"), true},
		{"joining with another fingerprint", bad.JoiningTLS("p"), kvm1.ServerTLS("p"), false},
		{"joining with the fingerprint of a host", leaf.JoiningTLS("p"), kvm1.ServerTLS("p"), false},
		{"another protocol", kvm2.ClientTLS("kvm1", "q"), kvm1.ServerTLS("p"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := handshake(t, tt.client, tt.server)
			if ok := client == nil && server == nil; ok != tt.want {
				t.Errorf("client %v, server %v; want success %v", client, server, tt.want)
			}
		})
	}
}

// handshake runs both ends over a pipe and returns their errors.
func handshake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	a, b := net.Pipe()
	deadline := time.Now().Add(10 * time.Second)
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	done := make(chan error, 1)
	go func() {
		s := tls.Server(b, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		_ = b.Close()
		done <- err
	}()
	c := tls.Client(a, client)
	clientErr = c.Handshake()
	if clientErr == nil {
		// In TLS 1.3 the client learns of a refusal when it reads.
		_, clientErr = c.Read(make([]byte, 1))
	}
	_ = a.Close()
	return clientErr, <-done
}
