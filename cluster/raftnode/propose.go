package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// enqueueLimit bounds the wait for raft's main loop to take an entry when the
// context does not.
const enqueueLimit = 10 * time.Second

// Apply commits data and returns what the Machine answered, with the index of
// the entry. It ends with ctx. Errors wrap ErrNotMaster or ErrBusy (nothing was
// proposed), ErrUnknownOutcome (it may yet be committed) or ErrShutdown.
func (n *Node) Apply(ctx context.Context, data []byte) (result any, index uint64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, fmt.Errorf("propose: nothing was proposed: %w", err)
	}
	f, err := await(n, ctx, func() raft.ApplyFuture { return n.raft.Apply(data, enqueueTime(ctx)) })
	if err != nil {
		return nil, 0, fmt.Errorf("propose: %w", err)
	}
	return f.Response(), f.Index(), nil
}

func enqueueTime(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(max(time.Until(deadline), time.Millisecond), enqueueLimit)
	}
	return enqueueLimit
}

// await starts something of raft's and waits for its end or that of ctx. Raft's
// futures have no time limit and some are never answered, so each is waited for
// on a goroutine of its own.
func await[F raft.Future](n *Node, ctx context.Context, begin func() F) (F, error) {
	var none F
	answered := make(chan F, 1)
	ok := n.spawn(func() {
		f := begin()
		_ = f.Error() // waits; asked for again below
		answered <- f
	})
	if !ok {
		return none, ErrShutdown
	}
	select {
	case f := <-answered:
		return f, explain(f.Error())
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// explain says what an error of raft's means for the proposal.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotMaster, err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case errors.Is(err, raft.ErrRaftShutdown):
		return fmt.Errorf("%w, and %w", ErrShutdown, ErrUnknownOutcome)
	default:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
}

// Confirm proves that this host led the cluster at a moment after the call: it
// returns nil once an entry that was proposed after the call has been committed
// and this host has led in one and the same term meanwhile. Calls share proofs.
// Errors wrap ErrNotMaster when this host does not lead.
//
// raft's own VerifyLeader is no such proof: it counts answers to requests sent
// before it was called, and those of members without a vote.
func (n *Node) Confirm(ctx context.Context) error { return n.confirmer.confirm(ctx, n.spawn) }

// confirmLimit bounds one proof. A leader that cannot commit for longer has
// either lost its office by then, or its disk hangs.
func (n *Node) confirmLimit() time.Duration { return max(4*n.config.Election, 2*time.Second) }

// prove is one proof of leadership.
func (n *Node) prove() error {
	term := n.raft.CurrentTerm()
	ctx, cancel := context.WithTimeout(context.Background(), n.confirmLimit())
	defer cancel()
	_, err := await(n, ctx, func() raft.Future { return n.raft.Barrier(n.confirmLimit()) })
	switch {
	case errors.Is(err, raft.ErrLeadershipLost):
		return fmt.Errorf("confirm leadership: %w: %w", ErrNotMaster, err)
	case err != nil:
		return fmt.Errorf("confirm leadership: %w", err)
	case n.raft.CurrentTerm() != term:
		return fmt.Errorf("confirm leadership: %w: the term went on from %d to %d", ErrNotMaster, term, n.raft.CurrentTerm())
	}
	return nil
}
