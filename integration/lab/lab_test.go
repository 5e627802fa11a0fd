package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/fsm"
)

const (
	// takeover is the longest that a VM may be down when its host is lost, under the
	// fast profile and on a machine that boots other guests at the same time.
	takeover = 15 * time.Second
	// quiet is how long nothing may happen when nothing must happen: well over the
	// time in which the fast profile would have taken a host's VMs over.
	quiet = 6 * time.Second
	// settle is how long a cluster may take to be whole again.
	settle = 30 * time.Second
	// bootTime is how long a guest may take from its start to its first beat.
	bootTime = 60 * time.Second
)

// binaries builds haagent and haadm.
func binaries(t *testing.T) (agent, adm string) {
	t.Helper()
	needLab(t)
	root, err := filepath.Abs("../..")
	must(t, err)
	if _, err := os.Stat(filepath.Join(root, "cmd", "haagent")); err != nil {
		t.Skip("there is no cmd/haagent in this tree yet")
	}
	dir, err := os.MkdirTemp("/var/tmp", "holdfast-bin-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", dir+"/", "./cmd/haagent", "./cmd/haadm")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build haagent and haadm: %v\n%s", err, out)
	}
	return filepath.Join(dir, "haagent"), filepath.Join(dir, "haadm")
}

// world is a lab with a cluster, and what the subtests share.
type world struct {
	*Lab
	prober *prober
	// wholeAt is when the cluster was whole last, as the present scenario found it.
	wholeAt time.Time
	guests  int
	// broken: the cluster did not become whole again, so further scenarios tell nothing.
	broken bool
}

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	cfg.Hosts = 3
	cfg.AgentBinary, cfg.AdmBinary = binaries(t)
	cfg.Hook = packagedHook(t, cfg.AgentBinary)
	l := newLab(t, cfg)
	p, err := startProber(filepath.Join(l.Dir(), "hosts"))
	must(t, err)
	begin := time.Now()
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, l)
		}
		t.Logf("since the lab is up %v", p.since(begin))
		p.end()
	})
	must(t, l.Form(within(t, time.Minute)))
	t.Logf("cluster of %d hosts is live after %v", len(l.Hosts()), time.Since(begin).Round(10*time.Millisecond))
	return &world{Lab: l, prober: p}
}

// showLogs shows what the agents wrote. One that does not answer is asked for its
// goroutines first, which ends it.
func showLogs(t *testing.T, l *Lab) {
	for _, h := range l.Hosts() {
		lines := 60
		if _, err := h.Self(within(t, settle)); err != nil && h.On() {
			t.Logf("agent of %s: %v", h.Name(), err)
			if err := h.signalProgram(within(t, settle), agentProgram, syscall.SIGQUIT); err == nil {
				lines = 800
				<-within(t, time.Second).Done()
			}
		}
		t.Logf("agent of %s, last lines:\n%s", h.Name(), h.Log(agentProgram, lines))
	}
}

// whole brings the cluster back to three live hosts without faults.
func (w *world) whole(t *testing.T) {
	t.Helper()
	if w.broken {
		t.Skip("the cluster has not recovered from an earlier scenario")
	}
	w.broken = true
	defer func() { w.broken = t.Failed() }()
	for _, h := range w.Hosts() {
		if !h.On() {
			must(t, h.PowerOn(within(t, settle)))
		}
		must(t, h.Heal(within(t, settle), All))
		runs, err := h.AgentRuns(within(t, settle))
		must(t, err)
		if !runs {
			must(t, h.StartAgent(within(t, settle)))
		}
	}
	must(t, w.WaitLive(within(t, settle)))
	w.wholeAt = time.Now()
}

// master and member name the hosts by what they are now.
func (w *world) master(t *testing.T) *Host {
	t.Helper()
	m, err := w.Master(within(t, settle))
	must(t, err)
	return m
}

func (w *world) member(t *testing.T) *Host {
	t.Helper()
	m := w.master(t)
	for _, h := range slices.Backward(w.Hosts()) {
		if h != m {
			return h
		}
	}
	t.Fatal("no member beside the master")
	return nil
}

