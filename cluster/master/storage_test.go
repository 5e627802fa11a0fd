package master

import (
	"testing"
	"time"
)

// The host that proves its lease by storage, and masters that claim it: the real
// offices, claims, leases and sets, on disks whose writes come late, fail, hang, land
// after their agent is gone, and that go back to what they were; with clocks of their
// own, freezes between any two steps, copies of the state that lag, sets of volumes
// that change, and masters that change. As long as all follow the rules, no
// incarnation is declared dead while its VMs might still run or write. Each rule is
// then dropped on its own, and the same world has to find the second copy.
func TestNobodyIsDeclaredDeadWhileProving(t *testing.T) {
	runs := uint64(600)
	if testing.Short() {
		runs = 150
	}
	var all tally
	for seed := range runs {
		all.take(seed, dropped{})
	}
	t.Logf("%d runs: %d declared dead, %d suspicions withdrawn, %d leases ended, %d renewals by proof and %d by acknowledgements on volumes; the closest was declared so %v after its last possible write",
		runs, all.dead, all.withdrawn, all.ended, all.byQ, all.byS, all.closest)
	if all.found != "" {
		t.Errorf("with every rule kept, seed %d: %s", all.seed, all.found)
	}
	if n := int(runs); all.dead < n/10 || all.withdrawn < n/10 || all.ended < n/10 || all.byQ < n || all.byS < n/3 || all.closest > time.Second {
		t.Error("the world is too tame to find anything")
	}
	if testing.Short() {
		t.Log("a short run: no rule is dropped")
		return
	}
	for _, b := range []struct {
		from uint64 // a seed not far before the first in which it is found
		name string
		dropped
	}{
		{0, "no claim is published", dropped{noClaim: true}},
		{0, "the wait counts from the suspicion, not from the claim", dropped{fromSuspicion: true}},
		{560, "a claim on one volume is enough", dropped{oneVolume: true}},
		{730, "the claim is not read again", dropped{noReread: true}},
		{5240, "it is read again on any volumes", dropped{rereadAny: true}},
		{0, "one volume is enough to prove by", dropped{proofByOne: true}},
		{250, "any claim that does not list the host will do", dropped{anyClaim: true}},
		{180, "a proof counts from its end", dropped{fromEnd: true}},
		{1480, "the host goes back to an older set", dropped{backToOld: true}},
		{0, "a suspect is acknowledged by storage, and the wait goes on", dropped{ackSuspect: true}},
		{400, "a heartbeat on a volume is acknowledged without a confirmation", dropped{noConfirm: true}},
		{2180, "the confirmation began before the reading", dropped{staleConfirm: true}},
		{0, "an acknowledgement by storage counts from its reading", dropped{fromAck: true}},
		{120, "an acknowledgement names no run of the agent", dropped{noRun: true}},
		{1670, "only the new set counts", dropped{newSetOnly: true}},
		{1080, "only the old set counts until the host has said", dropped{oldSetOnly: true}},
		{1500, "the clocks' rates are not allowed for", dropped{noDrift: true}},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			var one tally
			for seed := b.from; seed < b.from+8000 && one.found == ""; seed++ {
				one.take(seed, b.dropped)
			}
			if one.found == "" {
				t.Errorf("nothing was found in %d runs: does this rule matter, or can the test not see it?", 8000)
			}
			t.Logf("seed %d: %s", one.seed, one.found)
		})
	}
}

type tally struct {
	dead, withdrawn, ended, byQ, byS int
	closest                          time.Duration
	found                            string
	seed                             uint64 // in which it was
}

func (a *tally) take(seed uint64, rule dropped) {
	w := newWorld(seed, rule)
	w.runAll()
	a.withdrawn += w.withdrawn
	a.byQ += w.byQ
	a.byS += w.byS
	if w.lease.Over(w.host().clock.read(w.now)) {
		a.ended++
	}
	if w.dead {
		if slack := w.deadAt - w.left(); a.dead == 0 || slack < a.closest {
			a.closest = slack
		}
		a.dead++
	}
	if w.found != "" && a.found == "" {
		a.found, a.seed = w.found, seed
	}
}
