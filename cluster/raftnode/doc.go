// Package raftnode is this host's part of the replicated log: hashicorp/raft
// with its stores, its transport over every HA network, the choice of voters,
// and a small surface that has no raft types in it.
//
// What it promises: Apply and Confirm end with their context, whatever raft
// does; Confirm is a proof of leadership by a committed entry that was begun
// after the call; a store that hangs ends the process's role instead of holding
// the office for ever; the loss of one of several networks does not cause an
// election. It never reads or writes what it replicates.
//
// # Two networks
//
// A raft leader gives up its office when a majority has been silent for half an
// election timeout, which is less than TCP needs to notice that a path has died.
// So heartbeats of raft travel over every network at once and the first answer
// counts; every other request begins on the best path and is repeated on the
// next after a moment without an answer. Raft's requests may arrive twice.
//
// # Voters
//
// hashicorp/raft-autopilot was considered and left out: its promoter sees no
// difference between a lost voter that can be replaced and one that cannot, it
// may demote and promote in one round, and it wants a term and an index from
// each server by a side channel. The rules needed here are a pure function of
// one page (voters.go); what it looks at, the transport sees anyway.
package raftnode
