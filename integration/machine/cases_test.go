package machine

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

func guardKilled(s *stage) {
	s.strike(func() { s.must("kill -9 $(cat /run/guard.pid)") })
	s.undisturbed(2 * s.timing.Watchdog)
}

func guardStopped(s *stage) {
	s.strike(func() { s.must("kill -STOP $(cat /run/guard.pid)") })
	s.undisturbed(2 * s.timing.Watchdog)
}

func guardRenewed(s *stage) {
	pid := s.must("cat /run/guard.pid")
	before := s.must("cut -d' ' -f22 /proc/%s/stat; grep -c watchdog0 /proc/%s/maps || ls -l /proc/%s/fd | grep -c watchdog0", pid, pid, pid)
	s.strike(func() { s.must("kill -HUP %s", pid) })
	s.until(30*time.Second, "the new program runs", func() (bool, string) {
		out := s.must("tr '\\0' ' ' < /proc/%s/environ", pid)
		return strings.Contains(out, "HAAGENT_GUARD_DESCRIPTORS"), out
	})
	s.undisturbed(2 * s.timing.Watchdog)
	if after := s.must("cut -d' ' -f22 /proc/%s/stat; grep -c watchdog0 /proc/%s/maps || ls -l /proc/%s/fd | grep -c watchdog0", pid, pid, pid); after != before {
		s.Errorf("process start and open watchdogs were %q and are %q", before, after)
	}
}

func loaded(s *stage) {
	s.pressed(func() {
		if _, err := s.host.Run(25*time.Second, "inside", "load", "8"); err != nil {
			s.Fatal(err)
		}
	})
}

// squeezed takes all memory of the host, so that the kernel gives up the pages of
// programs and ends processes.
func squeezed(s *stage) {
	s.pressed(func() {
		out, err := s.host.Run(40*time.Second, "inside", "squeeze", "2", "30")
		if err != nil {
			s.Fatal(err)
		}
		var came struct{ Ended, Refaults int }
		if err := json.Unmarshal([]byte(out), &came); err != nil {
			s.Fatalf("what came of it: %v: %s", err, out)
		}
		s.Logf("the kernel ended %d processes for memory, and read %d pages again, within %v", came.Ended, came.Refaults, time.Since(s.began).Round(100*time.Millisecond))
		if came.Ended < 1 {
			s.Errorf("memory was not short: %+v", came)
		}
	})
}

// pressed is for what makes a machine slow: the cluster does not notice, and agent
// and guard are those that they were.
func (s *stage) pressed(press func()) {
	s.Helper()
	pids := s.must("cat /run/agent.pid /run/guard.pid")
	s.strike(press)
	s.undisturbed(s.timing.Watchdog)
	if after := s.must("cat /run/agent.pid /run/guard.pid"); after != pids {
		s.Errorf("agent and guard were processes %q and are %q", pids, after)
	}
	var look, pet time.Duration
	out := s.must("inside gap")
	if _, err := fmt.Sscan(out, &look, &pet); err != nil {
		s.Fatalf("read the guard's gaps: %v: %s", err, out)
	}
	s.Logf("largest gap between two looks of the guard %v, between two pets %v", look.Round(time.Millisecond), pet.Round(time.Millisecond))
	if pet > slack || look > slack {
		s.Errorf("the guard was late: %v between two looks, %v between two pets; allowed is %v", look, pet, slack)
	}
}

// networkCut: the volume brings the host's heartbeats, and keeps its lease, for longer
// than anybody waits before taking over.
func networkCut(s *stage) {
	s.strike(func() { s.w.hub.cut(s.host.Name, true) })
	s.seen(s.window(), "its heartbeats come by the volume alone", func(h api.HostView) bool {
		return h.State != "live" && h.Storage != nil && h.Storage.Alone
	})
	s.undisturbed(s.window())
	h, err := s.view()
	if err != nil {
		s.Error(err)
	}
	s.Logf("%v after the fault the others call %s %s", time.Since(s.began).Round(time.Second), s.host.Name, h.State)
	s.w.hub.cut(s.host.Name, false)
	s.healed()
}

