package verdict

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// isolated is a host that has been alone for a minute, and sees a master on a volume.
func isolated(vm ResponseVM) Response {
	return Response{Now: time.Hour, Standing: Alone, Since: time.Hour - time.Minute, Master: young, MasterBound: storageBound, VMs: []ResponseVM{vm}}
}

func TestRespond(t *testing.T) {
	const delay, timeout = 10 * time.Second, 5 * time.Minute
	off := ResponseVM{UUID: "1", Name: "db1", Policy: ResponsePolicy{PowerOff, delay, timeout}}
	shut := ResponseVM{UUID: "1", Name: "db1", Policy: ResponsePolicy{Shutdown, delay, timeout}}
	step := func(a Action) []Step { return []Step{{UUID: "1", Name: "db1", Do: a}} }
	held := func(why string) []Held { return []Held{{UUID: "1", Name: "db1", Why: why}} }
	for _, tt := range []struct {
		name string
		vm   ResponseVM
		in   func(*Response)
		want Decision
	}{
		{name: "power off", vm: off, want: Decision{Steps: step(PowerOff)}},
		{name: "leave running", vm: ResponseVM{UUID: "1", Name: "db1", Policy: ResponsePolicy{LeaveRunning, delay, timeout}}},
		{name: "leave running, and its storage is gone", vm: ResponseVM{UUID: "1", Name: "db1", Policy: ResponsePolicy{LeaveRunning, delay, timeout}, StorageGone: true}},
		{name: "no policy", vm: ResponseVM{UUID: "1", Name: "db1"}},
		{name: "the delay is over", vm: off, in: func(r *Response) { r.Since = r.Now - delay }, want: Decision{Steps: step(PowerOff)}},
		{name: "the delay is all but over", vm: off, in: func(r *Response) { r.Since = r.Now - delay + 1 }, want: Decision{Next: time.Hour + 1}},
		{name: "the delay is all but over, and its storage is gone", vm: with(off, func(v *ResponseVM) { v.StorageGone = true }),
			in: func(r *Response) { r.Since = r.Now - delay + 1 }, want: Decision{Next: time.Hour + 1}},
		{name: "partitioned", vm: off, in: func(r *Response) { r.Standing = Apart }},
		{name: "connected", vm: off, in: func(r *Response) { r.Standing = Connected }},
		{name: "isolated since this moment", vm: off, in: func(r *Response) { r.Since = 0 }},
		{name: "no master was ever seen", vm: off, in: func(r *Response) { r.Master = -1 },
			want: Decision{Held: held("no master is seen on any heartbeat volume: nobody could take it over")}},
		{name: "a master within the bound", vm: off, in: func(r *Response) { r.Master = storageBound }, want: Decision{Steps: step(PowerOff)}},
		{name: "no master for longer", vm: off, in: func(r *Response) { r.Master = storageBound + time.Second },
			want: Decision{Held: held("no master has been seen on any heartbeat volume for 6s (the bound is 5s): nobody could take it over")}},
		{name: "nobody else could take it", vm: with(off, func(v *ResponseVM) { v.Stays = "it may run on this host only" }),
			want: Decision{Held: held("no other host could take it: it may run on this host only")}},
		{name: "its storage is gone, no master is seen, nobody else could take it", vm: with(off, func(v *ResponseVM) { v.StorageGone, v.Stays = true, "it may run on this host only" }),
			in: func(r *Response) { r.Master, r.Standing = -1, CutOff }, want: Decision{Steps: step(PowerOff)}},
		{name: "cut off, and its storage is well", vm: off, in: func(r *Response) { r.Master, r.Standing = -1, CutOff },
			want: Decision{Held: held("no master is seen on any heartbeat volume: nobody could take it over")}},
		{name: "the guest is asked first", vm: shut, want: Decision{Steps: step(Shutdown), Next: time.Hour + timeout}},
		{name: "the guest was asked", vm: with(shut, func(v *ResponseVM) { v.Asked = time.Hour - 20*time.Second }), want: Decision{Next: time.Hour - 20*time.Second + timeout}},
		{name: "the guest was asked and has not", vm: with(shut, func(v *ResponseVM) { v.Asked = time.Hour - timeout }),
			in: func(r *Response) { r.Since = time.Minute }, want: Decision{Steps: step(PowerOff)}},
		{name: "the guest was asked, and something answers", vm: with(shut, func(v *ResponseVM) { v.Asked = time.Hour - timeout }),
			in: func(r *Response) { r.Standing, r.Since = Apart, 0 }},
		{name: "the guest was asked, and the master is gone", vm: with(shut, func(v *ResponseVM) { v.Asked = time.Hour - timeout }),
			in:   func(r *Response) { r.Since, r.Master = time.Minute, -1 },
			want: Decision{Held: held("no master is seen on any heartbeat volume: nobody could take it over")}},
		{name: "the guest was asked in an earlier isolation", vm: with(shut, func(v *ResponseVM) { v.Asked = time.Minute }), want: Decision{Steps: step(Shutdown), Next: time.Hour + timeout}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := isolated(tt.vm)
			if tt.in != nil {
				tt.in(&r)
			}
			got := Respond(r)
			if d := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(Step{}, "Why")); d != "" {
				t.Errorf("the decision differs (-want +got):\n%s", d)
			}
		})
	}
}

