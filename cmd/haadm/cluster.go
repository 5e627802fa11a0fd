package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

func (p *program) clusterCommand() *cli.Command {
	return group("cluster", "make, join and change the cluster itself",
		p.bootstrapCommand(), p.tokenCommand(), p.joinCommand(), p.membersCommand(), p.leaveCommand(), p.transferCommand())
}

func (p *program) membersCommand() *cli.Command {
	return p.leaf("members", "who takes part: voters, master, last contact, what each has applied", "", 0, 0, nil, func(ctx context.Context, _ *cli.Context) error {
		client := p.client()
		defer client.Close()
		l, err := client.Members(ctx)
		if err != nil {
			return err
		}
		return p.show(l, func() {
			p.memberTable(l)
			p.note(l.Source)
		})
	})
}

func (p *program) memberTable(l *api.MemberList) {
	var rows [][]any
	for _, m := range l.Members {
		role := "non-voter"
		switch {
		case m.Master:
			role = "master"
		case m.Voter:
			role = "voter"
		}
		contact, health := "-", "-"
		// Only the master hears the others.
		if l.Source.Fresh {
			health = "healthy"
			if !m.Healthy && !m.Master {
				health = p.tint("silent", "warning")
			}
			if m.Contact != nil && !m.Master {
				contact = span(m.Contact.Duration()) + " ago"
			}
		}
		addr := "-"
		if len(m.Addresses) > 0 {
			addr = m.Addresses[0].Addr
		}
		rows = append(rows, []any{m.Name, role, health, contact, m.Applied, addr})
	}
	p.grid([]any{"MEMBER", "ROLE", "HEALTH", "CONTACT", "APPLIED", "ADDRESS"}, rows)
}

func (p *program) leaveCommand() *cli.Command {
	return p.leaf("leave", "take a host (this one by default) out of the cluster", "[HOST]", 0, 1, nil, func(ctx context.Context, c *cli.Context) error {
		client := p.changer()
		defer client.Close()
		st, err := masterStatus(ctx, client)
		if err != nil {
			return err
		}
		host := c.Args().First()
		if host == "" {
			self, err := client.Self(ctx)
			if err != nil {
				return err
			}
			host = self.Name
		}
		view, err := pickHost(st.Hosts, host)
		if err != nil {
			return err
		}
		plan := []string{fmt.Sprintf("  - %s (%s) leaves cluster %s: %d of %d hosts remain",
			host, view.State, st.Cluster.Name, len(st.Hosts)-1, len(st.Hosts))}
		if n := len(view.VMs); n > 0 {
			plan = append(plan, fmt.Sprintf("    it owns %s", plural(n, "protected VM", "protected VMs")))
		}
		if len(st.Hosts) <= 3 {
			plan = append(plan, fmt.Sprintf("    with %d left, the loss of one more host may leave no majority: nothing would be restarted",
				len(st.Hosts)-1))
		}
		if err := p.agree(ctx, fmt.Sprintf("Take %s out?", host), plan...); err != nil {
			return err
		}
		done, err := client.Leave(ctx, host)
		if err != nil {
			return err
		}
		return p.done(done, "See who is left", "haadm cluster members")
	})
}

func (p *program) transferCommand() *cli.Command {
	return p.leaf("transfer-master", "hand the office to another voter, before work on a host", "[HOST]", 0, 1, nil, func(ctx context.Context, c *cli.Context) error {
		client := p.changer()
		defer client.Close()
		st, err := masterStatus(ctx, client)
		if err != nil {
			return err
		}
		host := c.Args().First()
		to := "a voter that is up to date"
		if host != "" {
			if _, err := pickHost(st.Hosts, host); err != nil {
				return err
			}
			if host == st.Master {
				return p.show(api.Done{Schema: api.Schema, Done: host + " is the master already"}, func() { p.say("%s is the master already.", host) })
			}
			to = host
		}
		plan := fmt.Sprintf("  ~ the office of master goes from %s to %s; VMs go on as they are", dash(st.Master), to)
		if err := p.agree(ctx, "Hand the office over?", plan); err != nil {
			return err
		}
		done, err := client.TransferMaster(ctx, host)
		if err != nil {
			return err
		}
		return p.done(done, "See who has it", "haadm wait quorum && haadm status")
	})
}

// done prints what a change answered and what to do next.
func (p *program) done(d *api.Done, what, next string) error {
	return p.show(d, func() {
		p.say("Done: %s.", d.Done)
		p.next(what, next)
	})
}

// pickHost finds a host by name.
func pickHost(hosts []api.HostView, name string) (api.HostView, error) {
	var names []string
	for _, h := range hosts {
		if h.Name == name {
			return h, nil
		}
		names = append(names, h.Name)
	}
	return api.HostView{}, &api.Error{Code: api.CodeNotFound,
		Message: fmt.Sprintf("there is no host %q in this cluster%s; 'haadm hosts list' shows them (nothing was changed)",
			name, didYouMean(name, names))}
}
