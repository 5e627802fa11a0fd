package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

func (p *program) startCommand() *cli.Command {
	return p.leaf("start", "start protected VMs where there is room, and wait until they run",
		"VM...", 1, -1, changeFlags(5*time.Minute, spare()), func(ctx context.Context, c *cli.Context) error {
			return p.intend(ctx, c, fsm.IntentRun)
		})
}

func (p *program) stopCommand() *cli.Command {
	return p.leaf("stop", "shut protected VMs down, so that they stay down, and wait until they are",
		"VM...", 1, -1, changeFlags(5*time.Minute), func(ctx context.Context, c *cli.Context) error {
			return p.intend(ctx, c, fsm.IntentStop)
		})
}

func (p *program) restartCommand() *cli.Command {
	return p.leaf("restart", "shut a protected VM down and start it again, on the same host if that can run it",
		"VM", 1, 1, changeFlags(10*time.Minute, spare()), p.restart)
}

// wants is what a person asks of one VM, and what became of it.
type wants struct {
	VM    string      `json:"vm"`
	UUID  string      `json:"uuid"`
	State string      `json:"state"`
	Host  string      `json:"host,omitempty"`
	Done  bool        `json:"done"`
	Why   string      `json:"why,omitempty"` // it is not
	Took  api.Seconds `json:"took_seconds,omitempty"`
}

// intend has VMs started or stopped, and waits until they are.
func (p *program) intend(ctx context.Context, c *cli.Context, intent fsm.Intent) error {
	client := p.changer()
	defer client.Close()
	since, err := p.lastEvent(ctx, client) // before the list, so that no wish falls between them
	if err != nil {
		return err
	}
	list, err := masterVMs(ctx, client)
	if err != nil {
		return err
	}
	var due []api.VMView
	var plan []string
	changes := 0
	for _, name := range c.Args().Slice() {
		vm, err := pickProtected(list, name)
		if err != nil {
			return err
		}
		if has(due, vm.UUID) {
			continue
		}
		due = append(due, vm)
		if vm.Intent != intent {
			changes++
		}
		plan = append(plan, intentLine(vm, intent))
	}
	if changes > 0 {
		verb := map[fsm.Intent]string{fsm.IntentRun: "Start", fsm.IntentStop: "Stop"}[intent]
		if err := p.agree(ctx, fmt.Sprintf("%s %s?", verb, plural(changes, "VM", "VMs")), plan...); err != nil {
			return err
		}
	} else {
		for _, line := range plan {
			fmt.Fprintln(p.stderr, line)
		}
	}
	r := api.IntentRequest{Intent: intent, Why: c.String("why"), EvenIfNoSpare: intent == fsm.IntentRun && c.Bool(spareFlag)}
	for i, vm := range due {
		if vm.Intent == intent && !(intent == fsm.IntentRun && vm.State == api.VMWaiting) { // one that waits may do so for a person's word
			continue
		}
		if _, err := client.SetIntent(ctx, vm.UUID, r); err != nil {
			if i > 0 {
				err = fmt.Errorf("asked for %s, but not for %s: %w", names(due[:i]), vm.Name, err)
			}
			return err
		}
	}
	if intent == fsm.IntentRun && !c.Bool("no-wait") {
		if err := p.startEnded(ctx, client, due, since, r); err != nil {
			return err
		}
	}
	all, err := p.reach(ctx, client, due, intent, false, since, c.Duration("timeout"), c.Bool("no-wait"))
	if err != nil {
		return err
	}
	return p.reached(all, c.Bool("no-wait"))
}

// untold is for how long the end of a guest may be known to its host alone: libvirt tells the host at
// once, and the host the cluster.
const untold = 1500 * time.Millisecond

// startEnded asks once more for those that ran already when they were to be started, and turn out to
// have been shut down by their guests a moment before: the wish is the later
// word, unless somebody else has said another since.
func (p *program) startEnded(ctx context.Context, client *api.Client, due []api.VMView, since uint64, r api.IntentRequest) error {
	ran := slices.DeleteFunc(slices.Clone(due), func(vm api.VMView) bool { return vm.Intent != fsm.IntentRun || vm.State != api.VMRunning })
	if len(ran) == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(untold):
	}
	list, err := client.VMs(ctx)
	if err != nil {
		return err
	}
	for _, vm := range list.VMs {
		if !has(ran, vm.UUID) || !vm.Protected || vm.Intent == fsm.IntentRun {
			continue
		}
		wishes, err := client.Events(ctx, api.EventFilter{VM: vm.Name, After: since, Type: fsm.EventVMIntentChanged})
		if err != nil {
			return err
		}
		if len(wishes.Events) > 0 {
			continue
		}
		fmt.Fprintf(p.stderr, "%s was down by then, and is started.\n", vm.Name)
		if _, err := client.SetIntent(ctx, vm.UUID, r); err != nil {
			return err
		}
	}
	return nil
}

