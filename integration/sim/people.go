package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/agent"
	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/integration/sim/scenario"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// people are those who use the cluster: they ask whichever host is master, ask
// again while there is none, and remember what they were promised.
type people struct {
	w *World
	// wants is what each VM may lawfully be at the end, by the acknowledgements
	// that people have: more than one where an answer was lost.
	wants map[string][]want
	// open counts the requests about each VM that are under way, granted is what was promised
	// since there was none: of requests that overlap either may have come last.
	open    map[string]int
	granted map[string][]want
	// past is the generation of each VM that somebody ended past Holdfast, last.
	past map[string]uint64
	// persevere is how long they go on asking.
	persevere time.Duration
}

// want is what a person was told, or asked for without hearing an answer.
type want struct {
	protected bool
	intent    fsm.Intent
}

func newPeople(w *World) *people {
	return &people{w: w, wants: map[string][]want{}, open: map[string]int{}, granted: map[string][]want{}, past: map[string]uint64{}, persevere: persevere}
}

// How long people wait for an answer, between two tries, and before they give up.
const (
	patience   = 5 * time.Second
	askAgain   = 500 * time.Millisecond
	persevere  = 60 * time.Second
	setUp      = 24 * time.Hour // those who set a cluster up do not give up
	personName = "operator"
)

// ask has a person make a request about a VM, or "", of the master until it is granted,
// refused, or given up. what is for the timeline; then is what the VM is once it is granted,
// nil if the request itself says so.
func (p *people) ask(what, vm string, then []want, request func(ctx context.Context, on *agent.Agent) error) {
	w := p.w
	w.note("person: %s", what)
	p.open[vm]++
	patient := p.persevere
	w.wg.Go(func() {
		give := time.NewTimer(patient)
		defer give.Stop()
		for {
			answered := make(chan bool, 1)
			w.soon(func() { p.once(what, vm, then, request, answered) })
			select {
			case done := <-answered:
				if done {
					return
				}
			case <-w.ctx.Done():
				return
			}
			t := time.NewTimer(askAgain)
			select {
			case <-t.C:
			case <-give.C:
				w.soon(func() {
					w.note("person: %s: given up", what)
					p.over(vm)
				})
				return
			case <-w.ctx.Done():
				t.Stop()
				return
			}
		}
	})
}

// promise notes what a person was told that a VM is.
func (p *people) promise(vm string, is ...want) {
	p.granted[vm] = append(p.granted[vm], is...)
	p.wants[vm] = slices.Clone(p.granted[vm])
	if g := p.generation(vm); g != 0 && g == p.past[vm] {
		p.wants[vm] = append(p.wants[vm], want{true, fsm.IntentStop}) // nobody has told the master of that end, which counts when it is seen
	}
}

// generation is that of the VM's owner, by the newest copy of the state; 0: nobody owns it.
func (p *people) generation(vm string) uint64 {
	s := p.w.watch.newest.state
	if s == nil {
		return 0
	}
	if x := s.FindVM(vm); x != nil && x.Owner != nil {
		return x.Owner.Generation
	}
	return 0
}

// perhaps notes what a VM may be whose answer was lost.
func (p *people) perhaps(vm string, is ...want) {
	p.granted[vm] = append(p.granted[vm], is...)
	p.wants[vm] = append(p.wants[vm], is...)
}

// over ends a request about a VM.
func (p *people) over(vm string) {
	if p.open[vm]--; p.open[vm] == 0 {
		delete(p.granted, vm)
	}
}

// once tries a request at the present master, if there is one.
func (p *people) once(what, vm string, then []want, request func(ctx context.Context, on *agent.Agent) error, answered chan<- bool) {
	w := p.w
	m := w.master()
	if m == nil {
		answered <- false
		return
	}
	on := m.agent.agent
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		err := request(ctx, on)
		cancel()
		w.soon(func() {
			var refusal *fsm.Refusal
			switch {
			case err == nil:
				w.note("person: %s: done (%s)", what, m.name)
				if then != nil {
					p.promise(vm, then...)
				}
			case errors.As(err, &refusal):
				w.note("person: %s: refused by %s: %v", what, m.name, refusal)
				p.rejected(vm)
			case vm == "" && w.s.Recorded() && isNo(err):
				w.note("person: %s: %s says no: %v", what, m.name, err)
				p.rejected(vm)
			case errors.Is(err, api.ErrNotMaster) || errors.Is(err, api.ErrNoMaster):
			default:
				w.note("person: %s: %s answers %v", what, m.name, err)
				if then != nil {
					p.perhaps(vm, then...)
				}
			}
			disarmed := errors.Is(err, api.ErrRefused) && strings.Contains(err.Error(), fsm.DisarmedFor) // and whoever is told so does not insist
			done := err == nil || refusal != nil || disarmed || vm == "" && w.s.Recorded() && isNo(err)
			if done {
				p.over(vm)
			}
			answered <- done
		})
	})
}

