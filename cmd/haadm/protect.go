package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

func (p *program) protectCommand() *cli.Command {
	return p.leaf("protect", "restart these VMs elsewhere when their host dies", "VM...", 1, -1, nil, func(ctx context.Context, c *cli.Context) error {
		return p.setProtection(ctx, c.Args().Slice(), true)
	})
}

func (p *program) unprotectCommand() *cli.Command {
	return p.leaf("unprotect", "leave these VMs alone from now on; they go on running", "VM...", 1, -1, nil, func(ctx context.Context, c *cli.Context) error {
		return p.setProtection(ctx, c.Args().Slice(), false)
	})
}

// setProtection looks at every name before it changes anything.
func (p *program) setProtection(ctx context.Context, names []string, protect bool) error {
	client := p.changer()
	defer client.Close()
	list, err := masterVMs(ctx, client)
	if err != nil {
		return err
	}
	due, plan, err := p.protectionPlan(list, names, protect, func(vm api.VMView) (*api.AgilityView, error) {
		a, err := client.Prospect(ctx, vm.UUID)
		if err != nil {
			return nil, err
		}
		return a.VM.Agility, nil
	})
	if err != nil {
		return err
	}
	if len(due) > 0 {
		verb := "Protect"
		if !protect {
			verb = "Stop protecting"
		}
		if err := p.agree(ctx, fmt.Sprintf("%s %s?", verb, plural(len(due), "VM", "VMs")), plan...); err != nil {
			return err
		}
	}
	var done, warned []string
	for _, vm := range due {
		if protect {
			var a *api.VMAnswer
			if a, err = client.Protect(ctx, vm.Name); err == nil { // pickVM has made sure that the name means this one
				warned = append(warned, stranded(vm, a.VM.Agility)...)
			}
		} else {
			_, err = client.Unprotect(ctx, vm.UUID)
		}
		if err != nil {
			if len(done) > 0 {
				err = fmt.Errorf("done for %s, but not for %s: %w", strings.Join(done, ", "), vm.Name, err)
			}
			return err
		}
		done = append(done, vm.Name)
	}
	return p.show(struct {
		Schema  int      `json:"schema"`
		Protect bool     `json:"protect"`
		Changed []string `json:"changed"`
		// Warnings say of each of them that could not be restarted now why not.
		Warnings []string `json:"warnings,omitempty"`
	}{api.Schema, protect, append([]string{}, done...), warned}, func() {
		if len(done) == 0 {
			for _, line := range plan {
				p.say("%s", line)
			}
			p.say("Nothing to change.")
			return
		}
		word := "Protected"
		if !protect {
			word = "No longer protected"
		}
		p.say("%s: %s", word, strings.Join(done, ", "))
		for _, w := range warned {
			p.paragraph(p.tint("  ! ", fsm.Warning), w)
		}
		p.next("Watch it", "haadm events --follow --vm "+done[0])
	})
}

// protectionPlan finds the VMs whose protection would change, and says so in words. prospect says
// what protection would be worth to one.
func (p *program) protectionPlan(
	list *api.VMList, names []string, protect bool, prospect func(api.VMView) (*api.AgilityView, error),
) (due []api.VMView, plan []string, err error) {
	for _, name := range names {
		vm, err := pickVM(list, name)
		if err != nil {
			return nil, nil, err
		}
		if has(due, vm.UUID) {
			continue
		}
		switch {
		case protect && vm.Protected:
			plan = append(plan, fmt.Sprintf("  = %s is protected already, by %s", vm.Name, vm.By))
			continue
		case protect:
			a, err := prospect(vm)
			if err != nil {
				return nil, nil, err
			}
			is := fmt.Sprintf("%s on %s, %s, %s, %s: ", vm.Name, vm.Host, vm.State, plural(vm.VCPUs, "processor", "processors"), size(vm.Memory))
			if why := stranded(vm, a); len(why) > 0 {
				plan = append(plan, "  ! "+is+"as things are NOT restarted when "+vm.Host+" dies")
				for _, w := range why {
					plan = append(plan, p.wrapped("      ", w)...)
				}
			} else {
				plan = append(plan, "  + "+is+"will be restarted on another host when "+vm.Host+" dies")
			}
		case !vm.Protected:
			plan = append(plan, fmt.Sprintf("  = %s is not protected", vm.Name))
			continue
		default:
			plan = append(plan, fmt.Sprintf("  - %s, %s on %s: goes on as it is, but nobody restarts it when %s dies",
				vm.Name, vm.State, dash(vm.Host), dash(vm.Host)))
			if byPolicy(vm) {
				plan = append(plan, "      the policy protects it: take it out there instead, with 'haadm config apply'")
			}
		}
		due = append(due, vm)
	}
	return due, plan, nil
}

// stranded says what keeps a VM from being restarted if its host was lost now, in sentences; none
// where it would be, or where that is not known.
func stranded(vm api.VMView, a *api.AgilityView) []string {
	var out []string
	switch {
	case a == nil || a.Agile && a.Nowhere == "":
		return nil
	case a.Agile:
		return []string{fmt.Sprintf("no host has room for %s now if %s is lost: %s", vm.Name, vm.Host, a.Nowhere)}
	}
	for _, t := range a.Ties {
		if t.Effect == domainxml.Bound {
			out = append(out, t.Text)
		}
	}
	if len(out) == 0 {
		for _, h := range a.Hosts {
			if h.Host != vm.Host {
				out = append(out, "not on "+h.Host+": "+strings.Join(h.Reasons, ", "))
			}
		}
	}
	why := "there is no other host"
	if len(out) > 0 {
		why = strings.Join(out, "; ")
	}
	return []string{fmt.Sprintf("%s cannot leave %s: %s", vm.Name, vm.Host, why)}
}

// byPolicy reports whether it is the policy, not a person, that protects a VM.
func byPolicy(vm api.VMView) bool { return vm.Protected && strings.HasPrefix(vm.By, "policy") }

func has(vms []api.VMView, uuid string) bool {
	for _, vm := range vms {
		if vm.UUID == uuid {
			return true
		}
	}
	return false
}

// pickVM finds a VM by name or UUID; an ambiguous name is refused.
func pickVM(list *api.VMList, name string) (api.VMView, error) {
	var found []api.VMView
	var names []string
	for _, vm := range list.VMs {
		if vm.UUID == name {
			return vm, nil
		}
		if vm.Name == name {
			found = append(found, vm)
		}
		names = append(names, vm.Name)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return api.VMView{}, &api.Error{Code: api.CodeNotFound,
			Message: fmt.Sprintf("no host reports a VM called %q%s; 'haadm vms list' shows them (nothing was changed)",
				name, didYouMean(name, names))}
	}
	var ids []string
	for _, vm := range found {
		ids = append(ids, fmt.Sprintf("%s on %s", vm.UUID, dash(vm.Host)))
	}
	return api.VMView{}, &refusedError{fmt.Sprintf("%d VMs are called %q: name one by its UUID (%s)",
		len(found), name, strings.Join(ids, "; "))}
}
