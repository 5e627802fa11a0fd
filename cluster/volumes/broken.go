package volumes

import (
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// assert notes what says that this host's slot went back, or has another writer (I7):
// storagehb has stopped using the volume, or writing to it. The lock is held.
func (v *Volumes) assert(id format.UUID, err error) {
	b := api.Violation{Rule: "I7"}
	switch {
	case errors.Is(err, storagehb.ErrSecondWriter):
		b.Text = fmt.Sprintf("somebody else writes to its slot on heartbeat volume %v: it writes there no more", id)
	case errors.Is(err, storagehb.ErrLostWrite):
		b.Text = fmt.Sprintf("its slot on heartbeat volume %v went back to what stood there before a write that had completed", id)
	default:
		return
	}
	if !slices.Contains(v.broken, b) {
		v.cfg.Logger.Error("an invariant is violated", "rule", b.Rule, "seen", b.Text, "error", err)
		v.broken = append(slices.Clone(v.broken), b)
	}
}

// Broken are the invariants that were seen violated on the volumes.
func (v *Volumes) Broken() []api.Violation {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.broken
}
