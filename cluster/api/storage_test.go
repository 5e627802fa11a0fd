package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

const spareID = "6b0f5a3e-0000-4000-8000-000000000203"

// withSpare is a cluster whose policy names a third volume, which everybody finds.
func withSpare() *apitest.Backend {
	b := apitest.Healthy()
	b.AddVolume("spare", "/dev/mapper/spare", spareID)
	return b
}

func TestWhyAVolumeIsNotInUse(t *testing.T) {
	spare := func(host string, change func(v *api.VolumeReport)) func(b *apitest.Backend) {
		return func(b *apitest.Backend) { b.Volume(host, "spare", change) }
	}
	missing := func(v *api.VolumeReport) { v.ID, v.Error = "", "no such file or directory" }
	for _, tc := range []struct {
		name   string
		change func(b *apitest.Backend)
		why    string
		id     bool // the hosts agree on it
	}{
		{"agreed", func(*apitest.Backend) {}, "every condition is met", true},
		{"one of three cannot", spare("kvm3", missing), "every condition is met", true},
		{"the master cannot", spare("kvm2", missing), "the master, kvm2, cannot use it: no such file", false},
		{"two of three cannot", func(b *apitest.Backend) { spare("kvm1", missing)(b); spare("kvm3", missing)(b) },
			"most of the live hosts have to find it, and these do not: kvm1: no such file or directory; kvm3: no such", false},
		{"another device", spare("kvm3", func(v *api.VolumeReport) { v.ID = "6b0f5a3e-0000-4000-8000-000000000204" }),
			"not every host finds the same volume there: 6b0f5a3e-0000-4000-8000-000000000203 on kvm1, kvm2; 6b0f5a3e-0000-4000-8000-000000000204 on kvm3", false},
		{"one has not looked", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Volumes = o.Volumes[:2] })
		},
			"kvm1 has yet to say", false},
		{"one has not reported", func(b *apitest.Backend) { observe(b, "kvm1", func(o *api.HostObservation) { o.Volumes = nil }) },
			"kvm1 has yet to say", false},
		{"a dead one has no say", func(b *apitest.Backend) {
			b.St.Hosts["kvm1"].Status = fsm.HostDead
			observe(b, "kvm1", func(o *api.HostObservation) { o.Volumes = nil })
		}, "every condition is met", true},
		{"a volume twice", func(b *apitest.Backend) {
			for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
				spare(host, func(v *api.VolumeReport) { v.ID = b.St.Volumes.Volumes[0].ID })(b)
			}
		}, "it is the same volume as san, under another path", true},
		{"a change is under way", func(b *apitest.Backend) { b.St.Hosts["kvm3"].Volumes = 2 }, "kvm3 may still prove with the volumes before revision 3", true},
		{"a suspect", func(b *apitest.Backend) {
			observe(b, "kvm3", func(o *api.HostObservation) { o.Suspected, o.SuspectedFor = true, time.Second })
		}, "nothing is changed while kvm3 is suspected", true},
		{"one suspected for long", func(b *apitest.Backend) {
			observe(b, "kvm3", func(o *api.HostObservation) { o.Suspected, o.SuspectedFor = true, time.Hour })
		}, "every condition is met", true},
		{"not the master", func(b *apitest.Backend) { b.Me.IsMaster = false }, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := withSpare()
			tc.change(b)
			a := world(b).Storage()
			v := a.Volumes[2]
			if v.Name != "spare" || !v.InPolicy || v.InUse || !strings.HasPrefix(v.Why, tc.why) || tc.why == "" && v.Why != "" || (v.ID != "") != tc.id {
				t.Errorf("shown as %+v, want it not in use, because %q, with an id: %v", v, tc.why, tc.id)
			}
		})
	}
}

func TestAVolumeThatThePolicyNamesNoMore(t *testing.T) {
	b := apitest.Healthy()
	text := string(b.St.Policy.Files["cluster.hcl"])
	b.St.Policy.Files = map[string][]byte{"cluster.hcl": []byte(strings.Replace(text, `"nfs"`, `"nfs2"`, 1))}
	a := world(b).Storage()
	var got []string
	for _, v := range a.Volumes {
		got = append(got, v.Name+": "+v.Why)
	}
	want := []string{"san: ", "nfs2: every condition is met: it comes into use now", "nfs: the policy does not name it any more: it goes out of use now"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("volumes (-want +got):\n%s", d)
	}
}

