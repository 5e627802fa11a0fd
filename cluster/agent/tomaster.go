package agent

import (
	"context"
	"net/http"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// toMaster is how this host's duty reaches whoever is master, itself included.
type toMaster struct{ m *member }

// atMaster asks whoever is master: here where that is this host, and otherwise there, by a client
// of it over the transport. Without a master it is api.ErrNoMaster.
func atMaster[T any](m *member, over *http.Transport, here func() (T, error), there func(*api.Client) (*T, error)) (T, error) {
	var none T
	switch leader := m.node.Leader(); leader {
	case "":
		return none, api.ErrNoMaster
	case m.agent.env.Name:
		return here()
	default:
		r, err := there(api.NewPeerClient(over, leader))
		if err != nil {
			return none, err
		}
		return *r, nil
	}
}

func (t toMaster) Heartbeat(ctx context.Context, network string, hb api.Heartbeat) (api.HeartbeatReply, error) {
	return atMaster(t.m, t.m.over[network],
		func() (api.HeartbeatReply, error) { return t.m.hear(ctx, hb) },
		func(c *api.Client) (*api.HeartbeatReply, error) {
			r, err := c.Heartbeat(ctx, hb)
			if err == nil {
				t.m.learn(*r)
			}
			return r, err
		})
}

func (t toMaster) Begin(ctx context.Context, r api.BeginRequest) (api.BeginReply, error) {
	return atMaster(t.m, t.m.any,
		func() (api.BeginReply, error) { return t.m.master.Begin(ctx, r) },
		func(c *api.Client) (*api.BeginReply, error) { return c.Begin(ctx, r) })
}

func (t toMaster) Claim(ctx context.Context, r api.ClaimRequest) error {
	_, err := atMaster(t.m, t.m.any,
		func() (api.Done, error) { return api.Done{}, t.m.master.Claim(ctx, r) },
		func(c *api.Client) (*api.Done, error) { return c.Claim(ctx, r) })
	return err
}

func (t toMaster) AdmitStranger(ctx context.Context, r api.StrangerRequest) error {
	_, err := atMaster(t.m, t.m.any,
		func() (api.Done, error) { return api.Done{}, t.m.master.AdmitStranger(ctx, r) },
		func(c *api.Client) (*api.Done, error) { return c.AdmitStranger(ctx, r) })
	return err
}
