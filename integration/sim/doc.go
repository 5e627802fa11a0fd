// Package sim is a whole cluster in virtual time: the real agents with the real
// raft, on a simulated network (simnet), simulated hypervisors with a witness of
// every disk (vmm/embedded), boot clocks that run apart, guards and the watchdogs
// that they keep, heartbeat volumes and fence devices. Hours pass in seconds, and
// every fault of the scenario language can be had.
//
// A World lives in a testing/synctest bubble. It drives the cluster by scenarios
// (package scenario), looks at everything every Step, and collects what broke an
// invariant. What it believes about who runs is the hypervisors', never what an
// agent says.
//
// What is simulated otherwise than it is: a frozen agent is held where it touches
// the outside (see life), not stopped between two instructions; the guard of a host
// that wakes from sleep looks before any guest runs again.
package sim