// beside returns the first host that is not h.
func (w *world) beside(h *Host) *Host {
	for _, o := range w.Hosts() {
		if o != h {
			return o
		}
	}
	return nil
}

// guest starts a new protected VM on h and takes it away when the test ends.
func (w *world) guest(t *testing.T, h *Host) *Guest {
	t.Helper()
	g, begin := w.start(t, h)
	_, err := w.Judge().WaitBeat(within(t, bootTime), g.Name, begin)
	must(t, err)
	return g
}

// start is guest without its wait for the guest's first beat.
func (w *world) start(t *testing.T, h *Host) (*Guest, time.Time) {
	t.Helper()
	w.guests++
	g, err := w.CreateGuest(fmt.Sprintf("vm%d", w.guests), Witness)
	must(t, err)
	must(t, h.Define(t.Context(), g))
	begin := time.Now()
	must(t, h.StartGuest(t.Context(), g))
	_, err = w.Judge().WaitRunning(within(t, takeover), g.Name, begin, h.Name())
	must(t, err)
	must(t, w.Protect(within(t, settle), g.Name))
	t.Cleanup(func() { w.remove(t, g) })
	return g, begin
}

// remove ends a guest and checks the one thing that holds in every scenario.
func (w *world) remove(t *testing.T, g *Guest) {
	t.Helper()
	if err := w.Judge().Check(g.Name); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("what was seen:\n%s", w.Judge().Report(g.Name))
		t.Logf("events:\n%s", w.history(t))
		t.Logf("since the cluster was whole %v", w.prober.since(w.wholeAt))
		for _, h := range w.Hosts() {
			if self, err := h.Self(within(t, settle)); err != nil {
				t.Logf("%s: %v", h.Name(), err)
			} else {
				t.Logf("%s: incarnation %d, lease left %v, guard: %s, problems: %v", h.Name(), self.Incarnation, self.LeaseLeft, self.Guard, self.Problems)
			}
			t.Logf("%s: processes of haagent: %d, of its first process:\n%s", h.Name(), len(h.processesOf(agentProgram)), h.Log("init", 10))
		}
	}
	ctx := within(t, settle)
	for _, h := range w.Hosts() {
		if h.On() {
			_, _ = h.Adm(ctx, "unprotect", g.Name, "--yes") // one succeeds
			break
		}
	}
	for _, h := range w.Hosts() {
		if h.On() {
			_, _ = h.Virsh(ctx, "destroy", g.Name)  // only where it runs
			_, _ = h.Virsh(ctx, "undefine", g.Name) // only where it is defined
		}
	}
}

func (w *world) history(t *testing.T) string {
	events, err := w.Events(within(t, settle), 0)
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for _, e := range events[max(0, len(events)-40):] {
		fmt.Fprintf(&out, "  %s %-24s %-4s %-6s %s\n", e.At.Local().Format("15:04:05.000"), e.Type, e.Host, e.VM, e.Text)
	}
	return out.String()
}

// movesFrom waits until g runs on another host than h and its guest writes, and
// says how long that took since at.
func (w *world) movesFrom(t *testing.T, g *Guest, h *Host, at time.Time) Run {
	t.Helper()
	var others []string
	for _, o := range w.Hosts() {
		if o != h {
			others = append(others, o.Name())
		}
	}
	r, err := w.Judge().WaitRunning(within(t, takeover), g.Name, at, others...)
	must(t, err)
	life, err := w.Judge().WaitBeat(within(t, bootTime), g.Name, at)
	must(t, err)
	t.Logf("%s: runs on %s %.2f s after the fault, its guest writes after %.2f s", g.Name, r.Host, r.Executed.Sub(at).Seconds(), life.First.Sub(at).Seconds())
	return r
}