func names(vms []api.VMView) string {
	var out []string
	for _, vm := range vms {
		out = append(out, vm.Name)
	}
	return strings.Join(out, ", ")
}

// pickProtected is pickVM for what only makes sense of a protected VM.
func pickProtected(list *api.VMList, name string) (api.VMView, error) {
	vm, err := pickVM(list, name)
	if err == nil && !vm.Protected {
		return vm, &refusedError{fmt.Sprintf("%s is not protected, so Holdfast neither starts, stops nor moves it: use virsh on %s, or 'haadm protect %s' first (nothing was changed)",
			vm.Name, dash(vm.Host), vm.Name)}
	}
	return vm, err
}

func intentLine(vm api.VMView, intent fsm.Intent) string {
	switch {
	case vm.Intent == intent && intent == fsm.IntentRun:
		return fmt.Sprintf("  = %s shall run already, and is %s", vm.Name, vm.State)
	case vm.Intent == intent:
		return fmt.Sprintf("  = %s shall be down already, and is %s", vm.Name, vm.State)
	case intent == fsm.IntentRun:
		return fmt.Sprintf("  + %s is started where there is room; it was last on %s", vm.Name, dash(vm.Home))
	}
	return fmt.Sprintf("  - %s, %s on %s, is shut down, and stays down until somebody starts it", vm.Name, vm.State, dash(vm.Host))
}

// reach waits until VMs do what people want of them, and shows what happens meanwhile. anew: one
// that runs must have been started since due was read.
func (p *program) reach(
	ctx context.Context, client *api.Client, due []api.VMView, intent fsm.Intent, anew bool, since uint64, timeout time.Duration, noWait bool,
) ([]wants, error) {
	all := make([]wants, len(due))
	began := p.now()
	tell := &teller{p: p, after: since, match: func(e api.EventView) bool {
		return slices.ContainsFunc(due, func(vm api.VMView) bool { return vm.Name == e.VM })
	}}
	state := map[fsm.Intent]string{fsm.IntentRun: api.VMRunning, fsm.IntentStop: api.VMStopped}[intent]
	look := func(ctx context.Context) (bool, error) {
		list, err := client.VMs(ctx)
		if err != nil {
			return false, err
		}
		end := true
		for i, vm := range due {
			x := wants{VM: vm.Name, UUID: vm.UUID, Why: "it is not protected any more"}
			if j := slices.IndexFunc(list.VMs, func(v api.VMView) bool { return v.UUID == vm.UUID && v.Protected }); j >= 0 {
				is := list.VMs[j]
				x.State, x.Host, x.Why, x.Took = is.State, is.Host, is.Waiting, all[i].Took
				x.Done = is.State == state && is.Intent == intent && (!anew || is.Generation > vm.Generation)
				if is.Restart != nil && !x.Done {
					x.Why = "it is asked to shut down, to be started again"
				}
				if is.Intent != intent {
					x.Why = fmt.Sprintf("somebody wants it to %s", is.Intent)
				}
				end = end && (x.Done || is.Intent != intent)
			}
			if x.Done && !all[i].Done {
				x.Took = api.Seconds(p.now().Sub(began))
			}
			all[i] = x
		}
		return end, nil
	}
	if noWait {
		_, err := look(ctx)
		return all, err
	}
	err := p.until(ctx, timeout, func(ctx context.Context) (bool, error) {
		end, err := look(ctx)
		tell.more(ctx, client)
		return end, err
	})
	if err != nil {
		return nil, fmt.Errorf("%w; what was asked for goes on: 'haadm vms list' shows it", err)
	}
	return all, nil
}

func (p *program) reached(all []wants, noWait bool) error {
	missing := 0
	for _, x := range all {
		if !x.Done {
			missing++
		}
	}
	if err := p.show(struct {
		Schema int     `json:"schema"`
		VMs    []wants `json:"vms"`
	}{api.Schema, all}, func() {
		for _, x := range all {
			text := fmt.Sprintf("%s is %s", x.VM, x.State)
			if x.Host != "" {
				text += " on " + x.Host
			}
			if x.Done && x.Took >= api.Seconds(time.Second) {
				text += ", after " + span(x.Took.Duration())
			}
			if !x.Done && x.Why != "" {
				text += ": " + x.Why
			}
			p.paragraph("", text+".")
		}
		switch {
		case noWait && missing > 0:
			p.next("Watch it", "haadm events --follow --vm "+all[0].VM)
		case missing > 0:
			p.next("Why", "haadm explain vm "+all[slices.IndexFunc(all, func(x wants) bool { return !x.Done })].VM)
		}
	}); err != nil {
		return err
	}
	if missing > 0 && !noWait {
		return errReported
	}
	return nil
}