func TestTheSetBeforeIsShownWhileItCounts(t *testing.T) {
	b := apitest.Healthy()
	b.St.OldVolumes = fsm.VolumeSet{Revision: 2, Volumes: b.St.Volumes.Volumes[:1]}
	if a := world(b).Storage(); a.Before != nil || len(a.Behind) != 0 {
		t.Errorf("all hosts prove with revision 3, and yet there is %+v for %q", a.Before, a.Behind)
	}
	b.St.Hosts["kvm1"].Volumes = 2
	a := world(b).Storage()
	if a.Before == nil || a.Before.Revision != 2 || a.Before.Takeover != 1 || a.Before.Proof != 1 || cmp.Diff([]string{"kvm1"}, a.Behind) != "" {
		t.Errorf("kvm1 may prove with revision 2, and it shows %+v for %q", a.Before, a.Behind)
	}
	if a.Set.Takeover != 1 || a.Set.Proof != 2 {
		t.Errorf("of two volumes a takeover needs %d and a proof %d, want 1 and 2", a.Set.Takeover, a.Set.Proof)
	}
}

func TestStorageOfAHost(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(b *apitest.Backend)
		want   string // working/volumes of kvm1, its states, alone
	}{
		{"all work", func(*apitest.Backend) {}, "2/2 san=working nfs=working"},
		{"one fails", func(b *apitest.Backend) {
			b.Volume("kvm1", "nfs", func(v *api.VolumeReport) { v.State = "failing" })
		}, "1/2 san=working nfs=failing"},
		{"one not in use", func(b *apitest.Backend) { b.AddVolume("spare", "/spare", spareID) }, "2/3 san=working nfs=working spare=found"},
		{"one unusable", func(b *apitest.Backend) {
			b.AddVolume("spare", "/spare", "")
		}, "2/3 san=working nfs=working spare=unusable"},
		{"no report", func(b *apitest.Backend) { observe(b, "kvm1", func(o *api.HostObservation) { o.Volumes = nil }) }, "0/2 san=unknown nfs=unknown"},
		{"by storage alone", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) {
				o.Verdict, o.Networks = "partitioned", map[string]time.Duration{"mgmt": time.Minute, "storage": -1}
				o.Stored = map[string]time.Duration{"san": 200 * time.Millisecond, "nfs": time.Minute}
			})
		}, "1/2 san=working nfs=unknown alone"},
		{"agent down, storage silent too", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) {
				o.Verdict, o.Networks = "agent_down", map[string]time.Duration{"mgmt": time.Minute, "storage": -1}
				o.Stored = map[string]time.Duration{"san": time.Minute, "nfs": time.Minute}
			})
		}, "0/2 san=unknown nfs=unknown"},
		{"by a new master", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Networks = map[string]time.Duration{"mgmt": -1, "storage": -1} })
		}, "2/2 san=working nfs=working"},
		{"by one network", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Networks["mgmt"] = time.Minute })
		}, "2/2 san=working nfs=working"},
		{"by nothing", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) {
				o.Verdict, o.Networks = "suspect", map[string]time.Duration{"mgmt": time.Minute, "storage": -1}
				o.Stored = map[string]time.Duration{"san": time.Minute, "nfs": -1}
			})
		}, "0/2 san=unknown nfs=unknown"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := apitest.Healthy()
			tc.change(b)
			h, err := world(b).Host("kvm1")
			if err != nil || h.Storage == nil {
				t.Fatalf("storage %+v, %v", h.Storage, err)
			}
			var got strings.Builder
			got.WriteString(strings.Join([]string{string(rune('0' + h.Storage.Working)), string(rune('0' + h.Storage.Volumes))}, "/"))
			for _, on := range h.Storage.On {
				got.WriteString(" " + on.Name + "=" + on.State)
			}
			if h.Storage.Alone {
				got.WriteString(" alone")
			}
			if got.String() != tc.want {
				t.Errorf("kvm1 shows %q, want %q", got.String(), tc.want)
			}
		})
	}
}

