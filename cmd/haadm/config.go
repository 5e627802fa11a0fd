package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/config"
)

func (p *program) configCommand() *cli.Command {
	validate := p.leaf("validate", "check a policy without a cluster, and show what follows from its timing",
		"PATH", 1, 1, nil, func(_ context.Context, c *cli.Context) error {
			return p.validatePolicy(c.Args().First())
		})
	plan := p.leaf("plan", "what would change, and for which VMs", "PATH", 1, 1,
		[]cli.Flag{&cli.BoolFlag{Name: "detailed-exit-code", Usage: "exit with 2 when there are changes"}},
		func(ctx context.Context, c *cli.Context) error {
			client := p.client()
			defer client.Close()
			ch, err := p.planPolicy(ctx, client, c.Args().First())
			if err != nil {
				return err
			}
			if err := p.show(ch, func() {
				for _, line := range append(ch.lines(), p.policyRoom(ch.Room)...) {
					p.say("%s", line)
				}
				if len(ch.Changes) > 0 {
					p.next("Carry it out", fmt.Sprintf("haadm config apply %s --cas-revision %d", c.Args().First(), ch.Revision))
				}
				p.note(ch.Source)
			}); err != nil {
				return err
			}
			if len(ch.Changes) > 0 && c.Bool("detailed-exit-code") {
				return errNo
			}
			return nil
		})
	apply := p.leaf("apply", "plan, ask, and commit as one revision", "PATH", 1, 1,
		[]cli.Flag{&cli.Int64Flag{Name: "cas-revision", Usage: "refuse unless the policy is still at this `REVISION`", Value: -1}, spare()},
		func(ctx context.Context, c *cli.Context) error { return p.applyPolicy(ctx, c) })
	show := p.leaf("show", "the policy in force, as it was written, without passwords", "", 0, 0, []cli.Flag{
		&cli.BoolFlag{Name: "secrets", Usage: "with passwords, so that the output can be changed and applied"},
	}, func(ctx context.Context, c *cli.Context) error {
		client := p.client()
		defer client.Close()
		get := client.Policy
		if c.Bool("secrets") {
			get = client.PolicyWithSecrets
		}
		a, err := get(ctx)
		if err != nil {
			return err
		}
		return p.show(a, func() { p.policy(a) })
	})
	return group("config", "the policy of the cluster", validate, p.fmtCommand(), plan, apply, show)
}

func (p *program) policy(a *api.PolicyAnswer) {
	by := ""
	if a.By != "" {
		by = fmt.Sprintf(", by %s %s ago", a.By, p.ago(a.At))
	}
	p.say("# revision %d%s", a.Revision, by)
	names := make([]string, 0, len(a.Files))
	for name := range a.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if len(names) > 1 {
			p.say("\n# file %s", name)
		}
		p.say("%s", strings.TrimRight(a.Files[name], "\n"))
	}
	p.note(a.Source)
}

func (p *program) validatePolicy(path string) error {
	policy, err := config.LoadPolicy(path)
	if bad, ok := config.AsError(err); ok && p.format == "json" {
		if err := writeJSON(p.stdout, invalid{api.Schema, false, bad.Problems()}); err != nil {
			return err
		}
		return err
	}
	if err != nil {
		return err
	}
	t := policy.Timing
	return p.show(struct {
		Schema      int          `json:"schema"`
		Valid       bool         `json:"valid"`
		Policy      any          `json:"policy"` // durations in seconds
		Terms       []timingTerm `json:"terms"`
		Wait        api.Seconds  `json:"wait_seconds"`
		MemberBound api.Seconds  `json:"member_bound_seconds"`
		MasterBound api.Seconds  `json:"master_bound_seconds"`
		Warnings    []string     `json:"warnings"`
	}{api.Schema, true, inSeconds(withoutSecrets(policy)), terms(t), api.Seconds(t.Wait()),
		api.Seconds(t.MemberBound()), api.Seconds(t.MasterBound()), append([]string{}, policy.Warnings()...)}, func() {
		p.say("%s is a valid policy for cluster %q.", path, policy.Cluster)
		p.say("")
		p.say("%s", config.TimingText(t))
		if w := policy.Warnings(); len(w) > 0 {
			p.say("")
			p.say("%s to look at", plural(len(w), "thing", "things"))
			for _, line := range w {
				p.paragraph("  "+p.tint("!", "warning")+" ", line)
			}
		}
	})
}