// restart has a VM shut down and started again. That is one wish: the cluster goes on with it
// though nobody waits.
func (p *program) restart(ctx context.Context, c *cli.Context) error {
	client := p.changer()
	defer client.Close()
	list, err := masterVMs(ctx, client)
	if err != nil {
		return err
	}
	vm, err := pickProtected(list, c.Args().First())
	if err != nil {
		return err
	}
	if vm.Intent != fsm.IntentRun || vm.State != api.VMRunning && vm.State != api.VMPaused {
		return &refusedError{fmt.Sprintf("%s is %s: only what runs can be restarted. 'haadm vms start %s' starts it, 'haadm vms retry %s' has another try at what failed (nothing was changed)",
			vm.Name, vm.State, vm.Name, vm.Name)}
	}
	if vm.Restart == nil {
		plan := fmt.Sprintf("  ~ %s, %s on %s, is shut down and started again, there if it can be", vm.Name, vm.State, vm.Host)
		if err := p.agree(ctx, fmt.Sprintf("Restart %s?", vm.Name), plan); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(p.stderr, "%s is being restarted already, for %s.\n", vm.Name, p.ago(vm.Restart.At))
	}
	since, err := p.lastEvent(ctx, client)
	if err != nil {
		return err
	}
	ordered, err := client.Restart(ctx, vm.UUID, api.RestartRequest{Why: c.String("why"), EvenIfNoSpare: c.Bool(spareFlag)})
	if err != nil {
		return err
	}
	vm.Generation = ordered.Generation
	all, err := p.reach(ctx, client, []api.VMView{vm}, fsm.IntentRun, true, since, c.Duration("timeout"), c.Bool("no-wait"))
	if err != nil {
		return err
	}
	return p.reached(all, c.Bool("no-wait"))
}

func (p *program) retryCommand() *cli.Command {
	return p.leaf("retry", "forget the starts and moves of a VM that failed, and try again now", "VM", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
		client := p.changer()
		defer client.Close()
		a, err := client.VM(ctx, c.Args().First())
		if err != nil {
			return err
		}
		if err := needMaster(a.Source); err != nil {
			return err
		}
		vm := a.VM
		if !vm.Protected {
			_, err := pickProtected(&api.VMList{VMs: []api.VMView{vm}}, vm.UUID)
			return err
		}
		if n := len(vm.Failures) + len(vm.MoveFailures); n > 0 && vm.Intent == fsm.IntentRun {
			plan := fmt.Sprintf("  ~ %s, %s: %s forgotten, and it is tried again now", vm.Name, vm.State, plural(n, "failure is", "failures are"))
			if err := p.agree(ctx, fmt.Sprintf("Try %s again?", vm.Name), plan); err != nil {
				return err
			}
		}
		done, err := client.Retry(ctx, vm.UUID)
		if err != nil {
			return err
		}
		return p.done(done, "Watch it", "haadm events --follow --vm "+vm.Name)
	})
}

// historyTypes are the events that say when a VM was started, stopped or moved, and why.
var historyTypes = []string{
	fsm.EventVMProtected, fsm.EventVMUnprotected, fsm.EventVMSeenRunning, fsm.EventVMAssigned,
	fsm.EventVMStarted, fsm.EventVMStopped, fsm.EventVMCrashed, fsm.EventVMStartFailed,
	fsm.EventVMNoHost, fsm.EventVMGivenUp, fsm.EventVMIntentChanged, fsm.EventVMRestartOrdered,
	fsm.EventVMMoveOrdered, fsm.EventVMMoved, fsm.EventVMMoveFailed, fsm.EventVMRetryAsked, fsm.EventVMFreezeEnded,
}

func (p *program) historyCommand() *cli.Command {
	return p.leaf("history", "every start, stop, restart and move of a VM that the history still has, with its cause",
		"VM", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
			client := p.client()
			defer client.Close()
			name := c.Args().First()
			if a, err := client.VM(ctx, name); err == nil {
				name = a.VM.Name // it was a UUID
			}
			l, err := client.Events(ctx, api.EventFilter{VM: name})
			if err != nil {
				return err
			}
			l.Events = slices.DeleteFunc(l.Events, func(e api.EventView) bool { return !slices.Contains(historyTypes, e.Type) })
			return p.show(l, func() {
				if len(l.Events) == 0 {
					p.say("The history has nothing of a VM called %s.", name)
				}
				for _, e := range l.Events {
					p.event(e)
				}
				p.note(l.Source)
			})
		})
}
