package doctor

import (
	"strings"

	"github.com/holdfast-ha/holdfast/fsm"
)

// deviceFindings are devices of pools with which no VM can be started on their host: those that are
// not there as the policy names them, and those that VMs have which nobody protects.
func deviceFindings(all []Device, add func(code string, severity fsm.Severity, next, format string, args ...any)) {
	for _, d := range all {
		if d.Missing != "" {
			add("device_missing", fsm.Warning, "docs/howto/devices.md",
				"it cannot hand out the device %s of pool %s: %s. No VM is started with it: correct the devices block of the policy, or the host",
				d.Word, d.Pool, d.Missing)
		}
		if len(d.Strangers) > 0 {
			vms := strings.Join(d.Strangers, ", ")
			add("device_held", fsm.Info, "haadm capacity",
				"the device %s of pool %s is held by %s, which nobody protects: no VM that is protected gets it while that runs",
				d.Word, d.Pool, vms)
		}
	}
}
