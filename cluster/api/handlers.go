package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// source says whose copy an answer of this server is made from.
func (s *Server) source() *Source {
	src := sourceOf(s.backend.Self())
	return &src
}

// world gathers everything that the views are functions of.
func (s *Server) world() (World, error) {
	st := s.backend.State()
	if st == nil {
		return World{}, outside(s.backend.Self())
	}
	w := World{Self: s.backend.Self(), State: st, Policy: s.policies.of(st), Now: s.opts.Now()}
	// Both can be missing on a host that is not the master; the views then say less.
	if obs, err := s.backend.Observations(); err == nil {
		w.Observed = obs
	}
	if m, err := s.backend.Members(); err == nil {
		w.Members = m
	}
	if in, err := s.backend.Picture(); err == nil {
		w.Picture = &in
	}
	if o, err := s.backend.Outlook(); err == nil {
		w.Outlook = o
	}
	w.Leaving = s.leaving(w)
	if s.opts.Timing != nil {
		w.Timing = s.opts.Timing()
	}
	return w, nil
}

// view makes an endpoint of a function of the world.
func (s *Server) view(f func(w World, c *call) (any, error)) endpoint {
	return func(_ context.Context, c *call) (any, error) {
		w, err := s.world()
		if err != nil {
			return nil, err
		}
		return f(w, c)
	}
}

func (s *Server) self(context.Context, *call) (any, error) { return s.backend.Self(), nil }

func (s *Server) status(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, _ *call) (any, error) { return w.Status(), nil })(ctx, c)
}

func (s *Server) cluster(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, _ *call) (any, error) { return w.cluster(), nil })(ctx, c)
}

func (s *Server) hosts(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, _ *call) (any, error) {
		return &HostList{Schema: Schema, Source: w.source(), Hosts: w.Hosts()}, nil
	})(ctx, c)
}

func (s *Server) host(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, c *call) (any, error) {
		h, err := w.Host(c.PathValue("host"))
		if err != nil {
			return nil, err
		}
		return &HostAnswer{Schema: Schema, Source: w.source(), Host: h}, nil
	})(ctx, c)
}

func (s *Server) storage(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, _ *call) (any, error) { return w.Storage(), nil })(ctx, c)
}

func (s *Server) vms(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, _ *call) (any, error) {
		return &VMList{Schema: Schema, Source: w.source(), VMs: w.VMs()}, nil
	})(ctx, c)
}

func (s *Server) vm(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, c *call) (any, error) {
		vm, err := w.VM(c.PathValue("vm"))
		if err != nil {
			return nil, err
		}
		if vm.Protected {
			vm.Agility = s.agility(w, vm.UUID)
		}
		return &VMAnswer{Schema: Schema, Source: w.source(), VM: vm}, nil
	})(ctx, c)
}

func (s *Server) explainHost(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, c *call) (any, error) { return w.ExplainHost(c.PathValue("host")) })(ctx, c)
}

func (s *Server) explainVM(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, c *call) (any, error) {
		e, err := w.ExplainVM(c.PathValue("vm"))
		if err != nil {
			return nil, err
		}
		if vm, err := findVM(w.State, c.PathValue("vm")); err == nil {
			s.considered(w, vm, e)
			s.unkept(w, vm, e)
		}
		return e, nil
	})(ctx, c)
}

func (s *Server) members(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, _ *call) (any, error) {
		return &MemberList{Schema: Schema, Source: w.source(), Members: w.memberViews()}, nil
	})(ctx, c)
}

func (s *Server) tokens(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, _ *call) (any, error) {
		return &TokenList{Schema: Schema, Source: w.source(), Tokens: w.tokenViews()}, nil
	})(ctx, c)
}

func (s *Server) policy(ctx context.Context, c *call) (any, error) {
	return s.view(func(w World, c *call) (any, error) {
		p := w.State.Policy
		files := texts(p.Files)
		if c.URL.Query().Get("secrets") != "1" {
			files = masked(files)
		}
		return &PolicyAnswer{Schema: Schema, Source: w.source(), Revision: p.Revision, By: p.By, At: p.At, Files: files}, nil
	})(ctx, c)
}

func (s *Server) protect(ctx context.Context, c *call) (any, error) {
	vm, err := s.backend.Protect(ctx, c.PathValue("vm"), c.actor)
	if err != nil {
		return nil, err
	}
	w, err := s.world()
	if err != nil {
		return nil, err
	}
	view := w.vmView(vm)
	view.Agility = s.prospects(w, vm)
	return &VMAnswer{Schema: Schema, Source: w.source(), VM: view}, nil
}

func (s *Server) unprotect(ctx context.Context, c *call) (any, error) {
	_, vm, err := s.asked(c)
	if err != nil {
		return nil, err
	}
	if _, err := s.backend.Apply(ctx, &fsm.Unprotect{Meta: fsm.Meta{At: s.opts.Now().UTC(), By: c.actor}, UUID: vm.UUID}); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: fmt.Sprintf("VM %s is not protected any more; it goes on running where it runs", vm.Name)}, nil
}

