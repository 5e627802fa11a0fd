package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// PlanAnswer is the answer to GET and POST /v1/plan: what would be done if hosts or datastores were lost.
type PlanAnswer struct {
	Schema int     `json:"schema"`
	Source *Source `json:"source,omitempty"`
	whatif.Plan
}

// CapacityAnswer is the answer to GET and POST /v1/capacity.
type CapacityAnswer struct {
	Schema int     `json:"schema"`
	Source *Source `json:"source,omitempty"`
	whatif.Capacity
}

// ViolationsAnswer is the answer to GET /v1/placement/violations.
type ViolationsAnswer struct {
	Schema     int                `json:"schema"`
	Source     *Source            `json:"source,omitempty"`
	Violations []whatif.Violation `json:"violations"`
	Problems   []string           `json:"problems,omitempty"`
}

// TieView is one thing that ties a VM to its host. Without it the VM is bound, loses
// something, or cannot move while it runs.
type TieView struct {
	Kind   domainxml.TieKind `json:"kind"`
	Effect domainxml.Effect  `json:"effect"`
	What   string            `json:"what,omitempty"`
	// Device is a device of its host that a devices block of the policy may name, such as "pci:0000:41:00.0".
	Device string `json:"device,omitempty"`
	Text   string `json:"text"`
}

// FitView is one host; without reasons the VM could run there.
type FitView struct {
	Host    string   `json:"host"`
	Reasons []string `json:"reasons,omitempty"`
}

// picture is what the planner goes by. Only the master can make one: nobody else
// knows what the hosts have. The error is for the caller.
func (w World) picture() (inventory.Input, error) {
	if w.Picture == nil {
		why := "no master is known to " + w.Self.Name
		if m := w.master(); m != "" {
			why = "ask again without --stale: " + m + " is the master"
		}
		return inventory.Input{}, &Error{Code: CodeNoMaster, Message: fmt.Sprintf("only the master knows what the hosts have (%s)", why)}
	}
	return *w.Picture, nil
}

// roomProblems are those of room for failures, where admission control reckons it.
func (w World) roomProblems() []Problem {
	if w.Outlook == nil || len(w.State.Hosts) < 2 {
		return nil // of one host alone that is said already
	}
	room := w.Outlook.Room
	var out []Problem
	add := func(next, format string, args ...any) {
		out = append(out, Problem{Severity: fsm.Warning, Text: fmt.Sprintf(format, args...), Next: next})
	}
	switch {
	case w.policy().Admission.Mode == config.AdmissionOff:
		add("haadm capacity", "admission control is off: nothing keeps room for failures of hosts")
	case room.Answer == placement.No:
		add("haadm capacity", "there is not enough room for the failures that the policy asks for: %s", room.Why)
	case room.Answer == placement.Unknown:
		add("haadm capacity", "whether there is room for the failures that the policy asks for could not be found out: %s", room.Why)
	}
	if w.Picture != nil {
		if p := whatif.Perform(*w.Picture); p.Warn {
			add("haadm capacity",
				"after the failures that the policy asks for VMs would lose more than %d %% of their performance: %s", p.Tolerated, p.Why)
		}
	}
	if inv := w.Outlook.Inventory; inv != nil {
		for _, v := range placement.Broken(inv.Cluster) {
			add("haadm placement violations", "%s", v.Why)
		}
	}
	if len(room.Uncovered) > 0 {
		u, more := room.Uncovered[0], ""
		switch n := len(room.Uncovered) - 1; {
		case n == 1:
			more = " (1 more is like it)"
		case n > 1:
			more = fmt.Sprintf(" (%d more are like it)", n)
		}
		add("haadm vms show "+u.VM, "vm %s is protected, and no plan can restart it if its host is lost: %s%s", u.VM, u.Why, more)
	}
	return out
}

// pictured makes an endpoint of a function of the picture.
func (s *Server) pictured(f func(w World, in inventory.Input, c *call) (any, error)) endpoint {
	return s.view(func(w World, c *call) (any, error) {
		in, err := w.picture()
		if err != nil {
			return nil, err
		}
		s.drawing.Lock() // nothing that is waited for happens under it
		defer s.drawing.Unlock()
		return f(w, in, c)
	})
}

func (s *Server) plan(ctx context.Context, c *call) (any, error) {
	var q whatif.Question
	if c.Method == http.MethodPost {
		if err := c.decode(&q); err != nil {
			return nil, err
		}
	}
	return s.pictured(func(w World, in inventory.Input, _ *call) (any, error) {
		p, err := whatif.Ask(&s.builder, in, q, w.Outlook)
		if err != nil {
			return nil, unanswerable(err)
		}
		return &PlanAnswer{Schema: Schema, Source: w.source(), Plan: *p}, nil
	})(ctx, c)
}

