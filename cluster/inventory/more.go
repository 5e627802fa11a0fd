package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/fsm"
)

// MoreHosts is the input with hosts besides, by the same rules as in a File; in itself is left
// alone. None of them votes. The error wraps ErrBadFile and lists all that is wrong.
func MoreHosts(in Input, hosts []FileHost) (Input, error) {
	out := owned(in)
	r := &reader{f: &File{}, in: &out, at: map[string]int{}}
	for i := range in.Hosts {
		r.at[in.Hosts[i].Name] = i
	}
	for i := range hosts {
		r.host(&hosts[i], i)
	}
	if len(r.all) > 0 {
		return in, fmt.Errorf("%w:\n  %s", ErrBadFile, strings.Join(r.all, "\n  "))
	}
	for i := len(in.Hosts); i < len(out.Hosts); i++ {
		out.Hosts[i].Voter = false
	}
	return out, nil
}

// HostLike is the input with one more host that has what the named one has, and nothing on it,
// under the name that it returns. It does not vote. ok is false when there is no such host, or
// when nothing is known of what it has.
func HostLike(in Input, like string) (out Input, name string, ok bool) {
	i := slices.IndexFunc(in.Hosts, func(h Host) bool { return h.Name == like })
	if i < 0 || in.Hosts[i].Memory == 0 {
		return in, "", false
	}
	h := in.Hosts[i]
	h.State, h.Why, h.Frozen, h.Voter, h.Domains, h.Uses = placement.Up, "", "", false, nil, nil
	out = owned(in)
	for n := 1; ; n++ {
		if h.Name = fmt.Sprintf("%s+%d", like, n); out.State.Hosts[h.Name] == nil {
			break
		}
	}
	out.Hosts = append(out.Hosts, h)
	out.State.Hosts[h.Name] = &fsm.Host{Name: h.Name, Status: fsm.HostLive, Incarnation: 1}
	return out, h.Name, true
}

// owned is the input with lists of its own of hosts and VMs.
func owned(in Input) Input {
	s := *in.State
	s.Hosts, s.VMs = maps.Clone(s.Hosts), maps.Clone(s.VMs)
	in.State, in.Hosts = &s, slices.Clone(in.Hosts)
	return in
}
