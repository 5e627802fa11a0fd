package agent

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/peer/peertest"
	"github.com/holdfast-ha/holdfast/cluster/raftnode"
	"github.com/holdfast-ha/holdfast/fencing"
	"github.com/holdfast-ha/holdfast/fsm"
	"github.com/holdfast-ha/holdfast/vmm/embedded"
)

// site is two hosts in virtual time: kvm1, the only voter and so the master whenever its
// agent runs, and kvm2, which has a fence device. The device's agent is a real process.
type site struct {
	t     *testing.T
	dir   string
	net   *peertest.Net
	world *embedded.World
	began time.Time
	hosts map[string]*machine
}

// machine is one host; its agent can be stopped and started anew.
type machine struct {
	site  *site
	name  string
	boot  int
	hyp   *embedded.Host
	guard *memoryGuard
	store memoryStore
	agent *Agent
	stop  func()
}

// memoryStore is a data directory whose log is in memory.
type memoryStore struct {
	*Directory
	stores raftnode.Stores
}

// OpenRaft implements Store.
func (s memoryStore) OpenRaft(hclog.Logger) (raftnode.Stores, error) { return s.stores, nil }

// memoryGuard remembers what it is told, and never has anything to end.
type memoryGuard struct {
	mu      sync.Mutex
	status  fencing.Status
	covered map[string]bool
}

// Status implements host.Guard.
func (g *memoryGuard) Status() fencing.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status
}

// Begin implements host.Guard.
func (g *memoryGuard) Begin(incarnation uint64, deadline time.Duration) error {
	return g.Extend(incarnation, deadline)
}

// Extend implements host.Guard.
func (g *memoryGuard) Extend(incarnation uint64, deadline time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status.Incarnation, g.status.Deadline, g.status.Tripped = incarnation, deadline, 0
	return nil
}

// Cover implements host.Guard.
func (g *memoryGuard) Cover(uuid string, _ int, _ uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.covered[uuid] = true
	return nil
}

// Uncover implements host.Guard.
func (g *memoryGuard) Uncover(uuid string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.covered, uuid)
}

// Covered implements host.Guard.
func (g *memoryGuard) Covered() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.covered))
}

// fakeAgent is a fence agent whose host's power is in the file power beside it. It does
// what the file does in place of switching off and on, if it is there.
const fakeAgent = `#!/bin/sh
cd %s
action=reboot
while IFS= read -r line; do case $line in action=*) action=${line#action=};; esac; done
echo "$action" >>calls
case $action in
metadata) cat <<'EOT'
<?xml version="1.0" ?>
<resource-agent name="fence_fake" shortdesc="Fake"><longdesc>Fake</longdesc><parameters>
<parameter name="action" required="1"><content type="string" default="reboot"/></parameter>
<parameter name="ip"><content type="string"/></parameter>
</parameters><actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="metadata"/></actions></resource-agent>
EOT
;;
off|on) if [ -e refuses ]; then echo 'no answer' >&2; exit 1; fi; echo "$action" >power; echo "Success: Powered $action";;
status) if [ "$(cat power)" = off ]; then echo 'Status: OFF'; exit 2; fi; echo 'Status: ON';;
esac
`

// newSite boots both hosts and waits until both are live.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), net: peertest.New(), world: embedded.NewWorld(), began: time.Now(), hosts: map[string]*machine{}}
	t.Cleanup(s.end) // within the bubble
	s.put("power", "on\n")
	if err := os.WriteFile(filepath.Join(s.dir, "fence_fake"), fmt.Appendf(nil, fakeAgent, s.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kvm1", "kvm2"} {
		dir, err := OpenDirectory(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		hyp, err := embedded.NewHost(s.world, embedded.HostConfig{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		s.hosts[name] = &machine{site: s, name: name, boot: 1, hyp: hyp, guard: &memoryGuard{covered: map[string]bool{}}, store: memoryStore{dir, raftnode.MemoryStores()}}
		s.hosts[name].start()
	}
	ctx := t.Context()
	policy := "cluster \"prod\" {}\nfence \"bmc\" {\n agent = \"fence_fake\"\n options = { ip = \"192.0.2.1\" }\n}\nhost \"kvm2\" { fence = [\"bmc\"] }\n"
	if _, err := s.hosts["kvm1"].agent.Bootstrap(ctx, api.BootstrapRequest{Name: "prod", Policy: map[string][]byte{"cluster.hcl": []byte(policy)}}); err != nil {
		t.Fatal(err)
	}
	s.wait("kvm1 is live", func() bool { return s.live("kvm1") })
	token, _, err := s.hosts["kvm1"].agent.CreateToken(ctx, "kvm2", time.Hour, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.hosts["kvm2"].agent.Join(ctx, token); err != nil {
		t.Fatal(err)
	}
	s.wait("kvm2 is live", func() bool { return s.live("kvm2") })
	return s
}

// end stops all that still runs. A bubble ends only when nothing is left in it.
func (s *site) end() {
	for _, m := range s.hosts {
		m.halt()
	}
}

// start starts the host's agent; after a boot if the power has been off.
func (m *machine) start() {
	s := m.site
	var listen []peer.Address
	for i, network := range []string{"mgmt", "storage"} {
		listen = append(listen, peer.Address{Network: network, Addr: fmt.Sprintf("10.0.%d.%s:7300", i, m.name[len(m.name)-1:])})
	}
	now := func() time.Duration { return time.Since(s.began) + time.Hour }
	m.agent = New(Env{Name: m.name, Listen: listen, Version: "test", BootID: fmt.Sprintf("%s-boot-%d", m.name, m.boot), Run: uint64(now()),
		Network: s.net.Host(m.name), Hypervisor: m.hyp, Guard: m.guard, Store: m.store, FenceAgents: s.dir, Now: now, Wall: time.Now})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.agent.Run(ctx) }()
	m.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("the agent of %s: %v", m.name, err)
		}
	}
}

// halt ends the host's agent, if it runs.
func (m *machine) halt() {
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
}

func (s *site) put(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// power is the power of kvm2, as its device has it.
func (s *site) power() string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "power"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// told counts how often the device was told to do that.
func (s *site) told(action string) (n int) {
	b, _ := os.ReadFile(filepath.Join(s.dir, "calls"))
	for line := range strings.Lines(string(b)) {
		if strings.TrimSpace(line) == action {
			n++
		}
	}
	return n
}

// state is the master's copy; an empty one while its agent is on its way.
func (s *site) state() *fsm.State {
	if st := s.hosts["kvm1"].agent.State(); st != nil {
		return st
	}
	return &fsm.State{}
}

func (s *site) live(host string) bool {
	h := s.state().Hosts[host]
	return h != nil && h.Status == fsm.HostLive && s.hosts["kvm1"].agent.Self().IsMaster
}

// events are the texts of all events of a type.
func (s *site) events(of string) (texts []string) {
	for _, e := range s.state().Events {
		if e.Type == of {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

// wait polls until something is so.
func (s *site) wait(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			for _, e := range s.state().Events {
				s.t.Log(e.At.Sub(s.began), e.Type, e.Text)
			}
			s.t.Fatalf("not within two minutes: %s", what)
		}
	}
}
