package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/peer"
)

const (
	// asideAgain is how long a host that stands aside waits before it asks round for the master once more.
	asideAgain = 5 * time.Second
	// asidePatience bounds one question.
	asidePatience = 5 * time.Second
)

// standAside tells the master that this host takes part in nothing, since its disk went back,
// until a master has heard it or ctx ends. It goes by the members that the disk remembers.
func (a *Agent) standAside(ctx context.Context, ms *Membership, why error) {
	var old oldDisk
	if !errors.As(why, &old) {
		return
	}
	if saved, err := a.env.Store.Membership(); err == nil && saved != nil {
		ms = saved
	}
	book := &peer.Book{}
	book.Update(ms.Peers)
	d := &peer.Dialer{Network: a.env.Network, Book: book, Identity: ms.Identity}
	to := d.Transport("")
	defer to.CloseIdleConnections()
	for ctx.Err() == nil {
		for _, name := range slices.Sorted(maps.Keys(ms.Peers)) {
			if name == a.env.Name {
				continue
			}
			octx, cancel := context.WithTimeout(ctx, asidePatience)
			_, err := api.NewPeerClient(to, name).StandAside(octx, api.AsideNotice{Host: a.env.Name, Run: a.env.Run, Why: old.found()})
			cancel()
			if err == nil {
				a.env.Logger.Info("the master knows that this host stands aside", "master", name)
				return
			}
			a.env.Logger.Debug("cannot tell that this host stands aside", "to", name, "error", err)
		}
		pause(ctx, asideAgain)
	}
}