// master is the machine whose agent holds the office and can be asked; nil when none.
func (w *World) master() *machine {
	var best *machine
	var epoch uint64
	for _, name := range w.order {
		m := w.machines[name]
		if !m.answers() {
			continue
		}
		if s := m.agent.agent.Self(); s.IsMaster && s.Epoch >= epoch {
			best, epoch = m, s.Epoch
		}
	}
	return best
}

// apply has a person change the state by one command, made for the master's epoch.
func (p *people) apply(what, vm string, then want, command func(epoch uint64) fsm.Command) {
	p.ask(what, vm, []want{then}, func(ctx context.Context, on *agent.Agent) error {
		_, err := on.Apply(ctx, command(on.Self().Epoch))
		return err
	})
}

func (p *people) meta() fsm.Meta { return fsm.Meta{At: time.Now(), By: personName} }

// protectAll puts the scenario's VMs under protection, as soon as there is a
// master: each at home on its host, wanted running or stopped, owned by nobody.
func (p *people) protectAll() {
	p.persevere = setUp
	defer func() { p.persevere = persevere }()
	for i := range p.w.s.VMs {
		vm := &p.w.s.VMs[i]
		switch vm.Desired {
		case "running":
			p.protectNew(vm, fsm.IntentRun)
		case "stopped", "disabled":
			p.protectNew(vm, fsm.IntentStop)
		default: // ignored, unmanaged: a person runs it by hand
			if err := p.w.machines[vm.Host].hyp.PersonStart(vm.ID); err != nil {
				p.w.note("start of unprotected %s: %v", vm.ID, err)
			}
		}
	}
}

func (p *people) protectNew(vm *scenario.VM, intent fsm.Intent) {
	xml := definition(vm)
	packed, err := fsm.PackXML(xml)
	if err != nil {
		p.w.broken("definition of %s: %v", vm.ID, err)
		return
	}
	def, err := domainxml.Parse(xml)
	if err != nil {
		p.w.broken("definition of %s: %v", vm.ID, err)
		return
	}
	sum, _ := domainxml.Hash(xml)
	p.apply(fmt.Sprintf("protect %s on %s (%s)", vm.ID, vm.Host, intent), vm.ID, want{true, intent}, func(epoch uint64) fsm.Command {
		return &fsm.Protect{Meta: p.meta(), Epoch: epoch, Host: vm.Host, VM: fsm.VM{UUID: def.UUID, Name: vm.ID, XML: packed, XMLHash: sum,
			VCPUs: def.VCPUs, Memory: def.Memory, Intent: intent}}
	})
}

// protect asks for the protection of a VM that is defined or runs somewhere. It then is
// as the answer says, or shall run after all: of one that was moved a moment ago, while it was
// let go, the host that had it says that it has stopped, until the one that has it is heard.
func (p *people) protect(vm string) {
	p.ask("protect "+vm, vm, nil, func(ctx context.Context, on *agent.Agent) error {
		got, err := on.Protect(ctx, vm, personName)
		var refusal *fsm.Refusal
		p.w.soon(func() {
			switch {
			case err == nil:
				p.promise(vm, want{true, got.Intent}, want{true, fsm.IntentRun})
			case errors.As(err, &refusal) || errors.Is(err, api.ErrRefused) || errors.Is(err, api.ErrNotMaster) || errors.Is(err, api.ErrNoMaster):
			default:
				p.perhaps(vm, want{true, fsm.IntentRun}, want{true, fsm.IntentStop})
			}
		})
		return err
	})
}

// intend changes whether a protected VM shall run.
func (p *people) intend(vm string, intent fsm.Intent) {
	p.apply(fmt.Sprintf("%s shall %s", vm, intent), vm, want{true, intent}, func(uint64) fsm.Command {
		return &fsm.SetIntent{Meta: p.meta(), UUID: uuidOf("vm", vm), Intent: intent}
	})
}

// unprotect lets a VM go.
func (p *people) unprotect(vm string) {
	p.apply("unprotect "+vm, vm, want{}, func(uint64) fsm.Command {
		return &fsm.Unprotect{Meta: p.meta(), UUID: uuidOf("vm", vm)}
	})
}

// shutsDown notes that somebody ended the VM past Holdfast, which is respected
// when it is seen: both may be true from here on.
func (p *people) shutsDown(vm string) {
	p.past[vm] = p.generation(vm)
	p.wants[vm] = append(p.wants[vm], want{true, fsm.IntentStop})
}
