package config

// Muted are the standing warnings that people have said they know of. Nothing else
// depends on it.
type Muted struct {
	Volumes   bool `json:"volumes,omitempty"`    // fewer heartbeat volumes than two
	OneServer bool `json:"one_server,omitempty"` // all heartbeat volumes in use on one server
	Networks  bool `json:"networks,omitempty"`   // a host on a single HA network
}

// enoughVolumes is how many heartbeat volumes a policy names that has nothing to lose by losing one.
const enoughVolumes = 2

func warningsSchema() *block {
	return &block{name: "warnings", attrs: []attr{
		{name: "few_heartbeat_volumes", kind: kindBool, def: true},
		{name: "volumes_on_one_server", kind: kindBool, def: true},
		{name: "single_network", kind: kindBool, def: true},
	}}
}

// FewVolumes says what it means that the policy names fewer than two heartbeat
// volumes; empty where it does not, or where that is muted.
func (p *Policy) FewVolumes() string {
	switch n := len(p.Volumes); {
	case p.Muted.Volumes || min(n, p.VolumeUse.Count) >= enoughVolumes:
		return ""
	case n >= enoughVolumes:
		return "heartbeat_volumes.count is 1: when the array or file server of the one in use fails, no silent host can be declared dead by the clock until another takes its place; two at once mend that"
	case n == 1:
		return "the policy names one heartbeat volume: when its array or file server fails, no silent host can be declared dead by the clock; a second one elsewhere mends that"
	}
	return "the policy names no heartbeat volume: when the network between the hosts fails, their VMs are stopped; two on arrays or file servers that do not fail together keep them running"
}

// muted prints what is not at its default.
func (p *Policy) muted() (names []string) {
	if p.Muted.Volumes {
		names = append(names, "few_heartbeat_volumes")
	}
	if p.Muted.OneServer {
		names = append(names, "volumes_on_one_server")
	}
	if p.Muted.Networks {
		names = append(names, "single_network")
	}
	return names
}
