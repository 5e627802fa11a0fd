package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm"
)

const (
	// readySoon and readyLate are the waits between two probes of a VM that is not ready, and
	// of one that is.
	readySoon = 2 * time.Second
	readyLate = 30 * time.Second
	// probeTimeout bounds each question, and maxProbes how many VMs are asked at once.
	probeTimeout = 4 * time.Second
	maxProbes    = 8
	// readyCheck is how often the host looks which VMs are to be asked.
	readyCheck = 500 * time.Millisecond
)

// readiness is how ready one VM is that this host owns and that runs.
type readiness struct {
	process vmm.Process   // that is spoken of
	since   time.Duration // when it was first seen running
	asked   config.Ready  // what its group asks for
	ready   bool
	why     string // why not, or not yet
	next    time.Duration
	busy    bool
}

// prober asks one question about a guest; nil is what was hoped for.
type prober struct {
	guest func(ctx context.Context) error
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
}

// probeReady asks the VMs that run here, as their groups want it, one goroutine for each.
func (h *Host) probeReady(ctx context.Context, s *fsm.State) {
	now := h.cfg.Now()
	if s == nil || now < h.readyNext && h.readyList == h.list.no {
		return
	}
	h.readyNext, h.readyList = now+readyCheck, h.list.no
	policy, runs := h.cfg.Policy(s), map[string]bool{}
	for _, d := range h.list.domains {
		vm := s.VMs[d.UUID]
		if d.State != vmm.Running || vm == nil || vm.Owner == nil || vm.Owner.Host != h.cfg.Name || vm.Owner.Incarnation != h.record.Incarnation {
			continue
		}
		runs[d.UUID] = true
		var asked config.Ready
		if g := policy.GroupOf(vm.Name); g != nil {
			asked = g.Ready
		}
		p := vmm.Process{PID: d.PID, StartTime: d.StartTime}
		r := h.ready[d.UUID]
		if r == nil || r.process != p || !sameReady(r.asked, asked) {
			since := now
			if r != nil && r.process == p {
				since = r.since
			}
			r = &readiness{process: p, since: since, asked: asked, why: notAsked}
			h.ready[d.UUID] = r
		}
		if !r.busy && now >= r.next && h.probing < maxProbes {
			h.probe(ctx, d.UUID, r)
		}
	}
	for uuid := range h.ready {
		if !runs[uuid] {
			delete(h.ready, uuid)
		}
	}
}

const notAsked = "it has not been asked yet"

// probe asks one VM.
func (h *Host) probe(ctx context.Context, uuid string, r *readiness) {
	if why, done := atOnce(r.asked, h.cfg.Now()-r.since); done {
		r.ready, r.why, r.next = why == "", why, h.cfg.Now()+readySoon
		return
	}
	r.busy = true
	h.probing++
	asked := r.asked
	p := prober{dial: h.cfg.Dial, guest: func(ctx context.Context) error { return h.cfg.Hypervisor.PingGuest(ctx, uuid) }}
	if p.dial == nil {
		p.dial = (&net.Dialer{}).DialContext
	}
	h.go_(func() {
		why := "the agent of the host was stopped"
		if h.cfg.Gate(ctx) == nil {
			why = p.ask(ctx, asked)
		}
		h.bring(ctx, func() {
			h.probing--
			r.busy, r.ready, r.why, r.next = false, why == "", why, h.cfg.Now()+readySoon
			if r.ready {
				r.next = h.cfg.Now() + readyLate
			}
		})
	})
}

// atOnce says what can be said without asking anybody: done, and why the VM is not
// ready, or nothing when it is.
func atOnce(asked config.Ready, up time.Duration) (why string, done bool) {
	switch {
	case up < asked.Uptime:
		return fmt.Sprintf("it has not run for %v yet", asked.Uptime), true
	case !asked.GuestAgent && len(asked.TCP) == 0 && len(asked.HTTP) == 0:
		return "", true
	}
	return "", false
}

func sameReady(a, b config.Ready) bool {
	same := func(x, y []string) bool { return fmt.Sprint(x) == fmt.Sprint(y) }
	return a.GuestAgent == b.GuestAgent && a.Uptime == b.Uptime && same(a.TCP, b.TCP) && same(a.HTTP, b.HTTP)
}

// ask asks one after the other, and says what the first wrong answer was; nothing
// when all are right.
func (p prober) ask(ctx context.Context, asked config.Ready) string {
	within := func(f func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		return f(ctx)
	}
	if asked.GuestAgent {
		if err := within(p.guest); err != nil {
			return "its guest agent does not answer: " + cause(err)
		}
	}
	for _, address := range asked.TCP {
		if err := within(func(ctx context.Context) error { return p.tcp(ctx, address) }); err != nil {
			return fmt.Sprintf("%s takes no connection: %s", address, cause(err))
		}
	}
	for _, url := range asked.HTTP {
		if err := within(func(ctx context.Context) error { return p.http(ctx, url) }); err != nil {
			return fmt.Sprintf("%s: %s", url, cause(err))
		}
	}
	return ""
}

// cause is an error without what the caller says already, and without what changes
// from try to try: a report is sent again whenever a word of it is another.
func cause(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &op) && op.Err != nil:
		return op.Err.Error()
	}
	return err.Error()
}

func (p prober) tcp(ctx context.Context, address string) error {
	c, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return c.Close()
}

// http takes a redirection for an answer, and any certificate: it asks whether the
// service is up, not who it is.
func (p prober) http(ctx context.Context, url string) error {
	t := &http.Transport{DialContext: p.dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	defer t.CloseIdleConnections()
	client := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("the answer is %s", resp.Status)
	}
	return nil
}
