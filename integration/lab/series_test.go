package lab

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/vmm/libvirt"
)

// seriesMoves is how many moves a series is asked to make; 0: none is asked for.
func seriesMoves() int {
	n, _ := strconv.Atoi(os.Getenv("HOLDFAST_LAB_MOVES"))
	return n
}

// TestMoveSeries moves guests between two libvirtd until HOLDFAST_LAB_MOVES moves are
// over, and counts those after which the guest went on with the memory that it had. It
// is how often a way of moving harms guests that nothing else has harmed.
func TestMoveSeries(t *testing.T) {
	want := seriesMoves()
	if want == 0 {
		t.Skip("set HOLDFAST_LAB_MOVES to the number of moves (and HOLDFAST_LAB=1): 100 take some minutes")
	}
	l := newLab(t, Config{Hosts: 2})
	h1, h2 := l.Host("h1"), l.Host("h2")
	type side struct {
		host   *Host
		driver *libvirt.Driver
		away   *way
	}
	sides := [2]side{{h1, h1.driver(t), l.way(t, h1, h2)}, {h2, h2.driver(t), l.way(t, h2, h1)}}
	moved, broke := 0, 0
	defer func() { t.Logf("%d live moves; after %d of them the guest's kernel had broken", moved, broke) }()
	for n := 0; moved < want; n++ {
		g, err := l.CreateGuest("roams"+strconv.Itoa(n), Witness)
		must(t, err)
		must(t, h1.Define(t.Context(), g))
		begin := time.Now()
		must(t, h1.StartGuest(t.Context(), g))
		_, err = l.Judge().WaitBeat(within(t, bootTime), g.Name, begin)
		must(t, err)
		// A guest that has come far is replaced, so that no series hangs on one of them.
		for leg := 0; leg < 20 && moved < want; leg++ {
			from, to := sides[leg%2], sides[(leg+1)%2]
			must(t, from.driver.Migrate(within(t, time.Minute), g.UUID, from.away.to))
			must(t, to.driver.Resume(within(t, settle), g.UUID))
			moved++
			since := time.Now()
			must(t, l.Judge().Wait(within(t, bootTime), g.Name, "its guest writes", func(_ []Run, lives []Life) bool {
				return len(lives) > 0 && lives[len(lives)-1].Last.After(since.Add(time.Second))
			}))
			if len(l.Judge().Lives(g.Name)) != 1 || kernelBroke(t, g) {
				if broke++; !kernelBroke(t, g) {
					t.Errorf("%s has begun a new life, and its kernel did not break\n%s", g.Name, l.Judge().Report(g.Name))
				}
				t.Logf("move %d, the %d. of %s: its kernel broke", moved, leg+1, g.Name)
				break
			}
			if moved%10 == 0 {
				t.Logf("%d moves, %d kernels broke", moved, broke)
			}
		}
		must(t, l.Judge().Check(g.Name))
		for _, h := range []*Host{h1, h2} {
			_, _ = h.Virsh(within(t, settle), "destroy", g.Name) // where it runs
		}
	}
}
