package agent

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/identity"
	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// Self implements api.Backend.
func (a *Agent) Self() api.Self {
	s := api.Self{Name: a.env.Name, Version: a.env.Version}
	m, err := a.current()
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.ended != nil {
			s.Problems = append(s.Problems, "the agent's membership ended: "+a.ended.Error())
		}
		return s
	}
	st, index, _ := m.machine.View()
	hs := m.host.Status()
	s.Member, s.ClusterID, s.ClusterName = true, m.ms.Identity.ClusterID, m.ms.Identity.ClusterName
	s.Epoch, s.Applied, s.Contact = st.Office.Epoch, index, m.node.LastContact()
	s.Incarnation, s.LeaseLeft, s.Guard, s.Problems = hs.Incarnation, hs.Lease.Left(a.env.Now()), hs.Guard, hs.Problems
	if err := m.node.Refused(); err != nil {
		s.Problems = append(s.Problems,
			err.Error()+": it keeps its lease and its VMs, leads nobody, and starts and learns nothing until there is room, or the disk is mended, where its data directory is")
	}
	s.IsMaster = m.master.Holds()
	if s.Master = m.node.Leader(); s.Master == a.env.Name && !s.IsMaster {
		s.Master = "" // elected, but not in office yet
	}
	return s
}

// State implements api.Backend.
func (a *Agent) State() *fsm.State {
	m, err := a.current()
	if err != nil {
		return nil
	}
	s, _, _ := m.machine.View()
	return s
}

// Changed implements api.Backend.
func (a *Agent) Changed() <-chan struct{} {
	m, err := a.current()
	if err != nil {
		return nil
	}
	_, _, changed := m.machine.View()
	return changed
}

// Forward reaches other members over mTLS; the URL's host is the member's name.
func (a *Agent) Forward() http.RoundTripper { return forward{a} }

type forward struct{ a *Agent }

func (f forward) RoundTrip(r *http.Request) (*http.Response, error) {
	m, err := f.a.current()
	if err != nil {
		return nil, err
	}
	return m.any.RoundTrip(r)
}

// Timing is the cluster's; zero while this host is no member.
func (a *Agent) Timing() lease.Timing {
	m, err := a.current()
	if err != nil {
		return lease.Timing{}
	}
	return m.ms.Timing
}

// Observations implements api.Backend.
func (a *Agent) Observations() (map[string]api.HostObservation, error) {
	m, err := a.current()
	if err != nil {
		return nil, err
	}
	return m.master.Observations()
}

// Outlook implements api.Backend.
func (a *Agent) Outlook() (*whatif.Outlook, error) {
	m, err := a.current()
	if err != nil {
		return nil, err
	}
	p, err := m.master.FailoverPlan()
	if err != nil {
		return nil, err
	}
	return &whatif.Outlook{Inventory: p.Inventory, Hosts: p.Hosts, Room: p.Room, Capability: p.Capability}, nil
}

// Picture implements api.Backend.
func (a *Agent) Picture() (inventory.Input, error) {
	m, err := a.current()
	if err != nil {
		return inventory.Input{}, err
	}
	return m.master.Picture()
}

// Members implements api.Backend.
func (a *Agent) Members() ([]api.Member, error) {
	m, err := a.current()
	if err != nil {
		return nil, err
	}
	st, index, _ := m.machine.View()
	seen, _ := m.master.Observations() // none elsewhere than on the master
	var all []api.Member
	for _, x := range m.node.Members() {
		am := api.Member{Name: x.Name, Voter: x.Voter, Master: x.Leader, Contact: x.Contact, Applied: seen[x.Name].Applied}
		if h := st.Hosts[x.Name]; h != nil {
			for _, ad := range h.Addresses {
				am.Addresses = append(am.Addresses, api.Address(ad))
			}
		}
		if x.Name == a.env.Name {
			am.Applied, am.Contact = index, 0
		}
		am.Healthy = am.Contact >= 0 && am.Contact < 3*m.ms.Timing.Heartbeat
		all = append(all, am)
	}
	return all, nil
}

