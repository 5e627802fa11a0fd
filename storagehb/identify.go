package storagehb

import (
	"fmt"

	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// Identify reads which heartbeat volume a device is, and refuses one that this
// cluster cannot use: of another cluster, initialised with another timing, or
// with no slot of that number.
func Identify(f File, cluster format.UUID, slot int, t lease.Timing) (volume format.UUID, err error) {
	buf, err := newBuffer(format.SupersSize)
	if err != nil {
		return volume, err
	}
	super, err := readSuper(f, buf) // when it hangs the buffer is left to the kernel
	freeBuffer(buf)
	if err != nil {
		return volume, err
	}
	if super.Origin.Cluster != cluster {
		return volume, fmt.Errorf("%w: it belongs to cluster %q (%v)", ErrNotThisVolume, super.Value.Cluster, super.Origin.Cluster)
	}
	if slot >= super.Value.Slots {
		return volume, fmt.Errorf("%w: it has %d slots, and this host's is number %d; initialise one with more",
			ErrNotThisVolume, super.Value.Slots, slot)
	}
	return super.Origin.Volume, super.Value.CheckTiming(t)
}
