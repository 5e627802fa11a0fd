package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

// TestDisarm is what a person reads who disarms the cluster, of one that is, and who arms it again.
func TestDisarm(t *testing.T) {
	var text strings.Builder
	say := func(b *apitest.Backend, line string, yes bool) answer {
		t.Helper()
		args := strings.Fields(line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		if yes {
			args = append(args, "--yes")
		}
		got := haadm(t, agent(t, b), nil, args...)
		fmt.Fprintf(&text, "$ haadm %s\n%s%sexit %d\n\n", strings.Join(args, " "), got.out, got.errOut, got.code)
		return got
	}
	b := apitest.HostLost()
	say(b, "disarm", true)
	say(b, "disarm --why switches --for 25h", true)
	say(b, "disarm --why new_switches", false)
	if b.St.Disarmed != nil {
		t.Fatal("it is disarmed though nobody agreed")
	}
	if got := say(b, "disarm --why new_switches --for 2h", true); got.code != exitOK || b.St.Disarmed == nil || b.St.Disarmed.For != 2*time.Hour {
		t.Fatalf("exit %d, disarmed: %+v", got.code, b.St.Disarmed)
	}
	b.Change(func() { // as the office says of what waits
		d := *b.St.Disarmed
		d.At, d.Since = apitest.Now.Add(-8*time.Minute), apitest.Now.Add(-8*time.Minute)
		st := *b.St
		st.Disarmed = &d
		b.St = &st
	})
	for _, line := range []string{"status", "explain vm db1", "hosts doctor"} {
		if got := say(b, line, false); !strings.Contains(got.out, "new switches") {
			t.Errorf("haadm %s does not say why the cluster is disarmed:\n%s", line, got.out)
		}
	}
	say(b, "disarm --why it_takes_longer --for 30m", true)
	if got := say(b, "arm --why done", true); got.code != exitOK || b.St.Disarmed != nil {
		t.Errorf("exit %d, disarmed: %+v", got.code, b.St.Disarmed)
	}
	say(b, "arm", true)
	last := b.St.Events[len(b.St.Events)-1]
	if last.Type != fsm.EventClusterArmed {
		t.Errorf("the last event is %+v", last)
	}
	golden(t, "disarm.txt", text.String())
}
