// Package sim is a whole cluster in virtual time: the real agents with the real
// raft, on a simulated network (simnet), simulated hypervisors with a witness of
// every disk (vmm/embedded), boot clocks that run apart, and guards. Hours pass
// in seconds, and every fault of the scenario language can be had.
//
// A World lives in a testing/synctest bubble. It drives the cluster by scenarios
// (package scenario), looks at everything every Step, and collects what broke an
// invariant. What it believes about who runs is the hypervisors', never what an
// agent says.
//
// What is not simulated: watchdogs and the reset of a host, heartbeat volumes,
// fence devices. A frozen agent is held where it touches the outside (see life),
// not stopped between two instructions.
package sim
