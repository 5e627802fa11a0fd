package choice

import (
	"time"

	"github.com/holdfast-ha/holdfast/cluster/lease"
)

// Held reports whether a host that has been suspected for so long keeps the set as it
// is: as long as the clock may yet declare it dead. A change asks for a claim on the new
// volumes as well and has its wait begin anew. It asks nothing of safety: the claim has to
// stand on enough volumes of both sets. Who is suspected for longer than two waits is
// waiting for something that no clock brings, and holds nobody else up.
func Held(suspectedFor time.Duration, t lease.Timing) bool {
	return suspectedFor > 0 && suspectedFor < 2*t.Wait()
}
