package master

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/fsm"
)

// R9: a host on which nothing but a process bounds the VMs is not waited out, however
// long it is silent, unless the policy says so.
func TestHostIsWaitedOutOnlyWhereSomethingBoundsItsVMs(t *testing.T) {
	dog := fsm.Watchdog{Word: 2, Timeout: 3 * time.Second}
	for name, tt := range map[string]struct {
		mode     string
		state    fsm.Watchdog // committed
		said     fsm.Watchdog // by its last heartbeat
		outlasts bool
	}{
		"a watchdog":                               {config.FencingRequired, dog, dog, true},
		"none":                                     {config.FencingRequired, fsm.Watchdog{}, fsm.Watchdog{}, false},
		"none, and the policy trusts the wait":     {config.FencingBestEffort, fsm.Watchdog{}, fsm.Watchdog{}, true},
		"one that is not committed":                {config.FencingRequired, fsm.Watchdog{}, dog, false},
		"one that it has lost":                     {config.FencingRequired, fsm.Watchdog{Word: 3}, fsm.Watchdog{Word: 3}, false},
		"one that it has lost, not yet committed":  {config.FencingRequired, dog, fsm.Watchdog{Word: 3}, false},
		"another one, not yet committed":           {config.FencingRequired, dog, fsm.Watchdog{Word: 3, Timeout: time.Second}, true},
		"one that an earlier office has heard of":  {config.FencingRequired, dog, fsm.Watchdog{}, true},
		"an older word that comes late":            {config.FencingRequired, fsm.Watchdog{Word: 3}, dog, false},
		"one, and the policy would trust the wait": {config.FencingBestEffort, dog, dog, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := config.DefaultPolicy("test")
			p.Fencing.Mode = tt.mode
			if got := outlasted(p, &fsm.Host{Name: "b", Watchdog: tt.state}, &observed{watchdog: tt.said}); got != tt.outlasts {
				t.Errorf("the wait alone will do: %t, want %t", got, tt.outlasts)
			}
		})
	}
}

func TestSilentHostWithoutAWatchdogWaitsForAProof(t *testing.T) {
	bubble(t, func(r *rig) {
		synctest.Wait() // the office reads what is set here
		r.policy = config.DefaultPolicy("test")
		r.beating(5*time.Second, "a", "b", "c")
		r.beating(4*standard(t).Wait(), "a", "c")
		if h := r.state().Hosts["b"]; h.Status != fsm.HostLive {
			t.Fatalf("b is %s: nothing has proven that its VMs stopped", h.Status)
		}
		all, err := r.Observations()
		if err != nil {
			t.Fatal(err)
		}
		if b := all["b"]; !b.NeedsProof || b.DeadIn != 0 {
			t.Errorf("b needs a proof: %t, it is dead in %v", b.NeedsProof, b.DeadIn)
		}
		var told []string
		for _, e := range r.state().Events {
			if e.Type == "host_proof_awaited" {
				told = append(told, e.Text)
			}
		}
		if len(told) != 1 || !strings.Contains(told[0], "haadm fence confirm b") {
			t.Errorf("people are told %q, want once, and what to do", told)
		}
		if _, err := r.ConfirmOff(t.Context(), "b", "ann"); err != nil {
			t.Fatal(err)
		}
		if h := r.state().Hosts["b"]; h.Status != fsm.HostDead {
			t.Errorf("b is %s after a person's word", h.Status)
		}
	})
}

// What a host says comes into the state, and then it is waited out like any other.
func TestSilentHostWithAWatchdogIsWaitedOut(t *testing.T) {
	bubble(t, func(r *rig) {
		synctest.Wait()
		r.policy = config.DefaultPolicy("test")
		r.beating(time.Second, "a", "b", "c")
		dog := fsm.Watchdog{Word: 1, Timeout: 3 * time.Second}
		r.seq++
		if _, err := r.Heartbeat(t.Context(), api.Heartbeat{Host: "b", Incarnation: 1, Run: 9, Seq: r.seq, Network: "mgmt", Watchdog: dog}); err != nil {
			t.Fatal(err)
		}
		r.beating(2*standard(t).Wait(), "a", "c")
		if h := r.state().Hosts["b"]; h.Watchdog != dog || h.Status != fsm.HostDead {
			t.Errorf("b is %s, and the state has %+v of its watchdog; want it dead", h.Status, h.Watchdog)
		}
	})
}

// A fence device proves it off where there is no watchdog, also long after the wait.
func TestFenceDeviceIsProofWithoutAWatchdog(t *testing.T) {
	f := &fakeFencer{takes: time.Second, fails: errors.New("no route to the controller")}
	fenced(t, f, func(r *rig) {
		synctest.Wait()
		r.policy.Fencing.Mode = config.FencingRequired
		if took := r.deadAfter(time.Minute); took < time.Minute {
			t.Fatalf("dead after %v, and its device never proved it off", took)
		}
		f.mend()
		if took := r.deadAfter(time.Minute); took > 20*time.Second {
			t.Errorf("dead %v after its device answers again; want it tried anew and believed", took)
		}
	})
}
