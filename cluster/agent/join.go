package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/identity"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/raftnode"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// NewUUID makes a random UUID (version 4).
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// alone makes sure that this host is no member and that nobody else is making it one.
func (a *Agent) alone(ctx context.Context) (release func(), err error) {
	select {
	case a.joining <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release = func() { <-a.joining }
	if err := a.aside(); err != nil {
		release()
		return nil, err
	}
	if m, err := a.current(); err == nil {
		release()
		return nil, fmt.Errorf("%w: this host is a member of cluster %q already", api.ErrRefused, m.ms.Identity.ClusterName)
	}
	return release, nil
}

// Bootstrap implements api.Backend: this host becomes the first of a new cluster.
func (a *Agent) Bootstrap(ctx context.Context, r api.BootstrapRequest) (api.Self, error) {
	release, err := a.alone(ctx)
	if err != nil {
		return api.Self{}, err
	}
	defer release()
	ms, err := a.newCluster(r)
	if err != nil {
		return api.Self{}, err
	}
	stores, err := a.env.Store.OpenRaft(a.env.Logger.Named("store"))
	if err != nil {
		return api.Self{}, err
	}
	err = raftnode.Bootstrap(stores, a.env.Name, a.env.Logger.Named("raft"))
	if cerr := stores.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return api.Self{}, fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	return a.becomeMember(ctx, ms)
}

func (a *Agent) newCluster(r api.BootstrapRequest) (*Membership, error) {
	policy := config.DefaultPolicy(r.Name)
	if len(r.Policy) > 0 {
		p, err := config.ParsePolicy(r.Policy)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", api.ErrRefused, err)
		}
		if p.Cluster != r.Name {
			return nil, fmt.Errorf("%w: the policy is for cluster %q, not %q", api.ErrRefused, p.Cluster, r.Name)
		}
		policy = p
	}
	ca, err := identity.NewCA(NewUUID(), r.Name)
	if err != nil {
		return nil, err
	}
	return a.genesis(ca, policy, r.Policy)
}

// genesis makes this host's membership of a cluster that it creates.
func (a *Agent) genesis(ca *identity.CA, policy *config.Policy, files map[string][]byte) (*Membership, error) {
	seal, err := identity.NewSealKey()
	if err != nil {
		return nil, err
	}
	key, err := ca.Sealed(seal)
	if err != nil {
		return nil, err
	}
	csr, priv, err := identity.NewRequest(a.env.Name)
	if err != nil {
		return nil, err
	}
	h := fsm.Host{Name: a.env.Name, ID: NewUUID()}
	for _, l := range a.env.Listen {
		h.Addresses = append(h.Addresses, fsm.Address(l))
	}
	cert, err := ca.Sign(csr, h.Name, h.ID)
	if err != nil {
		return nil, err
	}
	id, err := identity.New(policy.Cluster, cert, priv, ca.CertPEM(), seal)
	if err != nil {
		return nil, err
	}
	now := a.env.Wall()
	cmd, err := fsm.Encode(&fsm.CreateCluster{Meta: fsm.Meta{At: now, By: "bootstrap"}, Host: h, Policy: files,
		Cluster: fsm.Cluster{ID: id.ClusterID, Name: policy.Cluster, Created: now, CACert: ca.CertPEM(), CAKey: key}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	return &Membership{Identity: id, Timing: policy.Timing, Peers: map[string][]peer.Address{h.Name: a.env.Listen}, Genesis: cmd}, nil
}

// Join implements api.Backend: this host asks the cluster that the token names to admit it.
func (a *Agent) Join(ctx context.Context, token string) (api.Self, error) {
	release, err := a.alone(ctx)
	if err != nil {
		return api.Self{}, err
	}
	defer release()
	t, err := identity.ParseToken(token)
	if err != nil {
		return api.Self{}, fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	csr, key, err := identity.NewRequest(a.env.Name)
	if err != nil {
		return api.Self{}, err
	}
	req := api.JoinRequest{TokenID: t.ID, Secret: t.Secret, Name: a.env.Name, ID: NewUUID(),
		CSR: csr, Version: a.env.Version, Clock: a.env.Wall()}
	for _, l := range a.env.Listen {
		req.Addresses = append(req.Addresses, api.Address(l))
	}
	tr := peer.JoinTransport(a.env.Network, t)
	defer tr.CloseIdleConnections()
	reply, err := admitted(ctx, api.NewPeerClient(tr, "cluster"), req)
	if err != nil {
		return api.Self{}, err
	}
	id, err := identity.New(reply.ClusterName, reply.Cert, key, reply.CACert, reply.SealKey)
	if err != nil {
		return api.Self{}, fmt.Errorf("take up the new identity: %w", err)
	}
	if id.ClusterID != t.Cluster {
		return api.Self{}, fmt.Errorf("%w: the token is of cluster %s, but %s answered", api.ErrRefused, t.Cluster, id.ClusterID)
	}
	ms := &Membership{Identity: id, Timing: reply.Timing, Peers: map[string][]peer.Address{}}
	for name, addrs := range reply.Peers {
		ms.Peers[name] = peerAddresses(addrs)
	}
	return a.becomeMember(ctx, ms)
}

// admitted asks until it has an answer: once a request may have been carried out,
// asking the same again is the only way to what it came to.
func admitted(ctx context.Context, c *api.Client, r api.JoinRequest) (*api.JoinReply, error) {
	open := false
	for {
		reply, err := c.Admit(ctx, r)
		open = open || errors.Is(err, api.ErrUnknownOutcome)
		later := errors.Is(err, api.ErrUnknownOutcome) || errors.Is(err, api.ErrNoMaster) || errors.Is(err, api.ErrNotMaster)
		if !open || !later {
			return reply, err
		}
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

// becomeMember saves the membership, hands it to Run and waits until this host
// has heard from the cluster's state.
func (a *Agent) becomeMember(ctx context.Context, ms *Membership) (api.Self, error) {
	if err := a.env.Store.SaveMembership(ms); err != nil {
		return api.Self{}, fmt.Errorf("save this host's membership: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	start := a.start // nobody takes it where Run has just begun, and has read what was saved
	for {
		if s := a.Self(); s.Member && s.Master != "" && s.Incarnation != 0 {
			return s, nil
		}
		select {
		case start <- ms:
			start = nil
		case <-ctx.Done():
			return a.Self(), fmt.Errorf("%w: this host is a member now, but has not heard from a master yet: see `haadm status`",
				api.ErrUnknownOutcome)
		case <-tick.C:
		}
	}
}