// office returns the member if this host is the master.
func (a *Agent) office() (*member, error) {
	m, err := a.current()
	if err != nil {
		return nil, err
	}
	switch {
	case m.master.Holds():
		return m, nil
	case m.node.Leader() == "":
		return nil, api.ErrNoMaster
	}
	return nil, api.ErrNotMaster
}

func (a *Agent) meta(by string) fsm.Meta { return fsm.Meta{At: a.env.Wall(), By: by} }

// Apply implements api.Backend.
func (a *Agent) Apply(ctx context.Context, c fsm.Command) (any, error) {
	m, err := a.office()
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*fsm.Unprotect); ok {
		if s, _, _ := m.machine.View(); s.VMs[u.UUID] != nil {
			if p := a.parsed(s).VM(s.VMs[u.UUID].Name); p.Protect {
				return nil, fmt.Errorf("%w: the policy protects %s (%s), so it would be protected again at once; write `vm %q { protect = false }` and apply it",
					api.ErrRefused, s.VMs[u.UUID].Name, p.Why, s.VMs[u.UUID].Name)
			}
		}
	}
	return replicated{m.node}.Propose(ctx, c)
}

// Prospect implements api.Backend.
func (a *Agent) Prospect(ctx context.Context, vm string) (*fsm.VM, error) {
	m, err := a.office()
	if err != nil {
		return nil, err
	}
	return m.master.Prospect(ctx, vm)
}

// Protect implements api.Backend.
func (a *Agent) Protect(ctx context.Context, vm, by string) (*fsm.VM, error) {
	m, err := a.office()
	if err != nil {
		return nil, err
	}
	return m.master.Protect(ctx, vm, by)
}

// CreateToken implements api.Backend.
func (a *Agent) CreateToken(ctx context.Context, host string, ttl time.Duration, by string) (string, *fsm.Token, error) {
	m, err := a.office()
	if err != nil {
		return "", nil, err
	}
	if ttl < time.Minute || ttl > 30*24*time.Hour {
		return "", nil, fmt.Errorf("%w: a join token is good for 1 minute to 30 days, not %v", api.ErrRefused, ttl)
	}
	s, _, _ := m.machine.View()
	var addrs []string
	for _, h := range s.SortedHosts() {
		for _, ad := range h.Addresses {
			addrs = append(addrs, ad.Addr)
		}
	}
	tok, err := identity.NewToken(m.ms.Identity.ClusterID, identity.Fingerprint(m.ms.Identity.CA), addrs)
	if err != nil {
		return "", nil, err
	}
	now := a.env.Wall()
	t := fsm.Token{ID: tok.ID, Hash: identity.SecretHash(tok.Secret), Host: host, Created: now, Expires: now.Add(ttl), By: by}
	if _, err := (replicated{m.node}).Propose(ctx, &fsm.CreateToken{Meta: fsm.Meta{At: now, By: by}, Token: t}); err != nil {
		return "", nil, err
	}
	return tok.String(), &t, nil
}

// ApplyPolicy implements api.Backend.
func (a *Agent) ApplyPolicy(ctx context.Context, files map[string][]byte, previous uint64, even bool, by string) (uint64, error) {
	m, err := a.office()
	if err != nil {
		return 0, err
	}
	s, _, _ := m.machine.View()
	p, err := config.ParsePolicy(files)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	for name, f := range p.Fences {
		if _, err := m.runner.Device(name, f); err != nil {
			return 0, fmt.Errorf("%w: fence device %s cannot be used: %w", api.ErrRefused, name, err)
		}
	}
	if p.Cluster != s.Cluster.Name {
		return 0, fmt.Errorf("%w: this policy is for cluster %q, and this is %q", api.ErrRefused, p.Cluster, s.Cluster.Name)
	}
	if p.Timing != m.ms.Timing {
		return 0, fmt.Errorf("%w: the timing of a running cluster cannot be changed (it is %s with a wait of %v, the policy says %s with %v): hosts with different timings must not share a lease; bootstrap with the timing you want",
			api.ErrRefused, m.ms.Timing.Profile, m.ms.Timing.Wait(), p.Timing.Profile, p.Timing.Wait())
	}
	if err := m.master.PermitsPolicy(ctx, p, even, by); err != nil {
		return 0, err
	}
	v, err := (replicated{m.node}).Propose(ctx, &fsm.ApplyPolicy{Meta: a.meta(by), Previous: previous, Files: files})
	if err != nil {
		return 0, err
	}
	rev, _ := v.(uint64)
	return rev, nil
}

