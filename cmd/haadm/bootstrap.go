package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
)

// defaultCluster is the name of a cluster whose founder gave none.
const defaultCluster = "holdfast"

func (p *program) bootstrapCommand() *cli.Command {
	return p.leaf("bootstrap", "make a new cluster of this host, the first of its members", "", 0, 0, []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "the cluster's `NAME` (default: the policy's, or " + defaultCluster + ")"},
		&cli.StringFlag{Name: "policy", Usage: "the first policy: a `FILE` or a directory (default: the default policy)"},
		&cli.StringFlag{Name: "timing-profile", Usage: "`PROFILE` of the default policy: fast, standard or patient"},
	}, p.bootstrap)
}

func (p *program) bootstrap(ctx context.Context, c *cli.Context) error {
	name, files, policy, err := firstPolicy(c)
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
		return &refusedError{fmt.Sprintf("%s is already a member of cluster %q: a host belongs to one cluster. To start afresh, take it out first with 'haadm cluster leave'",
			self.Name, self.ClusterName)}
	}
	t := policy.Timing
	plan := []string{
		fmt.Sprintf("  + a new cluster %q, with a certificate authority of its own", name),
		fmt.Sprintf("  + host %s is its first member, voter and master", self.Name),
		fmt.Sprintf("  + timing profile %s: a silent host's VMs start elsewhere within %s, a silent master's within %s",
			t.Profile, bound(t.MemberBound()), bound(t.MasterBound())),
		"    nothing can be restarted elsewhere before at least two more hosts have joined",
	}
	if err := p.agree(ctx, "Make this cluster?", plan...); err != nil {
		return err
	}
	out, err := client.Bootstrap(ctx, api.BootstrapRequest{Name: name, Policy: files})
	if err != nil {
		return err
	}
	return p.showSelf(out, func() {
		p.say("Cluster %q stands, with %s as its first member.", out.ClusterName, out.Name)
		p.next("Invite the next host", "haadm cluster token create --host NAME")
	})
}

// firstPolicy is what a new cluster begins with, as far as the flags say, checked
// here before anything is asked of the agent.
func firstPolicy(c *cli.Context) (name string, files map[string][]byte, policy *config.Policy, err error) {
	name, path, profile := c.String("name"), c.String("policy"), c.String("timing-profile")
	if path != "" && profile != "" {
		return "", nil, nil, usageOf(c,
			"--timing-profile is for the default policy: with --policy it stands in the file (timing { profile = … })")
	}
	if path == "" {
		if name == "" {
			name = defaultCluster
		}
		policy = config.DefaultPolicy(name)
		if profile != "" {
			t, ok := lease.Profile(profile)
			if !ok {
				return "", nil, nil, usageOf(c, fmt.Sprintf("there is no timing profile %q; there are %s%s",
					profile, strings.Join(lease.Profiles, ", "), didYouMean(profile, lease.Profiles)))
			}
			policy.Timing = t
		}
		if err := policy.Validate(); err != nil {
			return "", nil, nil, err // a cluster's name that cannot be one
		}
		return name, map[string][]byte{"cluster.hcl": policy.HCL()}, policy, nil
	}
	if files, err = config.ReadPolicy(path); err != nil {
		return "", nil, nil, err
	}
	if policy, err = config.ParsePolicy(files); err != nil {
		return "", nil, nil, err
	}
	files = baseNames(files)
	if name != "" && name != policy.Cluster {
		return "", nil, nil,
			&refusedError{fmt.Sprintf("the policy in %s is for cluster %q, not %q: change the label of its cluster block, or --name",
				path, policy.Cluster, name)}
	}
	return policy.Cluster, files, policy, nil
}

// showSelf shows an agent's answer about itself.
func (p *program) showSelf(self *api.Self, human func()) error {
	return p.show(struct {
		Schema int `json:"schema"`
		*api.Self
	}{api.Schema, self}, human)
}

// baseNames keys the files of a policy by their names alone: where they are on
// this host is nobody else's business.
func baseNames(files map[string][]byte) map[string][]byte {
	out := make(map[string][]byte, len(files))
	for name, b := range files {
		out[filepath.Base(name)] = b
	}
	return out
}
