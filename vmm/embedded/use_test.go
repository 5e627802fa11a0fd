package embedded

import (
	"testing"
	"testing/synctest"
	"time"
)

// A guest takes what it was told to, on whichever host it runs, and nothing where it does not.
func TestLoadIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWorld()
		h, err := NewHost(w, HostConfig{Name: "a", Domains: []DomainConfig{{XML: vm(1), Running: true}, {XML: vm(2)}}})
		if err != nil {
			t.Fatal(err)
		}
		w.SetLoad(id(1), 1.5, 3<<30)
		time.Sleep(10 * time.Second)
		w.SetLoad(id(1), 0.5, 2<<30)
		time.Sleep(10 * time.Second)
		use, err := h.Usage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := use[id(1)]; got.CPUTime != 20*time.Second || got.Memory != 2<<30 {
			t.Errorf("it has taken %+v, want 20s and 2 GiB", got)
		}
		if got, told := use[id(2)]; told {
			t.Errorf("of a domain that does not run it is told %+v", got)
		}
	})
}
