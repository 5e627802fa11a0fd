package raftnode

import (
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// transport is raft's network: one stock transport for what comes in, and one
// for each HA network for what goes out (see the package comment).
type transport struct {
	in      *raft.NetworkTransport
	inbound *layer
	out     []*raft.NetworkTransport // by network, best first
	conns   *connSet
	due     *overdue
	// hedge is how long a request waits for an answer before it is repeated on the
	// next network; hurry is the same for heartbeats, which wait for no disk.
	hedge, hurry time.Duration
	// fresh is for how long an answer proves that a path works.
	fresh time.Duration
	// spare is how long a path that others are better than stays without a heartbeat.
	spare time.Duration
	// pace is the least time between two heartbeats to a host. Raft draws it
	// from one to two twentieths of the election timeout; what counts is the longest.
	pace time.Duration

	calls sync.WaitGroup // requests under way

	mu     sync.Mutex
	closed bool
	links  map[raft.ServerID]*link
	ask    func(id raft.ServerID, term uint64) standing // see attach
}

// link is what is known of the ways to one host.
type link struct {
	contact time.Time // last answer by any path
	lastLog uint64    // last index in its log, as of then
	beat    time.Time // when the last heartbeat was sent to it
	paths   []path
	misses  int           // requests for replication that failed since the host was last heard
	news    chan struct{} // closed at the next news of it; nil: nobody waits
}

type path struct {
	answered time.Time // last answer by this path
	beating  bool      // a heartbeat is under way on it
	beaten   time.Time // when the last one was begun
}

func newTransport(c Config, conns *connSet, due *overdue, logger hclog.Logger) *transport {
	config := func(l *layer) *raft.NetworkTransportConfig {
		return &raft.NetworkTransportConfig{
			Stream: l, Logger: logger, MaxPool: 3, Timeout: rpcTimeout(c.Election),
			// No pipelining: with it a follower whose disk failed for a moment can
			// stay without entries for ever (hashicorp/raft#612).
			MaxRPCsInFlight: 1,
		}
	}
	inbound := newLayer(c.Name, "", c.Dialer, conns)
	t := &transport{in: raft.NewNetworkTransportWithConfig(config(inbound)), inbound: inbound, conns: conns, due: due,
		hedge: min(max(c.Election/8, 20*time.Millisecond), 60*time.Millisecond), hurry: max(c.Election/20, 5*time.Millisecond),
		fresh: c.Election, spare: 4 * c.Election, pace: c.Election / 5, links: map[raft.ServerID]*link{}}
	for _, network := range c.Networks {
		t.out = append(t.out, raft.NewNetworkTransportWithConfig(config(newLayer(c.Name, network, c.Dialer, conns))))
	}
	return t
}

// rpcTimeout bounds one request. Heartbeats do not wait for it as long as one
// network works, so it is generous: an answer may have to wait for a disk.
func rpcTimeout(election time.Duration) time.Duration {
	return min(max(4*election, time.Second), 2*time.Second)
}

// begin counts a request; false when the transport is closed.
func (t *transport) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.calls.Add(1)
	return true
}

// link returns what is known of a host; t.mu must be held.
func (t *transport) link(id raft.ServerID) *link {
	l := t.links[id]
	if l == nil {
		l = &link{paths: make([]path, len(t.out))}
		t.links[id] = l
	}
	return l
}

// answered notes an answer by a path.
func (t *transport) answered(id raft.ServerID, path int) {
	t.mu.Lock()
	l := t.link(id)
	l.contact = time.Now()
	l.paths[path].answered = l.contact
	t.mu.Unlock()
}

// order lists the paths to a host: those that answered lately as configured,
// then the others, the one that answered last first.
func (t *transport) order(id raft.ServerID) []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, now := t.link(id), time.Now()
	good := func(i int) bool { return now.Sub(l.paths[i].answered) <= t.fresh }
	out := make([]int, 0, len(t.out))
	for i := range t.out {
		if good(i) {
			out = append(out, i)
		}
	}
	known := len(out)
	for i := range t.out {
		if good(i) {
			continue
		}
		at := len(out)
		for at > known && l.paths[i].answered.After(l.paths[out[at-1]].answered) {
			at--
		}
		out = append(out, 0)
		copy(out[at+1:], out[at:])
		out[at] = i
	}
	return out
}

// contact is when a host last answered, and the last index of its log then.
func (t *transport) contact(id raft.ServerID) (at time.Time, lastLog uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.links[id]
	if l == nil {
		return time.Time{}, 0
	}
	return l.contact, l.lastLog
}

