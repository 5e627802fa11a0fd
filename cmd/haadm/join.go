package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/identity"
)

func (p *program) joinCommand() *cli.Command {
	return p.leaf("join", "make this host a member, by a token from another host", "TOKEN|-", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
		text := c.Args().First()
		if text == "-" { // keeps the secret out of the list of processes and the shell's history
			b, err := io.ReadAll(io.LimitReader(p.stdin, 64<<10))
			if err != nil {
				return fmt.Errorf("read the token from standard input: %w", err)
			}
			text = string(b)
		}
		token, err := identity.ParseToken(text)
		if err != nil {
			return err
		}
		client := p.client()
		defer client.Close()
		self, err := client.Self(ctx)
		if err != nil {
			return err
		}
		if self.Member {
			return &refusedError{fmt.Sprintf("%s is already a member of cluster %q: a host belongs to one cluster. To move it, take it out first with 'haadm cluster leave'",
				self.Name, self.ClusterName)}
		}
		if err := p.agree(ctx, fmt.Sprintf("Join it as %s?", self.Name),
			fmt.Sprintf("  + host %s joins cluster %s, reached at %s", self.Name, token.Cluster, strings.Join(token.Addresses, ", ")),
			"    whose CA certificate has the SHA-256 fingerprint",
			"      "+fingerprint(token.Fingerprint),
			"    ('haadm cluster token create' showed the same one)"); err != nil {
			return err
		}
		out, err := client.Join(ctx, text)
		if err != nil {
			return err
		}
		return p.showSelf(out, func() {
			p.say("%s is a member of cluster %q.", out.Name, out.ClusterName)
			p.next("Wait until it may run VMs", fmt.Sprintf("haadm wait host %s live", out.Name))
		})
	})
}

// fingerprint puts a hexadecimal digest into groups that can be compared by eye.
func fingerprint(hex string) string {
	var groups []string
	for len(hex) > 8 {
		groups, hex = append(groups, hex[:8]), hex[8:]
	}
	return strings.Join(append(groups, hex), " ")
}

func (p *program) tokenCommand() *cli.Command {
	create := p.leaf("create", "invite one host: the token is shown once and kept nowhere", "", 0, 0, []cli.Flag{
		&cli.DurationFlag{Name: "ttl", Usage: "how `LONG` it is good for, at least 1m", Value: time.Hour},
		&cli.StringFlag{Name: "host", Usage: "only a host of this `NAME` may use it"},
	}, func(ctx context.Context, c *cli.Context) error {
		client := p.client()
		defer client.Close()
		t, err := client.CreateToken(ctx, c.String("host"), c.Duration("ttl"))
		if err != nil {
			return err
		}
		return p.show(t, func() {
			who := "any one host"
			if t.Host != "" {
				who = "host " + t.Host + " alone"
			}
			fmt.Fprintf(p.stderr, "Token %s: for %s, good for %s, one use. Whoever has it can join: pass it on in confidence.\n",
				t.ID, who, span(t.Expires.Sub(p.now())))
			if parsed, err := identity.ParseToken(t.Token); err == nil {
				fmt.Fprintf(p.stderr, "CA fingerprint: %s\n", fingerprint(parsed.Fingerprint))
			}
			p.say("%s", t.Token)
			p.next("On the new host", "haadm cluster join TOKEN")
		})
	})
	list := p.leaf("list", "open, used and expired invitations", "", 0, 0, nil, func(ctx context.Context, _ *cli.Context) error {
		client := p.client()
		defer client.Close()
		l, err := client.Tokens(ctx)
		if err != nil {
			return err
		}
		return p.show(l, func() {
			if len(l.Tokens) == 0 {
				p.say("No tokens.")
			} else {
				var rows [][]any
				for _, t := range l.Tokens {
					expires := "-"
					if t.State == "open" {
						expires = "in " + span(t.Expires.Sub(p.now()))
					}
					host := "any"
					if t.Host != "" {
						host = t.Host
					}
					rows = append(rows, []any{t.ID, t.State, host, expires, dash(t.UsedBy), p.ago(t.Created) + " ago", t.By})
				}
				p.grid([]any{"TOKEN", "STATE", "FOR HOST", "EXPIRES", "USED BY", "MADE", "BY"}, rows)
			}
			p.note(l.Source)
		})
	})
	revoke := p.leaf("revoke", "take an unused invitation back", "ID", 1, 1, nil, func(ctx context.Context, c *cli.Context) error {
		client := p.client()
		defer client.Close()
		done, err := client.RevokeToken(ctx, c.Args().First())
		if err != nil {
			return err
		}
		return p.done(done, "See the others", "haadm cluster token list")
	})
	return group("token", "invitations to join", create, list, revoke)
}
