package master

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/verdict"
	"github.com/holdfast-ha/holdfast/fsm"
)

// What another member reads in a silent host's slot makes the verdict another one, and
// is shown with the reader's name. It is evidence and nothing else: the host stays
// suspected, is not acknowledged, and is not kept from being declared dead.
func TestWhatOthersReadIsEvidenceAlone(t *testing.T) {
	hb1 := fsm.Volume{Name: "hb1", Path: "/hb1", ID: volumeID(1).String()}
	for _, tc := range []struct {
		name    string
		volumes []fsm.Volume
		reads   api.SlotReading
		want    verdict.Verdict
		said    string // in b's evidence; empty: it has none
		dies    bool   // by the clock: without volumes that needs no claim
	}{
		{name: "it changes", volumes: []fsm.Volume{hb1}, reads: api.SlotReading{Incarnation: 1, Run: 2, Seq: 7}, want: verdict.Partitioned, said: "arrives"},
		{name: "it says that it hears nobody", volumes: []fsm.Volume{hb1}, reads: api.SlotReading{Incarnation: 1, Run: 2, Seq: 7, Flags: 2}, want: verdict.Isolated, said: "arrives"},
		{name: "it does not change", volumes: []fsm.Volume{hb1}, reads: api.SlotReading{Age: time.Minute, Incarnation: 1, Run: 2, Seq: 7}, want: verdict.Suspect, said: "none for 1m"},
		{name: "an earlier life's", volumes: []fsm.Volume{hb1}, reads: api.SlotReading{Run: 2, Seq: 7}, want: verdict.Suspect, said: "none of this incarnation"},
		{name: "nobody can read it", volumes: []fsm.Volume{hb1}, reads: api.SlotReading{Error: "input/output error"}, want: verdict.Unknown, said: "cannot be read: input/output error"},
		{name: "a volume that is not in use", reads: api.SlotReading{Incarnation: 1, Run: 2, Seq: 7}, want: verdict.Suspect, dies: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.must(&fsm.SetVolumes{Epoch: r.state().Office.Epoch, Previous: r.state().Volumes.Revision, Volumes: tc.volumes})
				r.beating(2*time.Second, "b", "c")
				relay := func(d time.Duration) {
					t.Helper()
					for end := time.Now().Add(d); time.Now().Before(end); r.pass(time.Second) {
						r.seq++
						tc.reads.Host, tc.reads.Volume = "c", volumeID(1).String()
						if _, err := r.Heartbeat(t.Context(), api.Heartbeat{Host: "b", Incarnation: 1, Run: 9, Seq: r.seq, Network: "mgmt", Slots: []api.SlotReading{tc.reads}}); err != nil {
							t.Fatal(err)
						}
					}
				}
				relay(5 * time.Second)
				all, err := r.Observations()
				if err != nil {
					t.Fatal(err)
				}
				c := all["c"]
				if c.Verdict != string(tc.want) || !c.Suspected || r.state().Hosts["c"].Verdict != string(verdict.Suspect) {
					t.Errorf("c is %s, suspected %v, committed as %s; want %s, suspected all the same", c.Verdict, c.Suspected, r.state().Hosts["c"].Verdict, tc.want)
				}
				var said []string
				for _, e := range c.Evidence {
					if e.By == "b" && strings.HasPrefix(e.Signal, "storage heartbeat") {
						said = append(said, e.Value)
					}
				}
				if got := strings.Join(said, "; "); !strings.HasPrefix(got, tc.said) || (got == "") != (tc.said == "") {
					t.Errorf("b is named for %q, want %q", got, tc.said)
				}
				r.Master.mu.Lock()
				x := r.office.hosts["c"]
				if x.watch.Heard > r.now()-5*time.Second || x.watch.Acknowledged > r.now()-5*time.Second {
					t.Errorf("c counts as heard %v ago and acknowledged %v ago", r.now()-x.watch.Heard, r.now()-x.watch.Acknowledged)
				}
				r.Master.mu.Unlock()
				relay(r.cfg.Timing.Wait())
				if dead := r.state().Hosts["c"].Status == fsm.HostDead; dead != tc.dies {
					t.Errorf("after the wait c is dead: %v, want %v", dead, tc.dies)
				}
				if got := r.said(" c is heard again"); len(got) > 0 {
					t.Errorf("the suspicion was withdrawn: %s", got)
				}
				r.pass(time.Minute) // b is silent
				if all, err = r.Observations(); err != nil {
					t.Fatal(err)
				}
				for _, e := range all["c"].Evidence {
					if e.By == "b" {
						t.Errorf("what b said a minute ago is still shown: %+v", e)
					}
				}
			})
		})
	}
}
