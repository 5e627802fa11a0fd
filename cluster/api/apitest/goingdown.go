package apitest

import (
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/fsm"
)

// GoingDown is Healthy while kvm1 is rebooted, dead by now, and db1 waits for it; mail, which went
// down with it too, is on kvm2. kvm3 is being shut down, and web-1 is on its way from there to kvm2.
func GoingDown() *Backend {
	b := Healthy()
	b.St.Policy.Files["cluster.hcl"] = append(b.St.Policy.Files["cluster.hcl"], "host_shutdown {\n  action         = \"freeze\"\n  freeze_timeout = \"20m\"\n}\n"...)
	began := Now.Add(-5 * time.Minute)
	h := b.St.Hosts["kvm1"]
	h.Shutdown = &fsm.Shutdown{Incarnation: 1, Since: began, Reboot: true, Action: fsm.ShutdownFreeze}
	h.Status, h.Verdict, h.Since = fsm.HostDead, "dead", Now.Add(-4*time.Minute)
	b.Observed["kvm1"] = api.HostObservation{Verdict: "dead"}
	b.Servers[0].Healthy, b.Servers[0].Contact = false, 4*time.Minute
	db1, web, mail := b.St.VMs[uuid(1)], b.St.VMs[uuid(3)], b.St.VMs[uuid(4)]
	db1.Owner, db1.Frozen, db1.WaitingSince = nil, &fsm.Frozen{Host: "kvm1", Since: began.Add(20 * time.Second), Reboot: true}, began.Add(20*time.Second)
	mail.Owner = &fsm.Placement{Host: "kvm2", Incarnation: 1, Generation: 2, Phase: fsm.PhaseRunning, At: Now.Add(-time.Minute), Why: "a person wants it tried elsewhere"}
	mail.Generation, mail.Home = 2, "kvm2"
	o := b.Observed["kvm2"]
	o.Domains = append(o.Domains, report(mail))
	b.Observed["kvm2"] = o
	b.St.Hosts["kvm3"].Shutdown = &fsm.Shutdown{Incarnation: 1, Since: Now.Add(-10 * time.Second), Action: fsm.ShutdownMigrate}
	web.Move = &fsm.Move{ID: 106, Host: "kvm2", Incarnation: 1, At: Now.Add(-8 * time.Second), Why: "kvm3 is being shut down"}
	return b
}
