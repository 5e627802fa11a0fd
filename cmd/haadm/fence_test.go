package main

import (
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
)

// The word that a host is off overrides the wait that keeps VMs from running
// twice: --yes must not be enough for it.
func TestConfirmOffIsNotAnsweredByYes(t *testing.T) {
	socket := agent(t, apitest.HostLost())
	got := haadm(t, socket, nil, "fence", "confirm", "kvm3", "--yes")
	if got.code != exitUsage || !strings.Contains(got.errOut, "--it-is-off") || got.out != "" {
		t.Errorf("with --yes and no terminal: exit %d\n%s%s\nwant %d and the flag that it takes", got.code, got.out, got.errOut, exitUsage)
	}
	got = haadm(t, socket, nil, "fence", "confirm", "kvm3", "--it-is-off")
	if got.code != exitOK || !strings.Contains(got.out, "counts as off") {
		t.Errorf("with --it-is-off: exit %d\n%s%s", got.code, got.out, got.errOut)
	}
	if got := haadm(t, socket, nil, "fence", "confirm", "kvm9", "--it-is-off"); got.code == exitOK {
		t.Errorf("of a host that there is not: exit %d\n%s", got.code, got.out)
	}
}
