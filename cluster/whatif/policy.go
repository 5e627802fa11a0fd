package whatif

import (
	"reflect"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
)

// PolicyChange is what another policy does to the room for failures.
type PolicyChange struct {
	Before Verdict `json:"before"`
	// After is refused when the policy has admission control refuse, and asks for room that is
	// not there: unless it was missing before, by the same admission_control.
	After Verdict `json:"after"`
}

// Policy says what becomes of the room for failures when the policy is replaced. The host
// reports in the picture are those of now: what else a policy has hosts look for is not in it.
func Policy(b *inventory.Builder, in inventory.Input, next *config.Policy) *PolicyChange {
	was := b.Build(in).Cluster
	same := reflect.DeepEqual(in.Policy.Admission, next.Admission)
	in.Policy = next
	is := b.Build(in).Cluster
	asked := *is
	if asked.Policy.Admission.Mode == placement.Enforce {
		asked.Policy.Admission.Mode = placement.Warn // what would help is wanted, not whether it was so before by the same settings
	}
	out := &PolicyChange{Before: VerdictOf(was, placement.Check(was, placement.Change{})), After: VerdictOf(is, placement.Check(&asked, placement.Change{}))}
	missing := out.After.Answer != placement.Yes.String()
	out.After.Refused = missing && is.Policy.Admission.Mode == placement.Enforce && !(same && out.Before.Answer != placement.Yes.String())
	return out
}