// SetMaintenance implements api.Backend.
func (a *Agent) SetMaintenance(ctx context.Context, host string, r api.MaintenanceRequest, by string) error {
	m, err := a.office()
	if err != nil {
		return err
	}
	return m.master.SetMaintenance(ctx, host, r, by)
}

// Move implements api.Backend.
func (a *Agent) Move(ctx context.Context, r api.MoveRequest, by string) (*whatif.Granted, map[string]uint64, error) {
	m, err := a.office()
	if err != nil {
		return nil, nil, err
	}
	return m.master.Move(ctx, r, by)
}

// SetIntent implements api.Backend.
func (a *Agent) SetIntent(ctx context.Context, uuid string, r api.IntentRequest, by string) error {
	m, err := a.office()
	if err != nil {
		return err
	}
	return m.master.SetIntent(ctx, uuid, r, by)
}

// Restart implements api.Backend.
func (a *Agent) Restart(ctx context.Context, uuid string, r api.RestartRequest, by string) (uint64, error) {
	m, err := a.office()
	if err != nil {
		return 0, err
	}
	return m.master.Restart(ctx, uuid, r, by)
}

// Leave implements api.Backend.
func (a *Agent) Leave(ctx context.Context, host, by string) error {
	m, err := a.office()
	if err != nil {
		return err
	}
	if host == a.env.Name {
		return fmt.Errorf("%w: %s is the master: hand the office over first with `haadm cluster transfer-master`", api.ErrRefused, host)
	}
	if _, err := (replicated{m.node}).Propose(ctx, &fsm.RemoveHost{Meta: a.meta(by), Host: host}); err != nil {
		return err
	}
	m.tellRemoved(ctx, host)
	return m.node.RemoveMember(ctx, host)
}

// tellRemoved waits a moment for the host's copy of the state to say that it is
// removed, since nothing reaches it once the log has let it go.
func (m *member) tellRemoved(ctx context.Context, host string) {
	_, index, _ := m.machine.View()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		for _, x := range m.node.Members() {
			if x.Name == host && x.LastLog >= index && x.Contact >= 0 {
				// It has the entry; the next exchange says that it is committed.
				pause(ctx, 2*m.ms.Timing.Election)
				return
			}
		}
		pause(ctx, m.ms.Timing.Election/4)
	}
}

// ConfirmOff implements api.Backend.
func (a *Agent) ConfirmOff(ctx context.Context, host, by string) (int, error) {
	m, err := a.office()
	if err != nil {
		return 0, err
	}
	return m.master.ConfirmOff(ctx, host, by)
}

// TransferMaster implements api.Backend.
func (a *Agent) TransferMaster(ctx context.Context, to string) error {
	m, err := a.office()
	if err != nil {
		return err
	}
	if to == a.env.Name {
		return fmt.Errorf("%w: %s is the master already", api.ErrRefused, to)
	}
	return m.node.Transfer(ctx, to)
}

// Drain prepares this host for being shut down: its protected VMs are moved, or stopped
// in an orderly way, as the policy says, and the office, if it holds it, is handed over.
//
// reboot says that the host boots again. Drain bounds itself (host.Drain); what it could not hand over starts
// elsewhere once this host's lease has ended.
func (a *Agent) Drain(ctx context.Context, reboot bool) error {
	m, err := a.current()
	if err != nil {
		return nil //nolint:nilerr // what is no member has nothing to hand over
	}
	if err := m.host.Drain(ctx, reboot); err != nil {
		return err
	}
	if m.node.IsLeader() && len(m.node.Members()) > 1 {
		return m.node.Transfer(ctx, "")
	}
	return nil
}