// stays checks that for a while g goes on as the same process on h.
func (w *world) stays(t *testing.T, g *Guest, d time.Duration) {
	t.Helper()
	before := w.Judge().Runs(g.Name)
	last := before[len(before)-1]
	ctx := within(t, d)
	err := w.Judge().Wait(ctx, g.Name, "something happens", func(runs []Run, _ []Life) bool {
		return len(runs) > len(before) || !runs[len(before)-1].Gone.IsZero()
	})
	if err == nil {
		timing, _ := lease.Profile(w.cfg.Profile)
		from := time.Now()
		if gone := w.Judge().Runs(g.Name)[len(before)-1].Gone; !gone.IsZero() {
			from = gone
		}
		// What ended its lease was before that by the lease and the time in which the guard acts.
		if !w.presumes(t, from.Add(-timing.Lease-timing.HardEnd()), "%s did not go on as process %d on %s\n%s", g.Name, last.PID, last.Host, w.Judge().Report(g.Name)) {
			t.SkipNow() // the rest is about a VM that went on; remove looks whether it ran twice
		}
		return
	}
	lives := w.Judge().Lives(g.Name)
	if ago := time.Since(lives[len(lives)-1].Last); ago > 2*time.Second {
		t.Errorf("%s has a process, but its guest has not written for %v", g.Name, ago)
	}
}

// incarnation of a host, as committed.
func (w *world) incarnation(t *testing.T, h *Host) uint64 {
	t.Helper()
	s, err := w.WaitStatus(within(t, settle), h.Name()+" is known", func(s *api.Status) error {
		if FindHost(s, h.Name()) == nil {
			return errors.New("unknown host")
		}
		return nil
	})
	must(t, err)
	return FindHost(s, h.Name()).Incarnation
}

// committed waits until the cluster has agreed on a host's standing.
func (w *world) committed(t *testing.T, h *Host, standing string) {
	t.Helper()
	_, err := w.WaitStatus(within(t, takeover), h.Name()+" is "+standing, func(s *api.Status) error {
		if v := FindHost(s, h.Name()); v == nil || v.Committed != standing {
			return fmt.Errorf("it is %+v", v)
		}
		return nil
	})
	must(t, err)
}

func TestLab(t *testing.T) {
	cfg := Config{}
	if short() {
		cfg.Base = memoryBase(t) // of a machine that does much else at the same time
	}
	w := newWorld(t, cfg)
	scenarios := []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"power loss and return of a member", func(t *testing.T, w *world) { powerLoss(t, w, w.member(t)) }},
		{"power loss and return of the master", func(t *testing.T, w *world) { powerLoss(t, w, w.master(t)) }},
		{"a host is back before it was missed", quickReturn},
		{"network cut of a member", func(t *testing.T, w *world) { networkCut(t, w, w.member(t)) }},
		{"network cut of the master", func(t *testing.T, w *world) { networkCut(t, w, w.master(t)) }},
		{"one network of a member cut", func(t *testing.T, w *world) { oneNetworkCut(t, w, w.member(t), "mgmt") }},
		{"one network of the master cut", func(t *testing.T, w *world) { oneNetworkCut(t, w, w.master(t), "storage") }},
		{"agent killed and restarted", agentRestart},
		{"agent killed for good", func(t *testing.T, w *world) { agentLost(t, w, (*Host).KillAgent, (*Host).StartAgent) }},
		{"agent frozen", func(t *testing.T, w *world) { agentLost(t, w, (*Host).FreezeAgent, (*Host).ThawAgent) }},
		{"guest crashes", guestCrash},
		{"guest shut down by a person", shutdownByPerson},
		{"guest started by hand where it is not owned", startByHand},
		{"guest started by hand that nobody protects", startUnprotected},
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			w.whole(t)
			s.run(t, w)
		})
	}
	must(t, w.Judge().CheckAll())
}

