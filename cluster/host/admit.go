package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// claimPatience is how long a start that a person was allowed may take to show,
// before the host says that nothing came of it.
const claimPatience = 15 * time.Second

// admission is the answer to somebody who is about to start a VM here.
type admission int

const (
	refused admission = iota
	allowed
	mustClaim // nobody owns it: the master has to give it to this host first
	mustAsk   // nobody protects it, as far as this host knows: the master says whether it takes room that is kept
)

// strangerPatience bounds the question about a VM that nobody protects: the hook has two seconds
// in all, and such a VM starts where there is no answer.
const strangerPatience = time.Second

// taking is how long after it was allowed to take in a VM the hypervisor may go on to create its process.
const taking = 15 * time.Second

// Admit is asked by the hypervisor before any VM is started here, or comes here
// by migration ("migrate", and then "prepare" like any start), by whomever. It returns nil if the VM
// may run here now, and otherwise says who may run it. A protected VM that nobody owns is claimed from
// the master first, so that of two starts on two hosts one is refused. Of a VM that nobody protects the
// master is asked too, and its refusal alone counts.
func (h *Host) Admit(ctx context.Context, r api.AdmitRequest) error {
	uuid := r.UUID
	type verdict struct {
		is     admission
		why    string
		claim  api.ClaimRequest
		vmName string
	}
	answer := make(chan verdict, 1)
	h.bring(ctx, func() {
		in := h.gather()
		is, why := admit(in, uuid)
		if comes(in, uuid) {
			at, allowedIn := h.expected[uuid]
			delete(h.expected, uuid)
			switch {
			case r.Operation == "migrate":
				is, h.expected[uuid] = allowed, in.Now
			case allowedIn && in.Now-at <= taking:
				is = allowed
			}
		}
		v := verdict{is: is, why: why}
		if is == mustClaim {
			vm := in.State.VMs[uuid]
			v.vmName = vm.Name
			v.claim = api.ClaimRequest{Host: h.cfg.Name, Incarnation: h.lease.Incarnation,
				UUID: uuid, Generation: vm.Generation, Memory: r.Memory, VCPUs: r.VCPUs}
			h.claimed[uuid] = in.Now
		}
		answer <- v
	})
	select {
	case <-ctx.Done():
		return fmt.Errorf("the agent does not answer: %w", ctx.Err())
	case v := <-answer:
		switch v.is {
		case allowed:
			return nil
		case mustClaim:
			if err := h.cfg.Master.Claim(ctx, v.claim); err != nil {
				return fmt.Errorf("%s is protected, and the master did not give it to this host: %w", v.vmName, err)
			}
			return nil
		case mustAsk:
			return h.admitStranger(ctx, r)
		}
		return fmt.Errorf("%w: %s", api.ErrRefused, v.why)
	}
}

// admitStranger asks the master about a VM that nobody protects. It may run without HA, so that
// it runs too when the master does not answer, does not know, or is of a version that cannot be asked.
func (h *Host) admitStranger(ctx context.Context, r api.AdmitRequest) error {
	ctx, cancel := context.WithTimeout(ctx, strangerPatience)
	defer cancel()
	err := h.cfg.Master.AdmitStranger(ctx, api.StrangerRequest{Host: h.cfg.Name, UUID: r.UUID, Name: r.Name, Memory: r.Memory, VCPUs: r.VCPUs})
	if err != nil && !errors.Is(err, api.ErrRefused) {
		h.cfg.Log.Info("a VM that nobody protects starts without an answer of the master", "vm", r.Name, "uuid", r.UUID, "error", err)
		return nil
	}
	return err
}

// comes reports whether a VM is on its way to this host by a move, with its memory: the
// hypervisor may take that in, and start nothing else of it.
func comes(in Input, uuid string) bool {
	if !in.Trusted || in.State == nil || !in.Lease.Held(in.Now) || in.Expired || in.Record.Over {
		return false
	}
	vm := in.State.VMs[uuid]
	return vm != nil && vm.Move != nil && !vm.Move.Cold && vm.Move.Host == in.Self && vm.Move.Incarnation == in.Lease.Incarnation
}

// admit decides by what this host knows.
func admit(in Input, uuid string) (admission, string) {
	if !in.Trusted || in.State == nil {
		if in.Record.knows(uuid) {
			return refused, "it is protected, and this host does not know yet who owns it: the agent has heard from no master since it started"
		}
		return mustAsk, ""
	}
	vm := in.State.VMs[uuid]
	switch {
	case vm == nil:
		return mustAsk, ""
	case !in.Lease.Held(in.Now) || in.Expired || in.Record.Over:
		return refused, fmt.Sprintf("%s is protected, and this host has no lease to run protected VMs", vm.Name)
	case mine(in, vm) && in.Busy[uuid]:
		return allowed, "" // our own start: the guard covers what it makes
	case mine(in, vm):
		return refused, fmt.Sprintf("%s is protected and this host's: Holdfast starts it itself, and knows in a moment if it stopped", vm.Name)
	case vm.Owner != nil:
		return refused, fmt.Sprintf("%s is protected and owned by %s (generation %d): it may run there alone",
			vm.Name, vm.Owner.Host, vm.Owner.Generation)
	case vm.Sighting != nil && vm.Sighting.Host != in.Self:
		return refused, fmt.Sprintf("%s is protected and was seen running on %s", vm.Name, vm.Sighting.Host)
	case vm.Sighting != nil:
		return allowed, ""
	case vm.Intent == fsm.IntentRun && in.State.Disarmed != nil && !vm.Asked && !vm.Astray: // only a person starts it now
	case vm.Intent == fsm.IntentRun:
		return refused, fmt.Sprintf("%s is protected and about to be started by Holdfast (%s): see `haadm explain vm %s`",
			vm.Name, vm.Waiting, vm.Name)
	}
	return mustClaim, ""
}
