package host

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/vmm"
)

// What a VM takes is the mean over the looks that show the same process: another process
// begins anew, and one look alone says nothing of processors.
func TestUseIsTheMeanOfOneProcess(t *testing.T) {
	at := func(seconds int, cpu ...time.Duration) useReading {
		r := useReading{time.Duration(seconds) * time.Second, map[string]vmm.Use{}}
		for i, c := range cpu {
			if c >= 0 {
				r.of[string(rune('a'+i))] = vmm.Use{CPUTime: c, Memory: 1<<30 + 1}
			}
		}
		return r
	}
	use := func(processors float64) api.Use { return api.Use{Processors: processors, Memory: 1 << 30} }
	const none = -1
	tests := []struct {
		name     string
		readings []useReading
		want     map[string]api.Use
	}{
		{"one look", []useReading{at(0, time.Second)}, map[string]api.Use{}},
		{"two looks", []useReading{at(0, time.Second), at(20, 31*time.Second)}, map[string]api.Use{"a": use(1.5)}},
		{"a burst", []useReading{at(0, 0), at(20, 20*time.Second), at(40, 20*time.Second), at(60, 20*time.Second)}, map[string]api.Use{"a": use(0.35)}},
		{"rounded", []useReading{at(0, 0), at(20, 7*time.Second)}, map[string]api.Use{"a": use(0.35)}},
		{"started since", []useReading{at(0, none, 0), at(20, 5*time.Second, 0), at(40, 25*time.Second, 0)}, map[string]api.Use{"a": use(1), "b": use(0)}},
		{"another process", []useReading{at(0, time.Hour), at(20, time.Second), at(40, 5*time.Second)}, map[string]api.Use{"a": use(0.2)}},
		{"gone and back", []useReading{at(0, time.Second), at(20, none), at(40, 9*time.Second)}, map[string]api.Use{}},
		{"gone", []useReading{at(0, time.Second), at(20, none)}, map[string]api.Use{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, mean(tt.readings)); diff != "" {
				t.Errorf("use (-want +got):\n%s", diff)
			}
		})
	}
}