// invalid is the JSON about a configuration that is refused.
type invalid struct {
	Schema   int              `json:"schema"`
	Valid    bool             `json:"valid"`
	Problems []config.Problem `json:"problems"`
}

type timingTerm struct {
	Symbol string      `json:"symbol"`
	What   string      `json:"what"`
	Value  api.Seconds `json:"value_seconds"`
}

func terms(t lease.Timing) []timingTerm {
	var out []timingTerm
	for _, x := range t.Terms() {
		out = append(out, timingTerm{x.Symbol, x.What, api.Seconds(x.Value)})
	}
	return out
}

// policyChange is a plan: what a file would change in the policy in force.
type policyChange struct {
	Schema   int             `json:"schema"`
	Source   *api.Source     `json:"source"`
	Revision uint64          `json:"revision"` // that it was compared with
	Changes  []config.Change `json:"changes"`
	VMs      []vmChange      `json:"vms"`
	// Room is what becomes of the room for failures; nil where that is not known.
	Room     *whatif.PolicyChange `json:"room,omitempty"`
	Warnings []string             `json:"warnings"`
	old, new *config.Policy
	files    map[string]string
}

// vmChange is a VM that a policy would protect, or let go.
type vmChange struct {
	Name    string `json:"name"`
	Host    string `json:"host,omitempty"`
	Protect bool   `json:"protect"`
	Why     string `json:"why"`
}

// planPolicy compares a file with the policy in force.
func (p *program) planPolicy(ctx context.Context, client *api.Client, path string) (*policyChange, error) {
	files, err := config.ReadPolicy(path)
	if err != nil {
		return nil, err
	}
	next, err := config.ParsePolicy(files)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for name, b := range baseNames(files) {
		texts[name] = string(b)
	}
	if err := api.Unmasked(texts); err != nil {
		return nil, err
	}
	now, err := client.PolicyWithSecrets(ctx) // a changed password is a change
	if err != nil {
		return nil, err
	}
	self, err := client.Self(ctx)
	if err != nil {
		return nil, err
	}
	if next.Cluster != self.ClusterName {
		return nil, &refusedError{fmt.Sprintf("the policy in %s is for cluster %q, this is %q: check that it is the right file, or change the label of its cluster block",
			path, next.Cluster, self.ClusterName)}
	}
	current, err := inForce(now, self.ClusterName)
	if err != nil {
		return nil, err
	}
	vms, err := client.VMs(ctx)
	if err != nil {
		return nil, err
	}
	hosts, err := client.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	ch := &policyChange{
		Schema:   api.Schema,
		Source:   now.Source,
		Revision: now.Revision,
		Changes:  config.DiffPolicies(current, next),
		VMs:      []vmChange{},
		old:      current,
		new:      next,
		files:    texts,
	}
	ch.Warnings = append(append([]string{}, next.Warnings()...), wiring(next, hosts.Hosts)...)
	ch.Warnings = append(ch.Warnings, strangers(next, vms.VMs, hosts.Hosts)...)
	if ch.Changes == nil {
		ch.Changes = []config.Change{}
	}
	if len(ch.Changes) > 0 && now.Source.Fresh {
		if room, err := client.CheckPolicy(ctx, texts); err == nil {
			ch.Room = &room.PolicyChange
		} else {
			ch.Warnings = append(ch.Warnings,
				"what becomes of the room for failures could not be found out: "+strings.TrimPrefix(p.explain(err), "haadm: "))
		}
	}
	for _, vm := range vms.VMs {
		// A person's protection stays, whatever the policy says.
		will := next.VM(vm.Name)
		if protect := will.Protect || vm.Protected && !byPolicy(vm); protect != vm.Protected {
			ch.VMs = append(ch.VMs, vmChange{Name: vm.Name, Host: vm.Host, Protect: protect, Why: will.Why})
		}
	}
	return ch, nil
}

// policyRoom says what becomes of the room for failures, where that changes or is missing.
func (p *program) policyRoom(ch *whatif.PolicyChange) []string {
	switch {
	case ch == nil, ch.After.Mode == "off" && ch.Before.Mode == "off",
		ch.After.Answer == placement.Yes.String() && ch.Before.Why == ch.After.Why:
		return nil
	case ch.Before.Why == ch.After.Why && ch.Before.Mode == ch.After.Mode:
		return p.wrapped("  = ", "room for failures is missing, as before: "+ch.After.Why)
	}
	return p.roomLines(ch.After)
}