func (s *Server) createToken(ctx context.Context, c *call) (any, error) {
	var r TokenRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	text, t, err := s.backend.CreateToken(ctx, r.Host, r.TTL.Duration(), c.actor)
	if err != nil {
		return nil, err
	}
	return &TokenCreated{Schema: Schema, Token: text, ID: t.ID, Host: t.Host, Expires: t.Expires}, nil
}

func (s *Server) revokeToken(ctx context.Context, c *call) (any, error) {
	id := c.PathValue("id")
	if _, err := s.backend.Apply(ctx, &fsm.RevokeToken{Meta: fsm.Meta{At: s.opts.Now().UTC(), By: c.actor}, ID: id}); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: "token " + id + " is revoked"}, nil
}

func (s *Server) applyPolicy(ctx context.Context, c *call) (any, error) {
	var r PolicyRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if err := Unmasked(r.Files); err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(r.Files))
	for name, text := range r.Files {
		files[name] = []byte(text)
	}
	rev, err := s.backend.ApplyPolicy(ctx, files, r.Previous, r.EvenIfNoSpare, c.actor)
	if err != nil {
		return nil, err
	}
	return &PolicyApplied{Schema: Schema, Revision: rev}, nil
}

func (s *Server) checkPolicy(ctx context.Context, c *call) (any, error) {
	var r PolicyRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(r.Files))
	for name, text := range r.Files {
		files[name] = []byte(text)
	}
	next, err := config.ParsePolicy(files)
	if err != nil {
		return nil, &Error{Code: CodeInvalid, Message: err.Error()}
	}
	return s.pictured(func(w World, in inventory.Input, _ *call) (any, error) {
		return &PolicyCheck{Schema: Schema, Source: w.source(), PolicyChange: *whatif.Policy(&s.builder, in, next)}, nil
	})(ctx, c)
}

func (s *Server) fenceDevices(context.Context, *call) (any, error) {
	all, err := s.backend.FenceDevices()
	if err != nil {
		return nil, err
	}
	return &FenceList{Schema: Schema, Devices: all}, nil
}

func (s *Server) fenceTest(ctx context.Context, c *call) (any, error) {
	host := c.PathValue("host")
	if st := s.backend.State(); st == nil || st.Hosts[host] == nil {
		return nil, noHost(st, host)
	}
	all, err := s.backend.FenceTest(ctx, host)
	if err != nil {
		return nil, err
	}
	return &FenceList{Schema: Schema, Devices: all}, nil
}

func (s *Server) fence(ctx context.Context, c *call) (any, error) {
	var r FenceRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	host := c.PathValue("host")
	if st := s.backend.State(); st == nil || st.Hosts[host] == nil {
		return nil, noHost(st, host)
	}
	if r.Action != FenceOff && r.Action != FenceOn && r.Action != FenceReboot {
		return nil, &Error{Code: CodeBadRequest,
			Message: fmt.Sprintf("a fence device cannot be asked to %q; there is %s, %s and %s", r.Action, FenceOff, FenceOn, FenceReboot)}
	}
	report, err := s.backend.Fence(ctx, host, r, c.actor)
	if err != nil {
		return nil, err
	}
	return &report, nil
}

func (s *Server) confirmOff(ctx context.Context, c *call) (any, error) {
	host := c.PathValue("host")
	if st := s.backend.State(); st == nil || st.Hosts[host] == nil {
		return nil, noHost(st, host)
	}
	freed, err := s.backend.ConfirmOff(ctx, host, c.actor)
	if err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: fmt.Sprintf("host %s counts as off; VMs that may start elsewhere now: %d", host, freed)}, nil
}

func (s *Server) leave(ctx context.Context, c *call) (any, error) {
	var r HostRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if st := s.backend.State(); st == nil || st.Hosts[r.Host] == nil {
		return nil, noHost(st, r.Host)
	}
	if err := s.backend.Leave(ctx, r.Host, c.actor); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: "host " + r.Host + " is not a member any more"}, nil
}

func (s *Server) transferMaster(ctx context.Context, c *call) (any, error) {
	var r HostRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if st := s.backend.State(); r.Host != "" && (st == nil || st.Hosts[r.Host] == nil) {
		return nil, noHost(st, r.Host)
	}
	if err := s.backend.TransferMaster(ctx, r.Host); err != nil {
		return nil, err
	}
	to := r.Host
	if to == "" {
		to = "another voter"
	}
	return &Done{Schema: Schema, Done: "the office of master goes to " + to}, nil
}

