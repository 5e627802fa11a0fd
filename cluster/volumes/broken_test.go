package volumes

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// A slot that goes back, and one with another writer, are violations of I7: told once each.
func TestSlotsThatGoBackAreTold(t *testing.T) {
	bubble(t, func(r *rig) {
		r.use(1)
		beat := func(seq uint64) {
			r.Beat(format.Heartbeat{Incarnation: 1, Run: 1, Seq: seq})
			r.pass(time.Second)
		}
		seen := func() string {
			var all []string
			for _, b := range r.Broken() {
				all = append(all, b.Rule+" "+b.Text)
			}
			return strings.Join(all, "; ")
		}
		beat(1)
		old := r.disks[1].Image()
		beat(2)
		if got := seen(); got != "" {
			t.Errorf("while all is well: %s", got)
		}
		for i := range 2 {
			beat(3 + uint64(i))
			r.disks[1].Restore(old)
			r.Read()
			r.pass(time.Second)
		}
		if got := seen(); !strings.HasPrefix(got, "I7 its slot on heartbeat volume ") || strings.Contains(got, ";") {
			t.Errorf("a slot went back, and what is told is %q", got)
		}
	})
}