// startByHand: libvirt's hook refuses a protected VM on any host but its owner,
// with the owner's name, also while the agent there is down; and lets one that
// nobody owns start on the host that asks.
func startByHand(t *testing.T, w *world) {
	owner := w.member(t)
	g := w.guest(t, owner)
	other := w.beside(owner) // not by its office: that may have changed while the guest booted
	must(t, other.Define(t.Context(), g))
	_, err := other.Virsh(t.Context(), "start", g.Name)
	if err == nil || !strings.Contains(err.Error(), "owned by "+owner.Name()) {
		t.Errorf("virsh start on %s: %v; want it refused with the owner's name, %s", other.Name(), err, owner.Name())
	}
	must(t, other.KillAgent(t.Context()))
	begin := time.Now()
	if _, err := other.Virsh(t.Context(), "start", g.Name); err == nil || !strings.Contains(err.Error(), "protected") {
		t.Errorf("virsh start on %s without its agent: %v; want it refused", other.Name(), err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("the refusal took %v, want it within 2 s", took)
	}
	lone := w.lone(t, 16, other)
	if err := other.StartGuest(t.Context(), lone); err != nil {
		t.Errorf("virsh start on %s, without its agent, of a VM that nobody protects: %v", other.Name(), err)
	}
	must(t, other.StartAgent(t.Context()))
	must(t, w.WaitLive(within(t, settle)))
	w.stays(t, g, time.Second)

	_, err = owner.Virsh(t.Context(), "shutdown", g.Name)
	must(t, err)
	must(t, w.Judge().WaitGone(within(t, bootTime), g.Name))
	_, err = w.WaitVM(within(t, settle), g.Name, "nobody's", func(v api.VMView) bool { return v.Host == "" && v.Intent == fsm.IntentStop })
	must(t, err)
	at := time.Now()
	// The copy of the state on that host may be a moment behind the master's.
	must(t, poll(within(t, settle), func() error {
		_, err := other.Virsh(t.Context(), "start", g.Name)
		return err
	}))
	_, err = w.Judge().WaitRunning(within(t, takeover), g.Name, at, other.Name())
	must(t, err)
	_, err = w.WaitVM(within(t, settle), g.Name, other.Name()+"'s", func(v api.VMView) bool { return v.Host == other.Name() && v.Placement != nil })
	must(t, err)
}

func powerLoss(t *testing.T, w *world, victim *Host) {
	g := w.guest(t, victim)
	before := w.incarnation(t, victim)
	at, err := victim.PowerOff(t.Context())
	must(t, err)
	w.movesFrom(t, g, victim, at)
	w.committed(t, victim, "dead")

	// It returns with the definition of a VM that is not its own any more.
	back := time.Now()
	must(t, victim.PowerOn(within(t, settle)))
	must(t, w.WaitLive(within(t, settle), victim))
	t.Logf("%s is live again %.2f s after its power came back", victim.Name(), time.Since(back).Seconds())
	if after := w.incarnation(t, victim); after <= before {
		t.Errorf("%s came back with incarnation %d, had %d", victim.Name(), after, before)
	}
	w.stays(t, g, 2*time.Second)
	if q := victim.QEMUs(); q[g.Name] != 0 {
		t.Errorf("%s started %s again, which is not its own any more", victim.Name(), g.Name)
	}
}

// quickReturn: a host that reboots so fast that nobody missed it has lost its VMs
// nevertheless, and they run again, once, wherever that is.
func quickReturn(t *testing.T, w *world) {
	victim := w.member(t)
	g := w.guest(t, victim)
	at, err := victim.PowerOff(t.Context())
	must(t, err)
	must(t, victim.PowerOn(within(t, settle)))
	r, err := w.Judge().WaitRunning(within(t, takeover), g.Name, at)
	must(t, err)
	_, err = w.Judge().WaitBeat(within(t, bootTime), g.Name, at)
	must(t, err)
	t.Logf("%s runs on %s %.2f s after the power loss", g.Name, r.Host, r.Executed.Sub(at).Seconds())
	must(t, w.WaitLive(within(t, settle)))
}

func networkCut(t *testing.T, w *world, victim *Host) {
	g := w.guest(t, victim)
	before := w.incarnation(t, victim)
	at := time.Now()
	must(t, victim.Cut(t.Context(), All))
	r := w.movesFrom(t, g, victim, at)
	runs := w.Judge().Runs(g.Name)
	if gone := runs[0].Gone; gone.IsZero() || !gone.Before(r.Seen) {
		t.Errorf("%s was gone from %s at %v, but seen on %s at %v", g.Name, victim.Name(), gone, r.Host, r.Seen)
	} else {
		t.Logf("%s had stopped it %.2f s after the cut", victim.Name(), gone.Sub(at).Seconds())
	}
	w.committed(t, victim, "dead")
	must(t, victim.Heal(t.Context(), All))
	must(t, w.WaitLive(within(t, settle), victim))
	if after := w.incarnation(t, victim); after <= before {
		t.Errorf("%s came back with incarnation %d, had %d", victim.Name(), after, before)
	}
	w.stays(t, g, 2*time.Second)
}

func oneNetworkCut(t *testing.T, w *world, victim *Host, network string) {
	g := w.guest(t, victim)
	from := time.Now()
	before := w.incarnation(t, victim)
	master := w.master(t)
	must(t, victim.Cut(t.Context(), network))
	_, err := w.WaitStatus(within(t, takeover), "the loss of "+network+" is a problem on the screen", func(s *api.Status) error {
		for _, p := range s.Problems {
			if strings.Contains(p.Text, network) {
				return nil
			}
		}
		return fmt.Errorf("problems: %+v", s.Problems)
	})
	if err != nil {
		t.Error(err)
	}
	w.stays(t, g, quiet)
	if after := w.incarnation(t, victim); after != before {
		w.presumes(t, from, "%s has incarnation %d now, had %d", victim.Name(), after, before)
	}
	if now := w.master(t); now != master {
		w.presumes(t, from, "the office went from %s to %s for the loss of one network", master.Name(), now.Name())
	}
	must(t, victim.Heal(t.Context(), All))
}

// agentRestart: the agent crashes and systemd starts it again. The VM does not notice.
func agentRestart(t *testing.T, w *world) {
	victim := w.member(t)
	g := w.guest(t, victim)
	must(t, victim.CrashAgent(t.Context()))
	w.stays(t, g, quiet)
	must(t, w.WaitLive(within(t, settle)))
	w.stays(t, g, 2*time.Second)
}

// agentLost: the agent of a host whose network and libvirt are well does nothing
// any more. Its VMs must be gone from there before they run elsewhere.
func agentLost(t *testing.T, w *world, lose, mend func(*Host, context.Context) error) {
	victim := w.member(t)
	g := w.guest(t, victim)
	at := time.Now()
	must(t, lose(victim, t.Context()))
	defer func() {
		if err := mend(victim, within(t, settle)); err != nil {
			t.Error(err)
		}
	}()
	w.movesFrom(t, g, victim, at)
	runs := w.Judge().Runs(g.Name)
	t.Logf("%s had stopped it after %.2f s", victim.Name(), runs[0].Gone.Sub(at).Seconds())
}

func guestCrash(t *testing.T, w *world) {
	victim := w.member(t)
	g := w.guest(t, victim)
	at := time.Now()
	must(t, syscall.Kill(victim.QEMUs()[g.Name], syscall.SIGSEGV))
	r, err := w.Judge().WaitRunning(within(t, takeover), g.Name, at)
	must(t, err)
	_, err = w.Judge().WaitBeat(within(t, bootTime), g.Name, at)
	must(t, err)
	t.Logf("%s runs again on %s %.2f s after its crash", g.Name, r.Host, r.Executed.Sub(at).Seconds())
}

func shutdownByPerson(t *testing.T, w *world) {
	victim := w.member(t)
	g := w.guest(t, victim)
	_, err := victim.Virsh(t.Context(), "shutdown", g.Name)
	must(t, err)
	must(t, w.Judge().WaitGone(within(t, takeover), g.Name))
	_, err = w.WaitVM(within(t, takeover), g.Name, "it is stopped", func(v api.VMView) bool { return v.State == api.VMStopped })
	must(t, err)
	runs := len(w.Judge().Runs(g.Name))
	err = w.Judge().Wait(within(t, quiet), g.Name, "somebody starts it again", func(now []Run, _ []Life) bool { return len(now) > runs })
	if err == nil {
		t.Errorf("a VM that a person had shut down was started again\n%s", w.Judge().Report(g.Name))
	}
	// What a person starts again is protected as before.
	at := time.Now()
	must(t, victim.StartGuest(t.Context(), g))
	_, err = w.WaitVM(within(t, takeover), g.Name, "it is running", func(v api.VMView) bool { return v.State == api.VMRunning })
	must(t, err)
	_, err = w.Judge().WaitBeat(within(t, bootTime), g.Name, at)
	must(t, err)
}
