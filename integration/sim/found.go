package sim

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/cluster/identity"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/fsm"
)

// authority is the cluster's CA, with which the World makes its hosts members.
type authority struct {
	id      string
	ca      *identity.CA
	sealKey []byte
}

const (
	clusterName = "sim"
	clusterPort = 7430
	// votersAtStart of the hosts vote from the beginning; the others hold the state.
	votersAtStart = 5
)

// members are the hosts that belong to the cluster from the start.
func (w *World) members() []string {
	return slices.DeleteFunc(slices.Clone(w.order), func(name string) bool { return w.machines[name].outsider })
}

// found makes a cluster of its members as it is after the last of them has joined:
// each has its identity, and on its disk the log in which it was admitted.
func (w *World) found() error {
	w.ca.id = uuidOf("cluster", clusterName)
	var err error
	if w.ca.ca, err = identity.NewCA(w.ca.id, clusterName); err != nil {
		return err
	}
	if w.ca.sealKey, err = identity.NewSealKey(); err != nil {
		return err
	}
	sealed, err := w.ca.ca.Sealed(w.ca.sealKey)
	if err != nil {
		return err
	}
	log := []fsm.Command{&fsm.CreateCluster{Meta: fsm.Meta{At: time.Now()},
		Cluster: fsm.Cluster{ID: w.ca.id, Name: clusterName, Created: time.Now(), CACert: w.ca.ca.CertPEM(), CAKey: sealed},
		Host:    w.admitted(w.machines[w.members()[0]]), Policy: w.policy()}}
	var conf raft.Configuration
	for i, name := range w.members() {
		m := w.machines[name]
		if err := w.identify(m); err != nil {
			return err
		}
		suffrage := raft.Voter
		if i >= votersAtStart {
			suffrage = raft.Nonvoter
		}
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name), Suffrage: suffrage})
		if i == 0 {
			continue
		}
		secret := sha256.Sum256([]byte(name))
		id := fmt.Sprintf("t%015d", i)
		log = append(log,
			&fsm.CreateToken{Meta: fsm.Meta{At: time.Now()}, Token: fsm.Token{ID: id, Hash: secret[:], Created: time.Now(), Expires: time.Now().Add(time.Hour)}},
			&fsm.AddHost{Meta: fsm.Meta{At: time.Now()}, TokenID: id, SecretHash: secret[:], Host: w.admitted(m)})
	}
	entries := []*raft.Log{{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(conf)}}
	for i, c := range log {
		b, err := fsm.Encode(c)
		if err != nil {
			return err
		}
		entries = append(entries, &raft.Log{Index: uint64(i + 2), Term: 1, Type: raft.LogCommand, Data: b})
	}
	for _, name := range w.members() {
		d := w.machines[name].disk
		if err := d.SetUint64([]byte("CurrentTerm"), 1); err != nil {
			return err
		}
		if err := d.StoreLogs(entries); err != nil {
			return err
		}
	}
	return nil
}

// admitted is the host as the cluster knows it.
func (w *World) admitted(m *machine) fsm.Host {
	h := fsm.Host{Name: m.name, ID: m.machineID}
	for _, n := range networks {
		h.Addresses = append(h.Addresses, fsm.Address{Network: n, Addr: w.address(m.name, n)})
	}
	return h
}

// address is where a host's agent listens on a network.
func (w *World) address(host, network string) string {
	return fmt.Sprintf("%s:%d", w.net.IP(host, network), clusterPort)
}

// identify gives a host its certificate.
func (w *World) identify(m *machine) error {
	request, key, err := identity.NewRequest(m.name)
	if err != nil {
		return err
	}
	cert, err := w.ca.ca.Sign(request, m.name, m.machineID)
	if err != nil {
		return err
	}
	id, err := identity.New(clusterName, cert, key, w.ca.ca.CertPEM(), w.ca.sealKey)
	if err != nil {
		return err
	}
	peers := map[string][]peer.Address{}
	for _, name := range w.members() {
		for _, n := range networks {
			peers[name] = append(peers[name], peer.Address{Network: n, Addr: w.address(name, n)})
		}
	}
	m.disk.saveMembership(&agent.Membership{Identity: id, Timing: w.timing, Peers: peers})
	return nil
}
