package api

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"net/http"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

// leaving is what is left to be done on hosts in maintenance; for World.Leaving.
func (s *Server) leaving(w World) map[string]*whatif.Service {
	var out map[string]*whatif.Service
	for _, h := range w.State.SortedHosts() {
		if h.Maintenance == nil || w.Picture == nil {
			continue
		}
		s.drawing.Lock()
		left, err := whatif.TakeOut(&s.builder, *w.Picture, h.Name)
		s.drawing.Unlock()
		if err != nil {
			continue // it is no host of the picture: that is of another moment
		}
		if out == nil {
			out = map[string]*whatif.Service{}
		}
		out[h.Name] = left
	}
	return out
}

// maintenanceView says that a host is out of service; nil when it is not.
func (w World) maintenanceView(h *fsm.Host) *MaintenanceView {
	m := h.Maintenance
	if m == nil {
		return nil
	}
	v := &MaintenanceView{Since: m.Since, By: m.By, Why: m.Why}
	if w.Observed != nil {
		left := len(w.running(h))
		v.Left = &left
	}
	if s := w.Leaving[h.Name]; s != nil {
		v.Staying = s.Stay
	}
	return v
}

// running are the VMs that keep a host from being empty: what it owns, what was seen
// running there, and what runs there outside protection.
func (w World) running(h *fsm.Host) []LeavingVM {
	out := []LeavingVM{}
	stay := map[string]string{}
	if s := w.Leaving[h.Name]; s != nil {
		for _, x := range s.Stay {
			stay[x.UUID] = x.Why
		}
	}
	for _, vm := range w.State.SortedVMs() {
		if vm.Owner != nil && vm.Owner.Host == h.Name || vm.Sighting != nil && vm.Sighting.Host == h.Name {
			v := w.vmView(vm)
			x := LeavingVM{Name: vm.Name, UUID: vm.UUID, Protected: true, State: v.State,
				Move: v.Move, Failed: v.MoveFailures, Blocked: stay[vm.UUID]}
			if d := w.State.Disarmed; d != nil && vm.Move == nil {
				x.Blocked = d.Text()
			}
			if again := inventory.MoveAgain(vm); again.After(w.Now) {
				x.Again = again
			}
			out = append(out, x)
		}
	}
	if h.Status != fsm.HostDead {
		for _, d := range w.Observed[h.Name].Domains {
			if w.State.VMs[d.UUID] == nil && d.State != vmm.Stopped {
				why := stay[d.UUID]
				if why == "" {
					why = "it is not protected: move or stop it by hand"
				}
				out = append(out, LeavingVM{Name: d.Name, UUID: d.UUID, State: string(d.State), Blocked: why})
			}
		}
	}
	return out
}

func (s *Server) maintenance(ctx context.Context, c *call) (any, error) {
	return s.pictured(func(w World, in inventory.Input, c *call) (any, error) {
		h := w.State.Hosts[c.PathValue("host")]
		if h == nil {
			return nil, noHost(w.State, c.PathValue("host"))
		}
		out, err := whatif.TakeOut(&s.builder, in, h.Name)
		if err != nil {
			return nil, asked(err)
		}
		if w.Leaving == nil {
			w.Leaving = map[string]*whatif.Service{}
		}
		w.Leaving[h.Name] = out
		a := &MaintenanceAnswer{
			Schema:      Schema,
			Source:      w.source(),
			Host:        h.Name,
			State:       w.hostState(h),
			Master:      h.Name == w.master(),
			Maintenance: w.maintenanceView(h),
			Running:     w.running(h),
			Out:         out,
		}
		a.Empty = h.Maintenance != nil && len(a.Running) == 0
		if h.Maintenance != nil {
			if a.Back, err = whatif.PutBack(&s.builder, in, h.Name); err != nil {
				return nil, asked(err)
			}
		}
		voters := 0
		for _, m := range w.Members {
			if !m.Voter {
				continue
			}
			voters++
			a.Votes = a.Votes || m.Name == h.Name
			if m.Healthy || m.Name == w.master() {
				a.Voters++
			}
		}
		a.Needed = voters/2 + 1
		return a, nil
	})(ctx, c)
}

// asked is the error of a question, as it travels.
func asked(err error) error {
	if errors.Is(err, whatif.ErrBadQuestion) || errors.Is(err, inventory.ErrBadFile) {
		return &Error{Code: CodeBadRequest, Message: err.Error()}
	}
	return err
}

