// Package raftnode is this host's part of the replicated log: hashicorp/raft
// with its stores, its transport over every HA network, the choice of voters,
// and a small surface that has no raft types in it.
//
// What it promises: Apply and Confirm end with their context, whatever raft
// does; Confirm is a proof of leadership by a committed entry that was begun
// after the call; a store that hangs lets another lead, and has the process end when
// it goes on; the loss of one of several networks does not cause an
// election. It never reads or writes what it replicates.
//
// # Two networks
//
// A raft leader gives up its office when a majority has been silent for half an
// election timeout, which is less than TCP needs to notice that a path has died.
// So every request begins on the path that answered last and is repeated on the
// others after a moment without an answer, heartbeats after a twentieth of the
// timeout; the first answer counts. A request may arrive twice, which raft's are
// made for.
//
// # Hosts that were away
//
// Raft pauses for longer after each request for replication that fails, up to 10.24 s,
// and by then it does not look whether the host is back. Its heartbeats do. So after some
// failures requests wait in the transport, which raft takes for one slow request, until a
// heartbeat is answered (gate.go).
//
// # Voters
//
// hashicorp/raft-autopilot was considered and left out: its promoter sees no
// difference between a lost voter that can be replaced and one that cannot, it
// may demote and promote in one round, and it wants a term and an index from
// each server by a side channel. The rules needed here are a pure function of
// one page (voters.go); what it looks at, the transport sees anyway.
package raftnode