// unanswerable is an error of whatif as it travels.
func unanswerable(err error) error {
	if errors.Is(err, whatif.ErrBadQuestion) || errors.Is(err, inventory.ErrBadFile) {
		return &Error{Code: CodeBadRequest, Message: err.Error()}
	}
	return err
}

func (s *Server) capacity(ctx context.Context, c *call) (any, error) {
	var h whatif.Hypothesis
	if c.Method == http.MethodPost {
		if err := c.decode(&h); err != nil {
			return nil, err
		}
	}
	return s.pictured(func(w World, in inventory.Input, _ *call) (any, error) {
		room, err := whatif.Room(&s.builder, in, h, w.Outlook)
		if err != nil {
			return nil, unanswerable(err)
		}
		return &CapacityAnswer{Schema: Schema, Source: w.source(), Capacity: *room}, nil
	})(ctx, c)
}

func (s *Server) violations(ctx context.Context, c *call) (any, error) {
	return s.pictured(func(w World, in inventory.Input, _ *call) (any, error) {
		a := &ViolationsAnswer{Schema: Schema, Source: w.source()}
		a.Violations, a.Problems = whatif.Violations(&s.builder, in)
		return a, nil
	})(ctx, c)
}

// inventory is the picture as a file, for haadm plan --inventory.
func (s *Server) inventory(ctx context.Context, c *call) (any, error) {
	return s.pictured(func(_ World, in inventory.Input, _ *call) (any, error) {
		return s.builder.NewFile(in), nil
	})(ctx, c)
}

// considered adds to an explanation where the VM would go, host by host: now, when it
// waits, or if its host was lost.
func (s *Server) considered(w World, vm *fsm.VM, e *Explanation) {
	in, err := w.picture()
	if err != nil || vm.Intent != fsm.IntentRun {
		return
	}
	if in.Frozen(vm) {
		return // it starts nowhere now
	}
	s.drawing.Lock()
	defer s.drawing.Unlock()
	inv := s.builder.Build(in)
	name, q, when := inv.Names[vm.UUID], placement.Question{}, "where it could start now"
	if vm.Owner != nil || vm.Sighting != nil {
		i := slices.IndexFunc(inv.Cluster.VMs, func(v placement.VM) bool { return v.Name == name })
		if i < 0 || inv.Cluster.VMs[i].Host == "" {
			return
		}
		host := inv.Cluster.VMs[i].Host
		q.Lost, when = []string{host}, "if "+host+" was lost"
	}
	for _, d := range placement.Decide(inv.Cluster, q).Decisions {
		if d.VM != name {
			continue
		}
		x := whatif.DecisionOf(d)
		e.Considered = x.Hosts
		if detail := placement.DetailFor(len(d.Hosts)); detail != placement.Each {
			for _, l := range placement.Lots(d.Hosts, d.To, detail) {
				e.Now = append(e.Now, LotView{Hosts: l.Hosts, Excluded: string(l.Excluded), Rule: l.Rule, Rank: l.Rank, Text: l.Text})
			}
		}
		switch d.Action {
		case placement.StayDown:
			e.rule("placement", "%s: nowhere: %s", when, d.Why)
		default:
			e.rule("placement", "%s: on %s: %s", when, d.To, strings.TrimSuffix(d.Why, "."))
		}
	}
}

// Plan asks what would be done if what the question names was lost.
func (c *Client) Plan(ctx context.Context, q whatif.Question) (*PlanAnswer, error) {
	return suppose[PlanAnswer](ctx, c, "/v1/plan", "ask for a plan", q)
}

// Capacity asks how much room there is, or would be.
func (c *Client) Capacity(ctx context.Context, h whatif.Hypothesis) (*CapacityAnswer, error) {
	if h.None() {
		return ask[CapacityAnswer](ctx, c, "/v1/capacity")
	}
	return suppose[CapacityAnswer](ctx, c, "/v1/capacity", "ask for the room that there would be", h)
}

// suppose asks a question that has a body.
func suppose[T any](ctx context.Context, c *Client, path, what string, body any) (*T, error) {
	var out T
	query := url.Values{}
	if !c.stale {
		query.Set("fresh", "1")
	}
	err := c.do(ctx, http.MethodPost, path, query, body, &out)
	switch {
	case errors.Is(err, ErrUnknownOutcome): // nothing could have been changed
		return nil, fmt.Errorf("%s: %s did not answer in time", what, c.where)
	case err != nil:
		return nil, err
	}
	return &out, nil
}

// Violations asks which rules are broken where VMs run now.
func (c *Client) Violations(ctx context.Context) (*ViolationsAnswer, error) {
	return ask[ViolationsAnswer](ctx, c, "/v1/placement/violations")
}

// Inventory asks for the picture that plans are made of, as a file.
func (c *Client) Inventory(ctx context.Context) (*inventory.File, error) {
	return ask[inventory.File](ctx, c, "/v1/inventory")
}
