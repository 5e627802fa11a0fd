package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/fsm"
)

// DisarmView says that the cluster does nothing by itself, as a person wants it.
type DisarmView struct {
	Since time.Time `json:"since"`
	// Until is when it arms itself, and Left how long that is from now by the clock of who answers.
	Until time.Time `json:"until"`
	Left  Seconds   `json:"left_seconds"`
	By    string    `json:"by,omitempty"`
	Why   string    `json:"why"`
	// Waiting are the VMs that shall run, do not, and are started once it is armed, by name.
	Waiting []string `json:"waiting,omitempty"`
}

// DisarmRequest has the cluster do nothing by itself for a while. Where it is disarmed already this
// takes the place of what was asked before.
type DisarmRequest struct {
	For Seconds `json:"for_seconds"`
	Why string  `json:"why"`
}

// ArmRequest ends that.
type ArmRequest struct {
	Why string `json:"why,omitempty"`
}

// disarmView is nil while the cluster is armed.
func (w World) disarmView() *DisarmView {
	d := w.State.Disarmed
	if d == nil {
		return nil
	}
	v := &DisarmView{Since: d.Since, Until: d.Until(), Left: Seconds(max(d.Until().Sub(w.Now), 0)), By: d.By, Why: d.Why}
	for _, vm := range w.State.SortedVMs() {
		if w.vmState(vm) == VMWaiting && !vm.Asked {
			v.Waiting = append(v.Waiting, vm.Name)
		}
	}
	return v
}

// disarmProblems are there as long as the cluster is disarmed.
func (w World) disarmProblems() []Problem {
	v := w.disarmView()
	if v == nil {
		return nil
	}
	waits := ""
	if n := len(v.Waiting); n > 0 {
		waits = fmt.Sprintf("; VMs that wait for it: %d", n)
	}
	return []Problem{{Severity: fsm.Warning, Next: "haadm arm",
		Text: fmt.Sprintf("%s, for %v more: nothing is started or moved by itself, and no host is switched off%s",
			w.State.Disarmed.Brief(), v.Left.Duration().Round(time.Second), waits)}}
}

// disarmFinding adds to what the doctor found, worst first, that the cluster is disarmed.
func disarmFinding(st *fsm.State, found []doctor.Finding) []doctor.Finding {
	if st.Disarmed == nil {
		return found
	}
	at := 0
	for at < len(found) && found[at].Severity == fsm.Critical {
		at++
	}
	return slices.Insert(found, at, doctor.Finding{Code: "cluster_disarmed", Severity: fsm.Warning, Next: "haadm arm",
		Text: st.Disarmed.Brief() + ": what is found here is not made up for by restarts"})
}

// explainDisarmed says of a VM what does not become of it while the cluster is disarmed.
func (w World) explainDisarmed(e *Explanation, vm *fsm.VM) {
	d := w.State.Disarmed
	if d == nil {
		return
	}
	e.fact(d.Since, "%s", d.Text())
	switch {
	case vm.Asked:
		e.rule("disarmed", "a person asked for it all the same, so it is started")
	case vm.Intent == fsm.IntentRun:
		e.rule("disarmed",
			"until then it is neither started nor moved by itself, whatever becomes of it or of its host; what people ask for is done")
	}
}

func (s *Server) disarm(ctx context.Context, c *call) (any, error) {
	var r DisarmRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	cmd := &fsm.DisarmCluster{Meta: fsm.Meta{At: s.opts.Now().UTC(), By: c.actor}, For: r.For.Duration(), Why: r.Why}
	if _, err := s.backend.Apply(ctx, cmd); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema,
		Done: fmt.Sprintf("the cluster is disarmed until %s", cmd.At.Add(cmd.For).Format("2006-01-02 15:04:05 MST"))}, nil
}

func (s *Server) arm(ctx context.Context, c *call) (any, error) {
	var r ArmRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if st := s.backend.State(); st != nil && st.Disarmed == nil {
		return &Done{Schema: Schema, Done: "the cluster is armed already"}, nil
	}
	if _, err := s.backend.Apply(ctx, &fsm.ArmCluster{Meta: fsm.Meta{At: s.opts.Now().UTC(), By: c.actor}, Why: r.Why}); err != nil {
		return nil, err
	}
	return &Done{Schema: Schema, Done: "the cluster is armed"}, nil
}

// Disarm has the cluster do nothing by itself for a while.
func (c *Client) Disarm(ctx context.Context, r DisarmRequest) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/disarm", r)
}

// Arm ends that.
func (c *Client) Arm(ctx context.Context, r ArmRequest) (*Done, error) {
	return change[Done](ctx, c, http.MethodPost, "/v1/arm", r)
}