// While the clock may declare a host dead the set is not changed: to do so is no advice then.
func TestAdviceWhenNoVolumeIsLeft(t *testing.T) {
	for _, silent := range []bool{false, true} {
		b := apitest.Healthy()
		for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
			for _, name := range []string{"san", "nfs"} {
				b.Volume(host, name, func(v *api.VolumeReport) { v.State, v.Error = "failing", "gone" })
			}
		}
		if silent {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Suspected, o.SuspectedFor = true, time.Second })
		}
		first := world(b).Storage().Problems[0]
		if first.Severity != fsm.Critical || strings.Contains(first.Text, "take the lost ones out of the policy") == silent {
			t.Errorf("a host is suspected: %v, and people read %q", silent, first.Text)
		}
	}
}

func TestDeadHostHasNoStorage(t *testing.T) {
	b := apitest.Healthy()
	b.St.Hosts["kvm1"].Status = fsm.HostDead
	if h, err := world(b).Host("kvm1"); err != nil || h.Storage != nil {
		t.Errorf("of a dead host is shown %+v, %v", h.Storage, err)
	}
}

func TestClusterWithoutVolumesShowsNone(t *testing.T) {
	b := apitest.Healthy()
	b.St.Volumes, b.St.Policy.Files = fsm.VolumeSet{}, nil
	for _, h := range b.St.Hosts {
		h.Volumes = 0
	}
	w := world(b)
	if h, err := w.Host("kvm1"); err != nil || h.Storage != nil {
		t.Errorf("storage %+v, %v, want none", h.Storage, err)
	}
	if a := w.Storage(); len(a.Volumes) != 0 || a.Set.Takeover != 0 || a.Set.Proof != 0 || a.Before != nil {
		t.Errorf("volumes %+v, set %+v, want none", a.Volumes, a.Set)
	}
}

// A member that is not the master knows what is in use, not how it does.
func TestStorageIsAskedOfTheMaster(t *testing.T) {
	other := apitest.StorageTrouble()
	other.Me.Name, other.Me.IsMaster = "kvm3", false
	c := cluster(t, other, apitest.StorageTrouble())
	for _, at := range []string{"kvm2", "kvm3"} {
		a, err := c[at].client.Storage(t.Context())
		if err != nil || len(a.Volumes) != 3 || a.Set.Revision != 3 || !a.Source.Fresh || a.Volumes[2].Why == "" {
			t.Errorf("asked at %s: %+v, %v", at, a, err)
		}
	}
	if a := world(other).Storage(); len(a.Volumes) != 3 || a.Volumes[2].Why != "" || len(a.Problems) != 0 || a.Volumes[0].Hosts[0].State != api.VolumeUnknown {
		t.Errorf("by itself kvm3 says %+v", a)
	}
}

func TestExplanationOfAHostByStorage(t *testing.T) {
	suspect := func(b *apitest.Backend) {
		observe(b, "kvm1", func(o *api.HostObservation) {
			o.Verdict, o.Suspected, o.Networks, o.Stored = "suspect", true, map[string]time.Duration{"mgmt": time.Minute}, nil
		})
	}
	for _, tc := range []struct {
		name   string
		change func(b *apitest.Backend)
		rules  string
		fact   string
	}{
		{"live", func(*apitest.Backend) {}, "N S Q", "heartbeat volume nfs there, by its own word: working"},
		{"live, without volumes", func(b *apitest.Backend) { b.St.Policy.Files, b.St.Volumes = nil, fsm.VolumeSet{} }, "N", ""},
		{"by storage alone", func(b *apitest.Backend) {
			observe(b, "kvm1", func(o *api.HostObservation) { o.Verdict = "partitioned" })
		}, "S Q", ""},
		{"no claim stands", suspect, "C7 D", "no claim against it stands on 1 of 2"},
		{"a claim stands", func(b *apitest.Backend) {
			suspect(b)
			observe(b, "kvm1", func(o *api.HostObservation) { o.DeadIn = time.Second })
		}, "N D", ""},
		{"behind", func(b *apitest.Backend) { b.St.Hosts["kvm1"].Volumes = 2 }, "N S Q", "it has not taken up revision 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := apitest.Healthy()
			tc.change(b)
			e, err := world(b).ExplainHost("kvm1")
			if err != nil {
				t.Fatal(err)
			}
			var rules, facts []string
			for _, s := range e.Steps {
				if s.Kind == api.StepRule {
					rules = append(rules, s.Rule)
				} else {
					facts = append(facts, s.Text)
				}
			}
			if got := strings.Join(rules, " "); got != tc.rules || !strings.Contains(strings.Join(facts, "\n"), tc.fact) {
				t.Errorf("rules %q, want %q; facts, one of which should begin with %q:\n%s", got, tc.rules, tc.fact, strings.Join(facts, "\n"))
			}
		})
	}
}

