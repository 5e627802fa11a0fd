package whatif

import (
	"reflect"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
)

// Outlook is what was reckoned of a picture before. It is read only.
type Outlook struct {
	Inventory *inventory.Inventory
	// Hosts is what would be done if one host was lost, for each host that is there.
	Hosts []placement.Failover
	// Room is what admission control says to the cluster as it is.
	Room placement.Verdict
	// Capability is how many hosts, or failure domains, may fail.
	Capability placement.Capability
}

// about reports whether the outlook is of this very picture. How much work it was allowed
// makes no difference.
func (o *Outlook) about(inv *inventory.Inventory) bool {
	if o == nil || o.Inventory == nil {
		return false
	}
	was, is := *o.Inventory, *inv
	before, now := *was.Cluster, *is.Cluster
	before.Policy.Work = now.Policy.Work
	was.Cluster, is.Cluster = &before, &now
	return reflect.DeepEqual(was, is)
}
