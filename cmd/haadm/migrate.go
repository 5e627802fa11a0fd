package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/fsm"
)

func (p *program) migrateCommand() *cli.Command {
	return p.leaf("migrate",
		"move protected VMs to another host while they run, together or not at all; wait until they are there. Status 1: one is not",
		"VM...", 1, -1,
		changeFlags(time.Hour,
			&cli.StringFlag{Name: "to", Usage: "the `HOST` that they go to; without it each goes where it fits best"},
			&cli.BoolFlag{Name: "cold", Usage: "shut them down and start them there"},
			&cli.BoolFlag{Name: "cancel", Usage: "call off the moves that are under way"},
			spare()),
		func(ctx context.Context, c *cli.Context) error {
			if !c.Bool("cancel") {
				return p.migrate(ctx, c)
			}
			for _, f := range []string{"to", "cold", "why", spareFlag} {
				if c.IsSet(f) {
					return usageOf(c, "--cancel calls moves off, and takes no --"+f)
				}
			}
			return p.cancelMoves(ctx, c.Args().Slice())
		})
}

func (p *program) cancelMoves(ctx context.Context, names []string) error {
	client := p.changer()
	defer client.Close()
	list, err := masterVMs(ctx, client)
	if err != nil {
		return err
	}
	var plan []string
	var due []api.VMView
	for _, name := range names {
		vm, err := pickVM(list, name)
		if err != nil {
			return err
		}
		if vm.Move == nil {
			return &refusedError{fmt.Sprintf("%s is not on its way anywhere: nothing was changed", vm.Name)}
		}
		if has(due, vm.UUID) {
			continue
		}
		due = append(due, vm)
		plan = append(plan, fmt.Sprintf("  - %s stays on %s, if it has not left it yet for %s", vm.Name, vm.Host, vm.Move.To))
	}
	if err := p.agree(ctx, "Call it off?", plan...); err != nil {
		return err
	}
	var done []string
	for _, vm := range due {
		if _, err := client.CancelMove(ctx, vm.UUID); err != nil {
			return err
		}
		done = append(done, vm.Name)
	}
	return p.show(struct {
		Schema    int      `json:"schema"`
		CalledOff []string `json:"called_off"`
	}{api.Schema, done}, func() {
		p.say("Called off: %s.", strings.Join(done, ", "))
		p.next("Watch it", "haadm events --follow --vm "+done[0])
	})
}

// trip is what became of one VM that was moved.
type trip struct {
	whatif.Relocation
	Order uint64      `json:"order,omitempty"`
	State string      `json:"state"` // moved, failed, ordered
	Text  string      `json:"text,omitempty"`
	Took  api.Seconds `json:"took_seconds,omitempty"`
}

// What becomes of a VM that is moved.
const (
	tripMoved   = "moved"
	tripFailed  = "failed"
	tripOrdered = "ordered"
)

func (p *program) migrate(ctx context.Context, c *cli.Context) error {
	client := p.changer()
	defer client.Close()
	r := api.MoveRequest{VMs: c.Args().Slice(), Host: c.String("to"), Cold: c.Bool("cold"),
		Why: c.String("why"), EvenIfNoSpare: c.Bool(spareFlag)}
	plan, err := client.PlanMove(ctx, r)
	if err != nil {
		return err
	}
	if err := p.refusedMoves(plan); err != nil {
		return err
	}
	var lines []string
	for _, m := range plan.Moves {
		lines = append(lines, p.tripLines(m)...)
	}
	lines = append(lines, p.roomLines(plan.Room)...)
	for _, line := range lines {
		fmt.Fprintln(p.stderr, line)
	}
	if plan.Room.Refused && !c.Bool(spareFlag) {
		return &refusedError{fmt.Sprintf("admission control refuses it: nothing was changed. Add --%s if you mean it", spareFlag)}
	}
	if err := p.agree(ctx, fmt.Sprintf("Move %s?", plural(len(plan.Moves), "VM", "VMs"))); err != nil {
		return err
	}
	since, err := p.lastEvent(ctx, client)
	if err != nil {
		return err
	}
	began := p.now()
	a, err := client.Move(ctx, r)
	if err != nil {
		return err
	}
	var trips []trip
	for _, m := range a.Moves {
		t := trip{Relocation: m, Order: a.Orders[m.UUID], State: tripOrdered}
		if t.Order == 0 {
			t.State, t.Text = tripMoved, fmt.Sprintf("it is stopped, and belongs to %s now", m.To)
		}
		trips = append(trips, t)
	}
	if !c.Bool("no-wait") {
		if err := p.travel(ctx, client, trips, since, began, c.Duration("timeout")); err != nil {
			return err
		}
	}
	return p.arrived(trips, c.Bool("no-wait"))
}

// refusedMoves says why VMs cannot go, host by host.
func (p *program) refusedMoves(plan *api.MoveAnswer) error {
	if len(plan.Refused) == 0 {
		return nil
	}
	var lines []string
	rules := map[string]bool{}
	for _, s := range plan.Refused {
		why := s.Why
		if s.Rule != "" {
			rules[s.Rule] = true
		}
		lines = append(lines, p.wrapped("  ! ", s.VM+": "+why)...)
	}
	text := "nothing was changed, for not every VM can go:\n" + strings.Join(lines, "\n")
	for _, r := range slices.Sorted(maps.Keys(rules)) {
		text += fmt.Sprintf("\nThe rule %q is a must: the master would move the VM back. VMs that must be together go together, named in one command; else change the rule ('haadm config apply').", r)
	}
	return &refusedError{text}
}