func (s *Server) bootstrap(ctx context.Context, c *call) (any, error) {
	var r BootstrapRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if err := Unmasked(texts(r.Policy)); err != nil {
		return nil, err
	}
	s.log.Info("asked to make a new cluster", "name", r.Name, "by", c.actor)
	return s.backend.Bootstrap(ctx, r)
}

func (s *Server) join(ctx context.Context, c *call) (any, error) {
	var r struct {
		Token string `json:"token"`
	}
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	s.log.Info("asked to join a cluster", "by", c.actor) // the token is a secret
	return s.backend.Join(ctx, r.Token)
}

func (s *Server) heartbeat(ctx context.Context, c *call) (any, error) {
	var hb Heartbeat
	if err := c.decodeLoose(&hb); err != nil {
		return nil, err
	}
	if err := sameHost(c, hb.Host); err != nil {
		return nil, err
	}
	return s.backend.Heartbeat(ctx, hb)
}

func (s *Server) begin(ctx context.Context, c *call) (any, error) {
	var r BeginRequest
	if err := c.decodeLoose(&r); err != nil {
		return nil, err
	}
	if err := sameHost(c, r.Host); err != nil {
		return nil, err
	}
	return s.backend.Begin(ctx, r)
}

func (s *Server) claim(ctx context.Context, c *call) (any, error) {
	var r ClaimRequest
	if err := c.decodeLoose(&r); err != nil {
		return nil, err
	}
	if err := sameHost(c, r.Host); err != nil {
		return nil, err
	}
	if err := s.backend.Claim(ctx, r); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: "VM " + r.UUID + " may be started on " + r.Host}, nil
}

func (s *Server) admitStranger(ctx context.Context, c *call) (any, error) {
	var r StrangerRequest
	if err := c.decodeLoose(&r); err != nil {
		return nil, err
	}
	if err := sameHost(c, r.Host); err != nil {
		return nil, err
	}
	if err := s.backend.AdmitStranger(ctx, r); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: "VM " + r.UUID + " may take room on " + r.Host}, nil
}

func (s *Server) standAside(ctx context.Context, c *call) (any, error) {
	var n AsideNotice
	if err := c.decodeLoose(&n); err != nil {
		return nil, err
	}
	if err := sameHost(c, n.Host); err != nil {
		return nil, err
	}
	if err := s.backend.StandAside(ctx, n); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: n.Host + " stands aside"}, nil
}

func (s *Server) admitStart(ctx context.Context, c *call) (any, error) {
	var r AdmitRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if err := s.backend.AdmitStart(ctx, r); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: "VM " + r.Name + " may be started here"}, nil
}

// sameHost: a host speaks for itself alone, or it could keep a dead one's lease alive.
func sameHost(c *call, claimed string) error {
	if claimed != c.host {
		return &Error{Code: CodeNotAllowed, Rule: "certificate_name",
			Message: fmt.Sprintf("the certificate is host %s's, the message says it is from %q", c.host, claimed)}
	}
	return nil
}

func (s *Server) admit(ctx context.Context, c *call) (any, error) {
	var r JoinRequest
	if err := c.decodeLoose(&r); err != nil {
		return nil, err
	}
	s.log.Info("a host asks to join", "host", r.Name, "token", r.TokenID, "address", c.RemoteAddr)
	return s.backend.Admit(ctx, r)
}

func noHost(st *fsm.State, name string) error {
	if st == nil {
		return notMember()
	}
	var names []string
	for _, h := range st.SortedHosts() {
		names = append(names, h.Name)
	}
	return &Error{Code: CodeNotFound,
		Message: fmt.Sprintf("there is no host %q in this cluster; its hosts are %s", name, strings.Join(names, ", "))}
}

// asked is the state, and the protected VM in it that a request is about.
func (s *Server) asked(c *call) (*fsm.State, *fsm.VM, error) {
	st := s.backend.State()
	if st == nil {
		return nil, nil, notMember()
	}
	vm, err := findVM(st, c.PathValue("vm"))
	return st, vm, err
}

// findVM finds a protected VM by name or UUID.
func findVM(st *fsm.State, name string) (*fsm.VM, error) {
	var found []*fsm.VM
	if vm := st.VMs[name]; vm != nil {
		return vm, nil
	}
	for _, vm := range st.SortedVMs() {
		if vm.Name == name {
			found = append(found, vm)
		}
	}
	switch len(found) {
	case 0:
		return nil, &Error{Code: CodeNotFound,
			Message: fmt.Sprintf("no protected VM is called %q; 'haadm vms list' shows them, 'haadm protect %s' protects one", name, name)}
	case 1:
		return found[0], nil
	}
	ids := make([]string, 0, len(found))
	for _, vm := range found {
		ids = append(ids, vm.UUID)
	}
	slices.Sort(ids)
	return nil, &Error{Code: CodeConflict,
		Message: fmt.Sprintf("%d VMs are called %q: name one by its UUID (%s)", len(found), name, strings.Join(ids, ", "))}
}
