// Package device switches hosts off by their fence devices: the management
// controllers and power switches that can be reached when a host cannot. It runs
// the fence agents of the distribution (fence_ipmilan, fence_redfish, …) as
// processes of their own, and decides what counts as proof.
//
// What holds:
//
//   - A host is confirmed off only when an agent was told "off", said that it had
//     done so, and then, asked anew, said that the power is off. Everything else is
//     not confirmed, and says why.
//   - Every call ends: each process has a hard timeout, at which all that it has
//     started is killed. A process that cannot even be killed is left behind, and
//     holds up nothing but its own device.
//   - No shell is involved, nothing stands in an argument, and the agent sees none
//     of this process's environment.
//
// The package does not decide who is to be switched off, and knows nothing of
// masters, verdicts or leases.
package device