// Heartbeat implements api.Backend.
func (a *Agent) Heartbeat(ctx context.Context, hb api.Heartbeat) (api.HeartbeatReply, error) {
	m, err := a.current()
	if err != nil {
		return api.HeartbeatReply{}, err
	}
	return m.hear(ctx, hb)
}

// Begin implements api.Backend.
func (a *Agent) Begin(ctx context.Context, r api.BeginRequest) (api.BeginReply, error) {
	m, err := a.current()
	if err != nil {
		return api.BeginReply{}, err
	}
	return m.master.Begin(ctx, r)
}

// Claim implements api.Backend.
func (a *Agent) Claim(ctx context.Context, r api.ClaimRequest) error {
	m, err := a.current()
	if err != nil {
		return err
	}
	return m.master.Claim(ctx, r)
}

// StandAside implements api.Backend.
func (a *Agent) StandAside(ctx context.Context, n api.AsideNotice) error {
	m, err := a.current()
	if err != nil {
		return err
	}
	return m.master.StandAside(ctx, n)
}

// AdmitStranger implements api.Backend.
func (a *Agent) AdmitStranger(ctx context.Context, r api.StrangerRequest) error {
	m, err := a.current()
	if err != nil {
		return err
	}
	return m.master.AdmitStranger(ctx, r)
}

// AdmitStart implements api.Backend.
func (a *Agent) AdmitStart(ctx context.Context, r api.AdmitRequest) error {
	m, err := a.current()
	if err != nil {
		return a.aside() // a host that is no member protects nothing
	}
	return m.host.Admit(ctx, r)
}

// Admit implements api.Backend: it signs a new host's certificate and makes it a
// member. The token is used up by the same command that adds the host.
func (a *Agent) Admit(ctx context.Context, r api.JoinRequest) (api.JoinReply, error) {
	m, err := a.office()
	if err != nil {
		return api.JoinReply{}, err
	}
	s, _, _ := m.machine.View()
	if t := s.Tokens[r.TokenID]; t == nil || !identity.SecretMatches(r.Secret, t.Hash) {
		return api.JoinReply{}, &fsm.Refusal{Code: fsm.CodeDenied,
			Message: "the join token is not known here: it was revoked, or is another cluster's"}
	}
	ca, err := identity.OpenCA(s.Cluster.CACert, s.Cluster.CAKey, m.ms.Identity.SealKey)
	if err != nil {
		return api.JoinReply{}, fmt.Errorf("open the cluster's certificate authority: %w", err)
	}
	if err := fsm.CheckHostName(r.Name); err != nil {
		return api.JoinReply{}, err
	}
	cert, err := ca.Sign(r.CSR, r.Name, r.ID)
	if err != nil {
		return api.JoinReply{}, fmt.Errorf("%w: sign the certificate of %s: %w", api.ErrRefused, r.Name, err)
	}
	h := fsm.Host{Name: r.Name, ID: r.ID}
	for _, ad := range r.Addresses {
		h.Addresses = append(h.Addresses, fsm.Address(ad))
	}
	if _, err := (replicated{m.node}).Propose(ctx, &fsm.AddHost{Meta: a.meta("token " + r.TokenID), TokenID: r.TokenID,
		SecretHash: identity.SecretHash(r.Secret), Host: h}); err != nil {
		return api.JoinReply{}, err
	}
	s, _, _ = m.machine.View()
	m.updateBook(ctx, s)
	if err := m.node.AddMember(ctx, r.Name); err != nil {
		a.env.Logger.Warn("the new host is added to the log's members later", "host", r.Name, "error", err)
	}
	reply := api.JoinReply{ClusterID: s.Cluster.ID, ClusterName: s.Cluster.Name, CACert: s.Cluster.CACert, Cert: cert,
		SealKey: m.ms.Identity.SealKey, Timing: m.ms.Timing, Peers: map[string][]api.Address{}}
	for name, addrs := range m.book.All() {
		for _, ad := range addrs {
			reply.Peers[name] = append(reply.Peers[name], api.Address(ad))
		}
	}
	return reply, nil
}
