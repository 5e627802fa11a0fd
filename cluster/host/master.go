package host

import (
	"context"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// Master is how the host reaches whoever is master now.
type Master interface {
	// Heartbeat sends one over the given HA network.
	Heartbeat(ctx context.Context, network string, hb api.Heartbeat) (api.HeartbeatReply, error)
	// Begin asks for a new incarnation, over any network.
	Begin(ctx context.Context, r api.BeginRequest) (api.BeginReply, error)
	// Claim asks for a VM that nobody owns, over any network.
	Claim(ctx context.Context, r api.ClaimRequest) error
	// AdmitStranger asks whether a VM that nobody protects may take room on this host, over any
	// network. Only api.ErrRefused is a no.
	AdmitStranger(ctx context.Context, r api.StrangerRequest) error
}