func (p *program) tripLines(m whatif.Relocation) []string {
	how := "while it runs"
	if m.Cold {
		how = "shut down, and started there"
	}
	text := fmt.Sprintf("%s goes from %s to %s, %s: %s", m.VM, m.From, m.To, how, m.Why)
	if len(m.Hosts) == 0 {
		text = fmt.Sprintf("%s, which is stopped, belongs to %s instead of %s", m.VM, m.To, m.From)
	}
	return p.wrapped("  ~ ", text)
}

// travel waits until every VM has arrived, or stays, and shows what happens meanwhile.
func (p *program) travel(
	ctx context.Context, client *api.Client, trips []trip, since uint64, began time.Time, timeout time.Duration,
) error {
	find := func(e api.EventView) *trip {
		for i := range trips {
			if t := &trips[i]; t.VM == e.VM && t.Order != 0 && t.State == tripOrdered {
				return t
			}
		}
		return nil
	}
	tell := &teller{p: p, after: since, match: func(e api.EventView) bool {
		t := find(e)
		if t == nil {
			return false
		}
		switch {
		case e.Type == fsm.EventVMMoved && e.To == t.To:
			t.State, t.Text, t.Took = tripMoved, e.Text, api.Seconds(p.now().Sub(began))
		case e.Type == fsm.EventVMMoveFailed && e.Cause == t.Order:
			t.State, t.Text = tripFailed, e.Text
		}
		return true
	}}
	err := p.until(ctx, timeout, func(ctx context.Context) (bool, error) {
		tell.more(ctx, client)
		under := func(t trip) bool { return t.State == tripOrdered }
		if !slices.ContainsFunc(trips, under) {
			return true, nil
		}
		list, err := client.VMs(ctx)
		if err != nil {
			return false, err
		}
		tell.more(ctx, client) // what the list shows has been told by now
		for i := range trips {
			if t := &trips[i]; under(*t) {
				t.settle(list)
			}
		}
		return !slices.ContainsFunc(trips, under), nil
	})
	if err != nil {
		return fmt.Errorf("%w; the move goes on: 'haadm vms show %s' says how far it is, 'haadm vms migrate %s --cancel' calls it off", err, trips[0].VM, trips[0].VM)
	}
	return nil
}

// settle says what became of a VM whose events were not seen: by where it is.
func (t *trip) settle(list *api.VMList) {
	i := slices.IndexFunc(list.VMs, func(vm api.VMView) bool { return vm.UUID == t.UUID && vm.Protected })
	if i < 0 {
		t.State, t.Text = tripFailed, t.VM+" is not protected any more"
		return
	}
	switch vm := list.VMs[i]; {
	case vm.Move != nil && vm.Move.ID == t.Order: // it is under way
	case vm.Host == t.To && vm.State == api.VMRunning:
		t.State, t.Text = tripMoved, fmt.Sprintf("%s runs on %s", vm.Name, vm.Host)
	case vm.Host == t.To && vm.State == api.VMStarting, vm.State == api.VMUnknown:
	case vm.Host == "":
		t.State, t.Text = tripFailed, fmt.Sprintf("%s has left %s and runs nowhere now: it is started where there is room (%s)",
			vm.Name, t.From, vm.Waiting)
	default:
		t.State, t.Text = tripFailed, fmt.Sprintf("%s is %s on %s, and its move is over", vm.Name, vm.State, vm.Host)
	}
}

func (p *program) arrived(trips []trip, noWait bool) error {
	failed := 0
	for _, t := range trips {
		if t.State != tripMoved {
			failed++
		}
	}
	if err := p.show(struct {
		Schema int    `json:"schema"`
		VMs    []trip `json:"vms"`
	}{api.Schema, trips}, func() {
		for _, t := range trips {
			severity := map[string]fsm.Severity{tripMoved: fsm.Info, tripFailed: fsm.Critical}[t.State]
			text := t.Text
			if text == "" {
				text = fmt.Sprintf("%s is on its way from %s to %s", t.VM, t.From, t.To)
			}
			p.paragraph(p.tint(fmt.Sprintf("%-8s", t.State), severity)+"  ", text)
		}
		switch {
		case noWait:
			p.next("Watch it", "haadm events --follow --vm "+trips[0].VM)
		case slices.ContainsFunc(trips, func(t trip) bool { return t.State == tripOrdered }):
			p.say("Not there in the time that was given; what is under way goes on.")
			p.next("How far it is", "haadm vms list")
		case failed > 0:
			p.next("Why", "haadm explain vm "+trips[slices.IndexFunc(trips, func(t trip) bool { return t.State != tripMoved })].VM)
		}
	}); err != nil {
		return err
	}
	if failed > 0 && !noWait {
		return errReported
	}
	return nil
}