// storageCut: neither the volume nor the VMs' disks answer anywhere. The VMs hang, and
// are left to go on when the disks do.
func storageCut(s *stage) {
	s.strike(func() { s.stall(true, s.w.Hosts, SharedDisk, HeartbeatDisk) })
	s.until(s.window(), "the volume works nowhere and the VMs hang", func() (bool, string) {
		st, err := s.w.Status(s.w.Hosts...)
		if err != nil {
			return false, err.Error()
		}
		for _, h := range st.Hosts {
			if h.Storage == nil || h.Storage.Working > 0 {
				return false, fmt.Sprintf("%s: %+v", h.Name, h.Storage)
			}
		}
		return s.hang(), fmt.Sprintf("%+v", s.all)
	})
	s.unharmed(s.window())
	if !s.hang() {
		s.Error("VMs wrote while their disks were to hang")
	}
	s.stall(false, s.w.Hosts, SharedDisk, HeartbeatDisk)
	s.healed()
}

// hang tells whether no VM has written lately.
func (s *stage) hang() bool {
	for vm := range s.all {
		if now, _ := s.w.watch.newest(vm); time.Since(now.Last) < time.Second {
			return false
		}
	}
	return true
}

// healed waits until all is well again, and nothing was done on the way.
func (s *stage) healed() {
	s.Helper()
	s.goOn()
	if err := s.w.Settled(s.ctx); err != nil {
		s.Fatal(err)
	}
	s.undisturbed(0)
	s.noReset()
}

func (s *stage) stall(stalled bool, machines []*Machine, disks ...string) {
	s.Helper()
	for _, m := range machines {
		for _, d := range disks {
			if err := m.Stall(d, stalled); err != nil {
				s.Fatal(err)
			}
		}
	}
}

func agentKilled(s *stage) {
	s.strike(func() { s.must("touch /run/down-agent; kill -9 $(cat /run/agent.pid)") })
	s.spared()
	s.undo("rm /run/down-agent")
}

func agentStopped(s *stage) {
	s.strike(func() { s.must("kill -STOP $(cat /run/agent.pid)") })
	s.spared()
	s.undo("kill -CONT $(cat /run/agent.pid)")
}

func (s *stage) undo(line string) {
	s.Helper()
	s.must("%s", line)
	s.noReset()
}

// bothCut: nothing brings the host's heartbeats, and it can prove nothing; its VMs
// can be ended.
func bothCut(s *stage) {
	s.cutBoth()
	s.spared()
	s.stall(false, []*Machine{s.host}, HeartbeatDisk)
	s.w.hub.cut(s.host.Name, false)
}

// bothCutAndStuck: the same, and the VM waits for its disk, so that it cannot be ended.
func bothCutAndStuck(s *stage) {
	s.stall(true, []*Machine{s.host}, SharedDisk)
	s.until(5*time.Second, "vm1 hangs on its disk", func() (bool, string) {
		now, _ := s.w.watch.newest(s.vm)
		return time.Since(now.Last) > 500*time.Millisecond, fmt.Sprint(now)
	})
	s.cutBoth()
	at := s.reset(s.timing.Lease + time.Duration(1.05*float64(s.timing.Watchdog)) + slack)
	s.stall(false, []*Machine{s.host}, SharedDisk, HeartbeatDisk)
	s.afterReset(at)
	s.w.hub.cut(s.host.Name, false)
	s.note("could not be proven gone")
}

// cutBoth takes the volume from the host, and then the network.
func (s *stage) cutBoth() {
	s.Helper()
	s.stall(true, []*Machine{s.host}, HeartbeatDisk)
	s.seen(s.window(), "the volume does not work there", func(h api.HostView) bool { return h.Storage != nil && h.Storage.Working == 0 })
	s.strike(func() { s.w.hub.cut(s.host.Name, true) })
}

func bothStopped(s *stage) {
	s.strike(func() { s.must("kill -STOP $(cat /run/agent.pid) $(cat /run/guard.pid)") })
	at := s.reset(time.Duration(1.05*float64(s.timing.Watchdog)) + slack)
	s.afterReset(at)
	s.note("the guard has been silent")
}
