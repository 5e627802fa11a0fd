package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
)

// A lease that is renewed late is a problem on the screen, with figures and what brought it.
func TestALateLeaseIsAProblem(t *testing.T) {
	b := apitest.Healthy()
	find := func() (texts []string) {
		for _, p := range world(b).Status().Problems {
			if p.Host == "kvm3" {
				texts = append(texts, p.Text)
			}
		}
		return texts
	}
	if texts := find(); len(texts) != 0 {
		t.Fatalf("before there are %q", texts)
	}
	o := b.Observed["kvm3"]
	o.Late = &api.Lateness{Gone: 3100 * time.Millisecond, By: "over the network"}
	b.Observed["kvm3"] = o
	texts := find()
	if len(texts) != 1 || !strings.Contains(texts[0], "up to 3.1s of ") || !strings.Contains(texts[0], "over the network") {
		t.Errorf("the problems are %q, want one with what had gone and what brought it", texts)
	}
}
