package whatif

import "github.com/holdfast-ha/holdfast/cluster/inventory"

// PoolRoom is how many devices of a pool there are. Each of them is counted once: as missing, else
// as held, else as closed or free.
type PoolRoom struct {
	Name  string `json:"name"`
	Total int    `json:"total"` // that the policy names
	// Held are those that VMs have, or will have where they go.
	Held int `json:"held"`
	Free int `json:"free"`
	// Closed are those of hosts that are given no VMs now.
	Closed int `json:"closed"`
	// Missing are those that their hosts cannot hand to a guest, each with the reason.
	Missing []MissingDevice `json:"missing,omitempty"`
}

// MissingDevice is a device that its host cannot hand to a guest.
type MissingDevice struct {
	Host   string `json:"host"`
	Device string `json:"device"` // as a word, such as "pci:0000:41:00.0"
	Why    string `json:"why"`
}

// poolRooms counts the devices of pools.
func poolRooms(in inventory.Input) (all []PoolRoom) {
	for _, p := range inventory.Pools(in) {
		r := PoolRoom{Name: p.Name, Total: len(p.Devices)}
		for _, d := range p.Devices {
			switch {
			case d.Missing != "":
				r.Missing = append(r.Missing, MissingDevice{Host: d.Host, Device: d.Word, Why: d.Missing})
			case d.VM != "":
				r.Held++
			case d.Free():
				r.Free++
			default:
				r.Closed++
			}
		}
		all = append(all, r)
	}
	return all
}