func with(vm ResponseVM, f func(*ResponseVM)) ResponseVM {
	f(&vm)
	return vm
}

// Each VM goes by its own policy, and the earliest moment of all is the next.
func TestRespondToEachByItsOwnPolicy(t *testing.T) {
	r := Response{Now: time.Hour, Standing: Alone, Since: time.Hour - 20*time.Second, Master: young, MasterBound: storageBound, VMs: []ResponseVM{
		{UUID: "1", Name: "late", Policy: ResponsePolicy{PowerOff, time.Minute, 0}},
		{UUID: "2", Name: "now", Policy: ResponsePolicy{PowerOff, 20 * time.Second, 0}},
		{UUID: "3", Name: "soon", Policy: ResponsePolicy{Shutdown, 30 * time.Second, time.Minute}},
		{UUID: "5", Name: "last", Policy: ResponsePolicy{PowerOff, time.Hour, 0}},
		{UUID: "4", Name: "never", Policy: ResponsePolicy{LeaveRunning, 0, 0}},
	}}
	d := Respond(r)
	if len(d.Steps) != 1 || d.Steps[0].Name != "now" || d.Next != time.Hour+10*time.Second {
		t.Errorf("the steps are %v and the next look is at %v, want one for now and %v", d.Steps, d.Next, time.Hour+10*time.Second)
	}
}

func TestWhyAVMIsStopped(t *testing.T) {
	const timeout = 30 * time.Second
	vm := ResponseVM{UUID: "1", Name: "db1", Policy: ResponsePolicy{Shutdown, 10 * time.Second, timeout}, Asked: time.Hour - timeout}
	for _, tt := range []struct{ name, want string }{
		{"well", "the host has been isolated for 1m0s (the delay is 10s), and a master that could have it started elsewhere was seen 300ms ago; the guest was asked to shut down 30s ago and has not (the timeout is 30s)"},
		{"gone", "the host has been isolated for 1m0s (the delay is 10s), and the VM's storage is gone; the guest was asked to shut down 30s ago and has not (the timeout is 30s)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vm.StorageGone = tt.name == "gone"
			d := Respond(isolated(vm))
			if len(d.Steps) != 1 || d.Steps[0].Why != tt.want {
				t.Errorf("the steps are %+v, want one because\n%s", d.Steps, tt.want)
			}
		})
	}
}

func TestSince(t *testing.T) {
	for _, tt := range []struct {
		prev  time.Duration
		s     Standing
		want  time.Duration
		moral string
	}{
		{0, Connected, 0, "it is not isolated"},
		{0, Alone, time.Hour, "it begins"},
		{time.Minute, Alone, time.Minute, "it lasts"},
		{time.Minute, CutOff, time.Minute, "losing the storage as well does not begin it anew"},
		{time.Minute, Apart, 0, "one answer ends it"},
		{time.Minute, Connected, 0, "the master ends it"},
	} {
		t.Run(tt.moral, func(t *testing.T) {
			if got := Since(tt.prev, tt.s, time.Hour); got != tt.want {
				t.Errorf("after %v and %s it lasts since %v, want %v", tt.prev, tt.s, got, tt.want)
			}
		})
	}
}

// The whole network is down on all hosts, and storage is well: no host is master, so
// none is seen, and however strict the policy no VM is stopped.
func TestNothingIsStoppedWhenTheWholeNetworkIsDown(t *testing.T) {
	var since time.Duration
	for at := time.Duration(0); at < 10*time.Minute; at += time.Second {
		s := SelfSignals{By: "c", Running: time.Hour, Acknowledged: at, Hosts: map[string]time.Duration{"a": at, "b": at}, Bound: hostBound,
			Addresses: map[string]PingSign{"10.0.0.1": {Asked: true, Age: at}}, PingBound: pingBound,
			Volumes: map[string]VolumeSign{"hb1": {Readable: true, Age: young}}, StorageBound: storageBound}
		a := AssessSelf(s)
		since = Since(since, a.Standing, time.Hour+at)
		if at > hostBound+time.Second && a.Standing != Alone {
			t.Fatalf("after %v the host is %s, want isolated", at, a.Standing)
		}
		// The last master's last acknowledgement grows as old as the cut.
		d := Respond(Response{Now: time.Hour + at, Standing: a.Standing, Since: since, Master: at, MasterBound: storageBound,
			VMs: []ResponseVM{{UUID: "1", Name: "db1", Policy: ResponsePolicy{Action: PowerOff}}, {UUID: "2", Name: "db2", Policy: ResponsePolicy{Action: Shutdown}}}})
		if len(d.Steps) > 0 {
			t.Fatalf("after %v the response stops %v", at, d.Steps)
		}
		if a.Standing == Alone && len(d.Held) != 2 {
			t.Fatalf("after %v the VMs that are held are %v, want both", at, d.Held)
		}
		for _, h := range d.Held {
			if !strings.Contains(h.Why, "no master") {
				t.Fatalf("%s is held because %s", h.Name, h.Why)
			}
		}
	}
}