// race sends a request along paths, each begun after the stagger or once the
// one before has failed, and returns the first answer. The requests it leaves
// behind end by their own timeout, or when the transport is closed.
func race[R any](
	t *transport, id raft.ServerID, paths []int, stagger time.Duration, send func(out *raft.NetworkTransport, path int, r *R) error,
) (R, error) {
	type result struct {
		r   R
		err error
	}
	results := make(chan result, len(paths))
	begun, ended := 0, 0
	start := func() bool {
		i := paths[begun]
		if !t.begin() {
			return false
		}
		begun++
		go func() {
			defer t.calls.Done()
			var r R
			err := send(t.out[i], i, &r)
			if err == nil {
				t.answered(id, i)
			}
			results <- result{r, err}
		}()
		return true
	}
	var none R
	if len(paths) == 0 || !start() {
		return none, errSevered
	}
	var next <-chan time.Time
	if begun < len(paths) {
		timer := time.NewTimer(stagger)
		defer timer.Stop()
		next = timer.C
	}
	var failed []error
	for {
		select {
		case got := <-results:
			if got.err == nil {
				return got.r, nil
			}
			ended++
			failed = append(failed, got.err)
			if begun < len(paths) && start() {
				continue
			}
			if ended == begun {
				return none, errors.Join(failed...)
			}
		case <-next:
			next = nil
			for begun < len(paths) && start() {
			}
		}
	}
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(
	id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse,
) error {
	if isHeartbeat(args) {
		err := t.append(id, target, args, resp, true)
		t.heard(id, err)
		return err
	}
	if err := t.hold(id, args.Term); err != nil {
		return err
	}
	err := t.append(id, target, args, resp, false)
	t.replicated(id, err)
	return err
}

func (t *transport) append(
	id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, heartbeat bool,
) error {
	if t.due.silent() {
		return errOverdue
	}
	paths, stagger := t.order(id), t.hedge
	if heartbeat {
		t.await(id)
		paths, stagger = t.idle(id, paths), t.hurry
		if t.cold(id, paths) {
			stagger = 0
		}
	}
	got, err := race(t, id, paths, stagger, func(out *raft.NetworkTransport, path int, r *raft.AppendEntriesResponse) error {
		if heartbeat {
			t.beating(id, path, true)
			defer t.beating(id, path, false)
		}
		return out.AppendEntries(id, target, args, r)
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.link(id).lastLog = got.LastLog
	t.mu.Unlock()
	*resp = got
	return nil
}

// isHeartbeat is raft's own rule for the requests that its followers answer
// beside their main loop.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.Term != 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// await waits until the next heartbeat to a host is due.
func (t *transport) await(id raft.ServerID) {
	t.mu.Lock()
	l, now := t.link(id), time.Now()
	wait := l.beat.Add(t.pace).Sub(now)
	l.beat = now.Add(max(wait, 0))
	t.mu.Unlock()
	if wait > 0 {
		time.Sleep(wait)
	}
}

// idle leaves out the paths on which a heartbeat is under way: one that hangs on
// a dead path must not be joined by another each interval.
func (t *transport) idle(id raft.ServerID, paths []int) []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.link(id)
	return slices.DeleteFunc(paths, func(i int) bool { return l.paths[i].beating })
}

// cold reports whether a path was not used by a heartbeat for so long that the next goes
// over all. Where the best network is cut, a leader is left a fraction of its lease until
// a majority must have answered over another: not the time to connect, on a busy host.
func (t *transport) cold(id raft.ServerID, paths []int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.link(id)
	return slices.ContainsFunc(paths, func(i int) bool { return time.Since(l.paths[i].beaten) > t.spare })
}

// beating notes whether a heartbeat is under way on a path.
func (t *transport) beating(id raft.ServerID, path int, on bool) {
	t.mu.Lock()
	p := &t.link(id).paths[path]
	if p.beating = on; on {
		p.beaten = time.Now()
	}
	t.mu.Unlock()
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(
	id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse,
) error {
	got, err := race(t, id, t.order(id), t.hedge, func(out *raft.NetworkTransport, _ int, r *raft.RequestVoteResponse) error {
		return out.RequestVote(id, target, args, r)
	})
	if err == nil {
		*resp = got
	}
	return err
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(
	id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse,
) error {
	got, err := race(t, id, t.order(id), t.hedge, func(out *raft.NetworkTransport, _ int, r *raft.RequestPreVoteResponse) error {
		return out.RequestPreVote(id, target, args, r)
	})
	if err == nil {
		*resp = got
	}
	return err
}

// TimeoutNow implements raft.Transport. It goes over the best path only: a
// second copy that arrives late would start an election that nobody wants.
func (t *transport) TimeoutNow(
	id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse,
) error {
	got, err := race(t, id, t.order(id)[:1], t.hedge, func(out *raft.NetworkTransport, _ int, r *raft.TimeoutNowResponse) error {
		return out.TimeoutNow(id, target, args, r)
	})
	if err == nil {
		*resp = got
	}
	return err
}

// InstallSnapshot implements raft.Transport. The data can be read only once, so
// it goes over the best path only; raft tries again.
func (t *transport) InstallSnapshot(
	id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	if err := t.hold(id, args.Term); err != nil {
		return err
	}
	err := t.install(id, target, args, resp, data)
	t.replicated(id, err)
	return err
}

func (t *transport) install(
	id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	if t.due.silent() {
		return errOverdue
	}
	if !t.begin() {
		return errSevered
	}
	defer t.calls.Done()
	best := t.order(id)[0]
	if err := t.out[best].InstallSnapshot(id, target, args, resp, data); err != nil {
		return err
	}
	t.answered(id, best)
	return nil
}

// AppendEntriesPipeline implements raft.Transport.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.in.Consumer() }

// LocalAddr implements raft.Transport.
func (t *transport) LocalAddr() raft.ServerAddress { return t.in.LocalAddr() }

// EncodePeer implements raft.Transport.
func (t *transport) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

// DecodePeer implements raft.Transport.
func (t *transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport. While a write to this host's log is
// overdue its raft is not asked: it would write the term of a new leader first, and
// leave that one without an answer.
func (t *transport) SetHeartbeatHandler(f func(raft.RPC)) {
	t.in.SetHeartbeatHandler(func(rpc raft.RPC) {
		if a, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
			t.due.hears(string(a.ID))
		}
		if t.due.is() {
			rpc.Respond(nil, errOverdue)
			return
		}
		f(rpc)
	})
}

// Close implements raft.WithClose: it cuts every connection and stops the
// transports. It does not wait; Wait does.
func (t *transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.lookAgain()
	t.conns.sever()
	for _, out := range append([]*raft.NetworkTransport{t.in}, t.out...) {
		_ = out.Close()
		out.CloseStreams()
	}
	return nil
}