func (s *Server) setMaintenance(ctx context.Context, c *call) (any, error) {
	var r MaintenanceRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	host := c.PathValue("host")
	st := s.backend.State()
	if st == nil || st.Hosts[host] == nil {
		return nil, noHost(st, host)
	}
	if r.On == (st.Hosts[host].Maintenance != nil) {
		is := map[bool]string{true: " is in maintenance already", false: " is not in maintenance"}[r.On]
		return &Done{Schema: Schema, Done: host + is}, nil
	}
	if err := s.backend.SetMaintenance(ctx, host, r, c.actor); err != nil {
		return nil, err
	}
	if r.On {
		return &Done{Schema: Schema, Done: host + " is in maintenance: its VMs are moved away"}, nil
	}
	return &Done{Schema: Schema, Done: host + " is back in service"}, nil
}

// wish finds the VMs of a request.
func (w World) wish(r MoveRequest) (whatif.Wish, error) {
	out := whatif.Wish{Host: r.Host, Cold: r.Cold}
	if len(r.VMs) == 0 {
		return out, &Error{Code: CodeBadRequest, Message: "which VMs are to be moved?"}
	}
	for _, name := range r.VMs {
		vm, err := findVM(w.State, name)
		if err != nil {
			return out, err
		}
		if !slices.Contains(out.VMs, vm.UUID) {
			out.VMs = append(out.VMs, vm.UUID)
		}
	}
	if r.Host != "" && w.State.Hosts[r.Host] == nil {
		return out, noHost(w.State, r.Host)
	}
	return out, nil
}

func (s *Server) movePlan(ctx context.Context, c *call) (any, error) {
	var r MoveRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	return s.pictured(func(w World, in inventory.Input, _ *call) (any, error) {
		wish, err := w.wish(r)
		if err != nil {
			return nil, err
		}
		g, err := whatif.Grant(&s.builder, in, wish)
		if err != nil {
			return nil, asked(err)
		}
		return &MoveAnswer{Schema: Schema, Source: w.source(), Granted: *g}, nil
	})(ctx, c)
}

func (s *Server) move(ctx context.Context, c *call) (any, error) {
	var r MoveRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	w, err := s.world()
	if err != nil {
		return nil, err
	}
	wish, err := w.wish(r)
	if err != nil {
		return nil, err
	}
	r.VMs = wish.VMs
	g, orders, err := s.backend.Move(ctx, r, c.actor)
	if err != nil {
		return nil, err
	}
	return &MoveAnswer{Schema: Schema, Source: w.source(), Granted: *g, Orders: orders}, nil
}

func (s *Server) cancelMove(ctx context.Context, c *call) (any, error) {
	st, vm, err := s.asked(c)
	if err != nil {
		return nil, err
	}
	if vm.Move == nil {
		return nil, &Error{Code: CodeConflict, Message: fmt.Sprintf("%s is not on its way anywhere", vm.Name)}
	}
	end := &fsm.EndMove{Meta: fsm.Meta{At: s.opts.Now().UTC(), By: c.actor}, Epoch: st.Office.Epoch,
		UUID: vm.UUID, Move: vm.Move.ID, Why: c.actor + " called it off"}
	if _, err := s.backend.Apply(ctx, end); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: fmt.Sprintf("the move of %s to %s is called off", vm.Name, vm.Move.Host)}, nil
}

func (s *Server) setIntent(ctx context.Context, c *call) (any, error) {
	var r IntentRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if r.Intent != fsm.IntentRun && r.Intent != fsm.IntentStop {
		return nil, &Error{Code: CodeBadRequest, Message: fmt.Sprintf("a VM shall %s or %s, not %q", fsm.IntentRun, fsm.IntentStop, r.Intent)}
	}
	st, vm, err := s.asked(c)
	if err != nil {
		return nil, err
	}
	if again := st.Disarmed != nil && vm.Owner == nil && r.Intent == fsm.IntentRun; vm.Intent == r.Intent && !again {
		return &Done{Schema: Schema, Done: fmt.Sprintf("%s shall %s already", vm.Name, r.Intent)}, nil
	}
	if err := s.backend.SetIntent(ctx, vm.UUID, r, c.actor); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: fmt.Sprintf("%s shall %s", vm.Name, r.Intent)}, nil
}

