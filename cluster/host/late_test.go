package host

import (
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
)

// Renewals that find more than half of the lease gone are told when there are three within a
// minute, with the worst of them, and no more once there was none for five minutes.
func TestLateRenewals(t *testing.T) {
	const lease = 4 * time.Second
	type step struct {
		at   time.Duration
		gone time.Duration // 0: nothing is renewed, it is asked alone
		want time.Duration // of the worst; 0: nothing is told
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"in time", []step{{1 * time.Second, 2 * time.Second, 0}, {2 * time.Second, 2 * time.Second, 0}, {3 * time.Second, 2 * time.Second, 0}, {4 * time.Second, 2 * time.Second, 0}}},
		{"twice late", []step{{1 * time.Second, 3 * time.Second, 0}, {2 * time.Second, 3 * time.Second, 0}, {3 * time.Second, time.Second, 0}}},
		{"thrice within a minute", []step{{1 * time.Second, 3 * time.Second, 0}, {30 * time.Second, 3500 * time.Millisecond, 0}, {61 * time.Second, 3 * time.Second, 3500 * time.Millisecond}}},
		{"thrice, over more than a minute", []step{{1 * time.Second, 3 * time.Second, 0}, {40 * time.Second, 3 * time.Second, 0}, {62 * time.Second, 3 * time.Second, 0}, {90 * time.Second, 3 * time.Second, 3 * time.Second}}},
		{"told once, as it was then", []step{{1 * time.Second, 3 * time.Second, 0}, {2 * time.Second, 3 * time.Second, 0}, {3 * time.Second, 3 * time.Second, 3 * time.Second}, {4 * time.Second, 3900 * time.Millisecond, 3 * time.Second}}},
		{"over", []step{{1 * time.Second, 3 * time.Second, 0}, {2 * time.Second, 3 * time.Second, 0}, {3 * time.Second, 3 * time.Second, 3 * time.Second},
			{303 * time.Second, 0, 3 * time.Second}, {304 * time.Second, 0, 0}, {305 * time.Second, 3 * time.Second, 0}}},
	} {
		var l lateness
		for _, s := range tt.steps {
			if s.gone != 0 {
				l.renewed(s.gone, lease, s.at, "by network")
			}
			is := l.word(s.at)
			if got := (api.Lateness{}); is != nil {
				got = *is
				if got.Gone != s.want || got.By != "by network" {
					t.Errorf("%s: at %v people are told %+v, want %v", tt.name, s.at, got, s.want)
				}
			} else if s.want != 0 {
				t.Errorf("%s: at %v nothing is told, want %v", tt.name, s.at, s.want)
			}
		}
	}
}
