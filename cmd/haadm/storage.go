package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

func (p *program) storageCommand() *cli.Command {
	return group("storage", "what the hosts share", p.storageListCommand(), p.storageShowCommand(),
		group("heartbeat", "heartbeat volumes, made and looked at from this host",
			p.volumeInitCommand(), p.volumeVerifyCommand(), p.volumeDumpCommand()))
}

// clusterFlags say whose volume it is where no agent can be asked.
func clusterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cluster-id", Usage: "the cluster's `UUID`, where this host's agent cannot be asked; needs --policy"},
		&cli.StringFlag{Name: "policy", Usage: "the cluster's policy, a `FILE` or a directory, for its name and timing; needs --cluster-id"},
	}
}

// volumeOwner is the cluster that a volume belongs to, as this host knows it.
type volumeOwner struct {
	id     format.UUID
	name   string
	timing lease.Timing
	host   format.UUID            // this host; zero when no agent was asked
	names  map[format.UUID]string // of the members; nil when no agent was asked
	// volumes are those of the policy.
	volumes []config.HeartbeatVolume
}

// owner asks this host's agent, or reads the flags.
func (p *program) owner(ctx context.Context, c *cli.Context) (volumeOwner, error) {
	id, path := c.String("cluster-id"), c.String("policy")
	switch {
	case (id == "") != (path == ""):
		return volumeOwner{}, usageOf(c, "--cluster-id and --policy belong together: give both, or none to ask this host's agent")
	case id == "":
		return p.ownerByAgent(ctx)
	}
	uuid, err := format.ParseUUID(id)
	if err != nil {
		return volumeOwner{}, usageOf(c, "--cluster-id: "+err.Error())
	}
	policy, err := config.LoadPolicy(path)
	if err != nil {
		return volumeOwner{}, err
	}
	return volumeOwner{id: uuid, name: policy.Cluster, timing: policy.Timing, volumes: policy.Volumes}, nil
}

func (p *program) ownerByAgent(ctx context.Context) (o volumeOwner, err error) {
	client := p.client()
	defer client.Close()
	a, err := client.Cluster(ctx)
	var gone *api.UnreachableError
	if errors.As(err, &gone) {
		return o, &hintedError{err,
			"Without it, say whose volume it is: --cluster-id UUID --policy PATH ('haadm storage heartbeat dump' needs neither)."}
	}
	if err != nil {
		return o, err
	}
	self, err := client.Self(ctx)
	if err != nil {
		return o, err
	}
	answer, err := client.Policy(ctx)
	if err != nil {
		return o, err
	}
	policy, err := inForce(answer, a.Name)
	if err != nil {
		return o, err
	}
	o = volumeOwner{name: a.Name, timing: a.Timing.Timing(), names: map[format.UUID]string{}, volumes: policy.Volumes}
	if o.id, err = format.ParseUUID(a.ID); err != nil {
		return o, fmt.Errorf("the cluster's identity: %w", err)
	}
	for _, h := range a.Hosts {
		u, err := format.ParseUUID(h.ID)
		if err != nil {
			return o, fmt.Errorf("the identity of host %s: %w", h.Name, err)
		}
		if o.names[u] = h.Name; h.Name == self.Name {
			o.host = u
		}
	}
	return o, nil
}

// capacity is a size that is often below a GiB, and often not a whole number of MiB.
func capacity(n int64) string {
	if n >= 1<<30 {
		return size(uint64(n))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
