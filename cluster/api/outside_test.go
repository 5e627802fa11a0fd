package api

import (
	"errors"
	"strings"
	"testing"
)

// A host whose membership has ended says why where it is asked for anything of the cluster.
func TestWhyAHostIsNoMember(t *testing.T) {
	for name, c := range map[string]struct {
		problems []string
		want     string
	}{
		"it never was one": {nil, "haadm cluster join TOKEN"},
		"it stands aside":  {[]string{"the agent's membership ended: the disk is too old"}, "the disk is too old"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := outside(Self{Problems: c.problems}); !errors.Is(err, ErrNotMember) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %q, want %q in it", err, c.want)
			}
		})
	}
}
