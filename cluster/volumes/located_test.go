package volumes

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What stands behind a path is told of volumes in use and of those that could be, and
// found out anew: a file server may be mounted after the agent began.
func TestWhereVolumesAreIsReported(t *testing.T) {
	bubble(t, func(r *rig) {
		said := func() map[string]Place {
			all := map[string]Place{}
			for _, v := range r.Report() {
				all[v.Name] = Place{v.Kind, v.Server}
			}
			return all
		}
		set := func(places map[string]Place) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.places = places
		}
		set(map[string]Place{volumePath(1): {"other", ""}, volumePath(2): {"nfs", "192.0.2.9"}})
		r.name(1, 2, 3)
		r.use(1)
		if d := cmp.Diff(map[string]Place{"hb1": {"other", ""}, "hb2": {"nfs", "192.0.2.9"}, "hb3": {}}, said()); d != "" {
			t.Errorf("places differ (-want +got):\n%s", d)
		}
		_, changed := r.View()
		r.pass(2 * probeEvery)
		select {
		case <-changed:
			t.Error("the view changed although every place is the same")
		default:
		}
		set(map[string]Place{volumePath(1): {"nfs", "192.0.2.8"}, volumePath(2): {"nfs", "192.0.2.9"}, volumePath(3): {"block", ""}})
		r.pass(2 * probeEvery)
		if d := cmp.Diff(map[string]Place{"hb1": {"nfs", "192.0.2.8"}, "hb2": {"nfs", "192.0.2.9"}, "hb3": {"block", ""}}, said()); d != "" {
			t.Errorf("places differ (-want +got):\n%s", d)
		}
	})
}