// Warnings about a set that is too small, or whose volumes fail together, and their mutes.
func TestVolumesThatFailTogether(t *testing.T) {
	policy := func(b *apitest.Backend, more string) {
		b.St.Policy.Files = map[string][]byte{"cluster.hcl": append([]byte(string(b.St.Policy.Files["cluster.hcl"])+"\n"), more...)}
	}
	server := func(b *apitest.Backend, name, server string) {
		for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
			b.Volume(host, name, func(v *api.VolumeReport) { v.Server = server })
		}
	}
	alone := func(b *apitest.Backend) {
		b.St.Volumes.Volumes = b.St.Volumes.Volumes[:1]
		for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
			b.Volume(host, "nfs", func(v *api.VolumeReport) { v.InUse, v.State, v.ID, v.Error = false, "", "", "gone" })
		}
	}
	for _, tc := range []struct {
		name   string
		change func(b *apitest.Backend)
		says   string // begins of the warnings that are wanted, of these two kinds
	}{
		{"two servers", func(*apitest.Backend) {}, ""},
		{"one server", func(b *apitest.Backend) { server(b, "nfs", "10.40.0.10") }, "all heartbeat volumes in use, san, nfs, are on one server, 10.40.0.10"},
		{"an address in common", func(b *apitest.Backend) { server(b, "nfs", "10.20.0.5,10.40.0.10") }, "all heartbeat volumes in use"},
		{"one is not known", func(b *apitest.Backend) { server(b, "nfs", "") }, ""},
		{"one server, muted", func(b *apitest.Backend) {
			server(b, "nfs", "10.40.0.10")
			policy(b, "warnings { volumes_on_one_server = false }")
		}, ""},
		{"one in use", alone, "a single heartbeat volume is in use"},
		{"none in use", func(b *apitest.Backend) { alone(b); b.St.Volumes.Volumes = nil }, "no heartbeat volume is in use"},
		{"one in use, muted", func(b *apitest.Backend) { alone(b); policy(b, "warnings { few_heartbeat_volumes = false }") }, ""},
		{"one in use, as the policy has it", func(b *apitest.Backend) { alone(b); policy(b, "heartbeat_volumes { count = 1 }") }, "heartbeat_volumes.count is 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := apitest.Healthy()
			tc.change(b)
			var got []string
			for _, p := range world(b).Storage().Problems {
				for _, kind := range []string{"all heartbeat volumes", "a single heartbeat", "no heartbeat volume is", "heartbeat_volumes.count"} {
					if strings.HasPrefix(p.Text, kind) {
						got = append(got, p.Text)
					}
				}
			}
			if all := strings.Join(got, "; "); len(got) > 1 || !strings.HasPrefix(all, tc.says) || tc.says == "" && all != "" {
				t.Errorf("people read %q, want %q", all, tc.says)
			}
		})
	}
}

// A spare is no problem; what is said of a volume that fails depends on whether there is one.
func TestWhatTakesThePlaceOfOneThatFails(t *testing.T) {
	problems := func(change func(b *apitest.Backend)) string {
		b := apitest.VolumeLost()
		change(b)
		var all []string
		for _, p := range world(b).Storage().Problems {
			all = append(all, p.Text)
		}
		return strings.Join(all, "\n")
	}
	if text := problems(func(*apitest.Backend) {}); strings.Contains(text, "nfs2") || strings.Contains(text, "volume old") || !strings.Contains(text, "another takes its place when that has lasted for 20s") {
		t.Errorf("with a spare people read:\n%s", text)
	}
	if text := problems(func(b *apitest.Backend) {
		for _, host := range []string{"kvm1", "kvm2", "kvm3"} {
			b.Volume(host, "nfs2", func(v *api.VolumeReport) { v.ID, v.Error = "", "gone" })
		}
	}); !strings.Contains(text, "names no other that could take its place: when that has lasted for 2m0s") {
		t.Errorf("without a spare people read:\n%s", text)
	}
	if text := problems(func(b *apitest.Backend) {
		o := b.Observed["kvm2"]
		o.Losses.Lost = nil
		b.Observed["kvm2"] = o
	}); strings.Contains(text, "its place") {
		t.Errorf("where it fails on too few hosts people read:\n%s", text)
	}
}