// inForce reads the policy that the cluster has; one without files is the default.
func inForce(a *api.PolicyAnswer, cluster string) (*config.Policy, error) {
	if len(a.Files) == 0 {
		return config.DefaultPolicy(cluster), nil
	}
	files := map[string][]byte{}
	for name, text := range a.Files {
		files[name] = []byte(text)
	}
	policy, err := config.ParsePolicy(files)
	if err != nil {
		return nil, fmt.Errorf("read the policy in force (revision %d): %w", a.Revision, err)
	}
	return policy, nil
}

// lines are the plan for people.
func (ch *policyChange) lines() []string {
	if len(ch.Changes) == 0 {
		out := []string{fmt.Sprintf("Nothing would change: this is what revision %d says.", ch.Revision)}
		for _, w := range ch.Warnings {
			out = append(out, "  ! "+w)
		}
		return out
	}
	out := []string{fmt.Sprintf("Against revision %d:", ch.Revision)}
	for _, c := range ch.Changes {
		switch {
		case c.Old == "":
			out = append(out, fmt.Sprintf("  + %s: %s", c.Path, c.New))
		case c.New == "":
			out = append(out, fmt.Sprintf("  - %s: %s", c.Path, c.Old))
		default:
			out = append(out, fmt.Sprintf("  ~ %s: %s -> %s", c.Path, c.Old, c.New))
		}
	}
	for _, vm := range ch.VMs {
		where := ""
		if vm.Host != "" {
			where = " on " + vm.Host
		}
		if vm.Protect {
			out = append(out, fmt.Sprintf("  VM %s%s would be protected (%s)", vm.Name, where, vm.Why))
		} else {
			out = append(out, fmt.Sprintf("  VM %s%s would not be protected any more", vm.Name, where))
		}
	}
	if was, will := ch.old.Timing, ch.new.Timing; was != will {
		out = append(out,
			fmt.Sprintf("  a silent host's VMs would start elsewhere within %s instead of %s", bound(will.MemberBound()), bound(was.MemberBound())),
			fmt.Sprintf("  a silent master's within %s instead of %s", bound(will.MasterBound()), bound(was.MasterBound())))
	}
	for _, w := range ch.Warnings {
		out = append(out, "  ! "+w)
	}
	return out
}

func (p *program) applyPolicy(ctx context.Context, c *cli.Context) error {
	client := p.changer()
	defer client.Close()
	ch, err := p.planPolicy(ctx, client, c.Args().First())
	if err != nil {
		return err
	}
	if err := needMaster(ch.Source); err != nil {
		return err
	}
	if want := c.Int64("cas-revision"); want >= 0 && uint64(want) != ch.Revision {
		return &refusedError{fmt.Sprintf("the policy is at revision %d, not %d: somebody changed it since you looked. Plan again: haadm config plan %s",
			ch.Revision, want, c.Args().First())}
	}
	revision := ch.Revision
	if len(ch.Changes) > 0 {
		lines := append(ch.lines(), p.policyRoom(ch.Room)...)
		if ch.Room != nil && ch.Room.After.Refused && !c.Bool(spareFlag) {
			for _, line := range lines {
				fmt.Fprintln(p.stderr, line)
			}
			return &refusedError{fmt.Sprintf("admission control, as this policy has it, refuses what is missing: nothing was changed. Make room first, ask for less, or add --%s",
				spareFlag)}
		}
		if err := p.agree(ctx, "Apply it?", lines...); err != nil {
			return err
		}
		a, err := client.ApplyPolicy(ctx, api.PolicyRequest{Files: ch.files, Previous: ch.Revision, EvenIfNoSpare: c.Bool(spareFlag)})
		if err != nil {
			return err
		}
		revision = a.Revision
	}
	return p.show(struct {
		Schema   int    `json:"schema"`
		Revision uint64 `json:"revision"`
		Changed  bool   `json:"changed"`
	}{api.Schema, revision, len(ch.Changes) > 0}, func() {
		if len(ch.Changes) == 0 {
			p.say("Nothing to change: this is what revision %d says.", revision)
			return
		}
		p.say("The policy is at revision %s.", strconv.FormatUint(revision, 10))
		p.next("See what it does", "haadm events --follow")
	})
}