func (s *Server) restart(ctx context.Context, c *call) (any, error) {
	var r RestartRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	_, vm, err := s.asked(c)
	if err != nil {
		return nil, err
	}
	if vm.Intent != fsm.IntentRun || vm.Owner == nil || vm.Owner.Phase != fsm.PhaseRunning { // before its room is reckoned
		return nil, &Error{Code: CodeConflict, Message: fmt.Sprintf("%s does not run now: only a VM that runs can be restarted", vm.Name)}
	}
	order, err := s.backend.Restart(ctx, vm.UUID, r, c.actor)
	if err != nil {
		return nil, err
	}
	return &RestartAnswer{Schema: Schema, Done: fmt.Sprintf("%s is shut down on %s and started again", vm.Name, vm.Owner.Host),
		Order: order, Generation: vm.Generation}, nil
}

func (s *Server) retry(ctx context.Context, c *call) (any, error) {
	st, vm, err := s.asked(c)
	if err != nil {
		return nil, err
	}
	n, err := s.backend.Apply(ctx, &fsm.RetryVM{Meta: fsm.Meta{At: s.opts.Now().UTC(), By: c.actor}, UUID: vm.UUID})
	if err != nil {
		return nil, err
	}
	if f := vm.Frozen; f != nil {
		return &Done{Schema: Schema, Done: fmt.Sprintf("%s waits for %s no more, and starts where there is room for it", vm.Name, f.Host)}, nil
	}
	if st.Disarmed != nil && vm.Owner == nil && vm.Sighting == nil {
		return &Done{Schema: Schema, Done: vm.Name + " is started though the cluster is disarmed"}, nil
	}
	if n, _ := n.(int); n == 0 {
		return &Done{Schema: Schema, Done: "nothing of " + vm.Name + " has failed that could be forgotten"}, nil
	}
	return &Done{Schema: Schema, Done: fmt.Sprintf("what failed of %s (%d) is forgotten, and it is tried again", vm.Name, n)}, nil
}

// Maintenance asks what taking a host out of service comes to, or how far it has come.
func (c *Client) Maintenance(ctx context.Context, host string) (*MaintenanceAnswer, error) {
	return ask[MaintenanceAnswer](ctx, c, "/v1/hosts/"+url.PathEscape(host)+"/maintenance")
}

// SetMaintenance takes a host out of service, or puts it back. It does not wait for its VMs.
func (c *Client) SetMaintenance(ctx context.Context, host string, r MaintenanceRequest) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/hosts/"+url.PathEscape(host)+"/maintenance", r)
}

// PlanMove asks what would come of a move. Nothing is changed.
func (c *Client) PlanMove(ctx context.Context, r MoveRequest) (*MoveAnswer, error) {
	var out MoveAnswer
	err := c.do(ctx, http.MethodPost, "/v1/moves/plan", url.Values{"fresh": {"1"}}, r, &out)
	switch {
	case errors.Is(err, ErrUnknownOutcome): // nothing could have been changed
		return nil, fmt.Errorf("ask about a move: %s did not answer in time", c.where)
	case err != nil:
		return nil, err
	}
	return &out, nil
}

// Move has VMs moved. It does not wait until they are there.
func (c *Client) Move(ctx context.Context, r MoveRequest) (*MoveAnswer, error) {
	return change[MoveAnswer](ctx, c, http.MethodPost, "/v1/moves", r)
}

// CancelMove calls off the move of a VM.
func (c *Client) CancelMove(ctx context.Context, vm string) (*Done, error) {
	return change[Done](ctx, c, http.MethodDelete, "/v1/vms/"+url.PathEscape(vm)+"/move", nil)
}

// SetIntent has a VM started or stopped. It does not wait until it is.
func (c *Client) SetIntent(ctx context.Context, vm string, r IntentRequest) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/vms/"+url.PathEscape(vm)+"/intent", r)
}

// Restart has a VM that runs shut down and started again. It does not wait until it is.
func (c *Client) Restart(ctx context.Context, vm string, r RestartRequest) (*RestartAnswer, error) {
	return change[RestartAnswer](ctx, c, http.MethodPost, "/v1/vms/"+url.PathEscape(vm)+"/restart", r)
}

// Retry has what failed of a VM forgotten, so that it is tried again now.
func (c *Client) Retry(ctx context.Context, vm string) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/vms/"+url.PathEscape(vm)+"/retry", nil)
}

// refusals puts into one sentence why VMs cannot go.
func refusals(all []whatif.Staying) string {
	var words []string
	for _, s := range all {
		words = append(words, s.VM+": "+s.Why)
	}
	return strings.Join(words, "; ")
}

// RefusedMoves is the error of a move that cannot be made; nil when it can.
func RefusedMoves(g *whatif.Granted) error {
	if len(g.Refused) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRefused, refusals(g.Refused))
}
