package api_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/cluster/doctor"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// patients are the members of the example, each with what it says of itself.
func patients(t *testing.T) map[string]*member {
	t.Helper()
	var all []*apitest.Backend
	for _, name := range []string{"kvm1", "kvm2", "kvm3"} {
		b := apitest.Healthy()
		b.Me.Name, b.Me.IsMaster = name, name == "kvm2"
		b.Said = doctor.Facts{Hypervisor: "QEMU 7.2.17", Guard: doctor.Guard{Alive: true, Locked: true, RealTime: true}, Watchdog: doctor.Watchdog{State: "armed", Protects: true, Enduring: true, Counts: true},
			Libvirt: doctor.Libvirt{Hook: name != "kvm3"},
			VMs:     []doctor.VM{{UUID: "u1", Name: "db1", Owner: "kvm1", Disks: []doctor.Disk{{Disk: domainxml.Disk{Target: "vda", Kind: domainxml.DiskFile, Source: "/srv/db1"}, Place: doctor.Place{Type: "nfs4", Source: "nas:/vms"}}}}}}
		all = append(all, b)
	}
	return cluster(t, all...)
}

func codes(a *api.DoctorAnswer) string {
	var out []string
	for _, f := range a.Findings {
		out = append(out, strings.TrimSpace(f.Code+" "+f.Host))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func TestDoctorAsksEveryHost(t *testing.T) {
	all := patients(t)
	for _, name := range []string{"kvm1", "kvm2"} {
		a, err := all[name].client.Doctor(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := codes(a), "cache_writes_late, hook_missing kvm3"; got != want || len(a.Examined) != 3 || len(a.Disks) != 1 || a.Disks[0].ImageLock.Holds != doctor.Everywhere {
			t.Errorf("asked at %s: found %s, want %s: %+v", name, got, want, a)
		}
	}
	a, err := all["kvm1"].client.Doctor(t.Context(), "kvm3")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := codes(a), "hook_missing kvm3"; got != want || len(a.Disks) != 0 || strings.Join(a.Examined, " ") != "kvm3" {
		t.Errorf("about kvm3: found %s, want %s: %+v", got, want, a)
	}
	var remote *api.Error
	if _, err := all["kvm1"].client.Doctor(t.Context(), "kvm9"); !errors.As(err, &remote) || remote.Code != api.CodeNotFound {
		t.Errorf("about a host that is none: %v", err)
	}
}

// A host that is away, hangs, or is another than it should be, is one finding; the rest is examined.
func TestDoctorWithoutAHost(t *testing.T) {
	for _, tt := range []struct {
		name   string
		broken func(*http.Request) error
		change func(map[string]*member)
		says   string
	}{
		{"away", func(r *http.Request) error {
			if r.URL.Host == "kvm3" {
				return errors.New("no route to host")
			}
			return nil
		}, nil, "no route to host"},
		{"hangs", func(r *http.Request) error {
			if r.URL.Host == "kvm3" {
				<-r.Context().Done()
				return r.Context().Err()
			}
			return nil
		}, nil, "does not answer in time"},
		{"another answers in its place", func(r *http.Request) error {
			if r.URL.Host == "kvm3" {
				r.URL.Host, r.URL.Path = "kvm2", "/v1/hosts/kvm2/facts"
			}
			return nil
		}, nil, `says that it is "kvm2"`},
		{"says that it is another", nil, func(all map[string]*member) { all["kvm3"].Me.Name = "kvm1" }, "this is kvm1, not kvm3"},
		{"left its cluster", nil, func(all map[string]*member) { all["kvm3"].St = nil }, "not a member"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			all := patients(t)
			all["kvm1"].net.broken = tt.broken
			if tt.change != nil {
				tt.change(all)
			}
			a, err := all["kvm1"].client.Doctor(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if got, want := codes(a), "cache_writes_late, host_silent kvm3"; got != want || strings.Join(a.Examined, " ") != "kvm1 kvm2" {
				t.Errorf("found %s, want %s: %+v", got, want, a)
			}
			for _, f := range a.Findings {
				if f.Code == "host_silent" && !strings.Contains(f.Text, tt.says) {
					t.Errorf("want a text with %q: %s", tt.says, f.Text)
				}
			}
		})
	}
}

// What a host says of itself is asked where it is, once.
func TestFactsOfAHost(t *testing.T) {
	all := patients(t)
	ask := func(at, host string, via bool) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+at+"/v1/hosts/"+host+"/facts", nil)
		if err != nil {
			t.Fatal(err)
		}
		if via {
			req.Header.Set("Holdfast-Via", "kvm1")
		}
		resp, err := all["kvm1"].net.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b := make([]byte, 300)
		n, _ := resp.Body.Read(b)
		return resp.StatusCode, string(b[:n])
	}
	for _, tt := range []struct {
		name, at, host string
		via            bool
		code           int
		says           string
	}{
		{"itself", "kvm2", "kvm2", false, http.StatusOK, `"name":"kvm2"`},
		{"another", "kvm2", "kvm3", false, http.StatusOK, `"name":"kvm3"`},
		{"passed on to the wrong one", "kvm2", "kvm3", true, http.StatusNotFound, "this is kvm2, not kvm3"},
		{"nobody", "kvm2", "kvm9", false, http.StatusNotFound, "no host called"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code, text := ask(tt.at, tt.host, tt.via); code != tt.code || !strings.Contains(text, tt.says) {
				t.Errorf("%d %s; want %d with %q", code, text, tt.code, tt.says)
			}
		})
	}
}
