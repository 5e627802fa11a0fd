package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Member is one host of the replicated log.
type Member struct {
	Name   string
	Voter  bool
	Leader bool
	// Contact is the time since the member last answered this host, which only a
	// leader asks; negative: never. 0 for this host itself.
	Contact time.Duration
	// LastLog is the last index in the member's log when it last answered.
	LastLog uint64
}

// Members lists the members as this host knows them, in no particular order.
func (n *Node) Members() []Member {
	leader := n.Leader()
	var out []Member
	for _, s := range n.servers() {
		m := Member{Name: string(s.ID), Voter: s.Suffrage == raft.Voter, Leader: string(s.ID) == leader, Contact: -1}
		at, lastLog := n.transport.contact(s.ID)
		switch {
		case m.Name == n.config.Name:
			m.Contact, m.LastLog = 0, n.raft.LastIndex()
		case !at.IsZero():
			m.Contact, m.LastLog = time.Since(at), lastLog
		}
		out = append(out, m)
	}
	return out
}

func (n *Node) servers() []raft.Server {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

func (n *Node) member(name string) (Member, bool) {
	for _, m := range n.Members() {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// hold takes the right to change the membership; the caller gives it back.
func (n *Node) hold(ctx context.Context) (release func(), err error) {
	select {
	case n.membership <- struct{}{}:
		return func() { <-n.membership }, nil
	case <-n.stop:
		return nil, ErrShutdown
	case <-ctx.Done():
		return nil, fmt.Errorf("another change of the membership is under way: %w", ctx.Err())
	}
}

// AddMember makes a host a member without a vote; it gets one later if one is to
// be had. Adding a member again changes nothing.
func (n *Node) AddMember(ctx context.Context, name string) error {
	release, err := n.hold(ctx)
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	defer release()
	if _, there := n.member(name); there {
		return nil
	}
	_, err = await(n, ctx, func() raft.IndexFuture {
		return n.raft.AddNonvoter(raft.ServerID(name), raft.ServerAddress(name), 0, enqueueTime(ctx))
	})
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	return nil
}

// RemoveMember takes a host out of the cluster. It is refused when the voters
// that remain would have no majority that answers, because then nothing could be
// changed any more, not even that. Removing what is no member changes nothing.
func (n *Node) RemoveMember(ctx context.Context, name string) error {
	release, err := n.hold(ctx)
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	defer release()
	m, there := n.member(name)
	if !there {
		return nil
	}
	if m.Voter {
		if err := n.mayLose(name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	_, err = await(n, ctx, func() raft.IndexFuture { return n.raft.RemoveServer(raft.ServerID(name), 0, enqueueTime(ctx)) })
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// mayLose refuses the loss of a voter after which no majority would answer.
func (n *Node) mayLose(name string) error {
	if !n.IsLeader() {
		return ErrNotMaster
	}
	voters, answer := 0, 0
	for _, m := range n.Members() {
		if !m.Voter || m.Name == name {
			continue
		}
		voters++
		if m.Contact >= 0 && m.Contact <= n.config.Election {
			answer++
		}
	}
	if voters == 0 {
		return errors.New("it is the only voter; wait until another host has a vote")
	}
	if answer < voters/2+1 {
		return fmt.Errorf("of the %d voters that would remain only %d answer, %d are needed; bring back or remove an unreachable one first", voters, answer, voters/2+1)
	}
	return nil
}

// Transfer hands the leadership to another voter: to the named one, or to the
// best when to is empty. One transfer runs at a time, only to a host that has
// answered within an election timeout. A transfer that failed is followed up:
// when raft then goes on refusing entries, that is reported as fatal.
func (n *Node) Transfer(ctx context.Context, to string) error {
	release, err := n.hold(ctx)
	if err != nil {
		return fmt.Errorf("transfer the leadership: %w", err)
	}
	defer release()
	if !n.IsLeader() {
		return fmt.Errorf("transfer the leadership: %w", ErrNotMaster)
	}
	target, err := n.successor(to)
	if err != nil {
		return fmt.Errorf("transfer the leadership: %w", err)
	}
	_, err = await(n, ctx, func() raft.Future {
		return n.raft.LeadershipTransferToServer(raft.ServerID(target), raft.ServerAddress(target))
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || !errors.Is(err, ErrShutdown) {
		n.followUp()
	}
	return fmt.Errorf("transfer the leadership to %s: %w", target, err)
}

// successor picks or checks the host to hand over to.
func (n *Node) successor(to string) (string, error) {
	best := Member{}
	for _, m := range n.Members() {
		fresh := m.Contact >= 0 && m.Contact <= n.config.Election
		switch {
		case m.Name == n.config.Name && to == m.Name:
			return "", fmt.Errorf("host %s leads already", to)
		case m.Name == n.config.Name:
		case to == m.Name && !m.Voter:
			return "", fmt.Errorf("host %s has no vote, so it cannot lead", to)
		case to == m.Name && !fresh:
			return "", fmt.Errorf("host %s has not answered within %v", to, n.config.Election)
		case to == m.Name:
			return to, nil
		case m.Voter && fresh && (best.Name == "" || m.LastLog > best.LastLog || m.LastLog == best.LastLog && m.Name < best.Name):
			best = m
		}
	}
	switch {
	case to != "":
		return "", fmt.Errorf("host %s is no member", to)
	case best.Name == "":
		return "", fmt.Errorf("no other voter has answered within %v", n.config.Election)
	}
	return best.Name, nil
}

// followUp watches raft after a failed transfer until it accepts entries again
// or no longer leads. It can stay in "transfer in progress" for ever
// (hashicorp/raft#696), and nothing but the end of the process helps then.
func (n *Node) followUp() {
	limit := rpcTimeout(n.config.Election) + 3*n.config.Election
	deadline := time.Now().Add(limit)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), n.config.Election)
		_, err := await(n, ctx, func() raft.Future { return n.raft.Barrier(n.config.Election) })
		cancel()
		if err == nil || errors.Is(err, ErrShutdown) || !n.IsLeader() {
			return
		}
		if time.Now().After(deadline) {
			n.fail(fmt.Errorf("a transfer of the leadership failed and the log has accepted no entry for %v since: the process must end so that another host can lead",
				limit))
			return
		}
		select {
		case <-n.stop:
			return
		case <-time.After(n.config.Election / 4):
		}
	}
}
