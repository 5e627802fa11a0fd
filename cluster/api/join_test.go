package api_test

import (
	"net/http"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
)

// anonymous calls a member without a certificate, as a host does that joins.
type anonymous struct{ to *network }

func (a anonymous) RoundTrip(r *http.Request) (*http.Response, error) {
	return (&network{servers: a.to.servers}).RoundTrip(r)
}

// A token names every member, and whichever answers first is asked: it passes
// the request on to the master.
func TestJoinAtAnyMember(t *testing.T) {
	c := cluster(t, follower("kvm1"), apitest.Healthy())
	for _, first := range []string{"kvm1", "kvm2"} {
		client := api.NewPeerClient(anonymous{c["kvm1"].net}, first)
		reply, err := client.Admit(t.Context(), api.JoinRequest{Name: "kvm4"})
		client.Close()
		if err != nil || reply.ClusterName != "basement" {
			t.Errorf("asked at %s: %+v, %v; want it admitted", first, reply, err)
		}
	}
}

// Two members that take each other for the master do not send it round for ever.
func TestJoinIsPassedOnOnce(t *testing.T) {
	a, b := follower("kvm1"), follower("kvm3")
	a.Me.Master, b.Me.Master = "kvm3", "kvm1"
	c := cluster(t, a, b)
	client := api.NewPeerClient(anonymous{c["kvm1"].net}, "kvm1")
	defer client.Close()
	if _, err := client.Admit(t.Context(), api.JoinRequest{Name: "kvm4"}); err == nil {
		t.Error("admitted by nobody; want an error that there is no master")
	}
}
