// Package placement says where VMs can go. It answers five questions about a
// cluster, all with the same rules: who goes where when these hosts are lost or
// emptied (Decide, EveryHost), whether any N hosts may fail (Tolerate, MaxFailures),
// whether a change leaves enough room for failures (Check, LargestVM), which
// rules are broken now (Violations), and what is to be moved now (PlanMoves).
//
// It is pure: a Cluster goes in, values come out. There is no clock, no I/O, no
// log, and nothing that goes in is changed. The order of hosts, VMs and rules in
// the input means nothing, so every member computes the same plan.
//
// What it never does: move or stop a VM that runs on a healthy host to make room
// for another, break a rule that is a must, or say yes when it ran out of work.
// The search is exact. Where a bound on the work ends it early the answer is
// Unknown, which no caller may take for a yes. DESIGN.md has the arguments.
package placement
