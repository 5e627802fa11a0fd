package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/peer/peertest"
	"github.com/holdfast-ha/holdfast/fsm"
)

// strait is two hosts with tunnels: h1, which VMs leave, and h2, whose hypervisor
// repeats each line that it is told, as does whoever takes in memory there.
type strait struct {
	t        *testing.T
	net      *peertest.Net
	from, to *passages
	daemons  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	state   *fsm.State // h2's copy
	trusted bool
	changed chan struct{}
	calls   int
}

func newStrait(t *testing.T) *strait {
	t.Helper()
	s := &strait{t: t, net: peertest.New(), trusted: true, changed: make(chan struct{}), state: onItsWay(nil)}
	cluster := peertest.NewCluster(t, "c1")
	book := &peer.Book{}
	book.Update(map[string][]peer.Address{"h2": {{Network: "mgmt", Addr: "10.0.0.2:7400"}}})
	make1 := func(name string, dial func(context.Context) (net.Conn, error)) *passages {
		d := &peer.Dialer{Network: s.net.Host(name), Book: book, Identity: cluster.Identity(t, name)}
		dir := t.TempDir()
		memory := func(_ context.Context, _, vm string) (string, int, error) {
			return filepath.Join(dir, vm), os.Getuid(), nil
		}
		p, err := newPassages(&passages{Passage: Passage{Dir: filepath.Join(dir, "m"), Dial: dial, Memory: memory}, self: name, dial: d.DialTunnel, view: s.view,
			current: s.life, log: hclog.NewNullLogger(), patience: 300 * time.Millisecond, grace: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	s.from, s.to = make1("h1", nil), make1("h2", s.hypervisor)
	server, err := peer.Listen(peer.ServerConfig{Network: s.net.Host("h2"), Listen: []peer.Address{{Network: "mgmt", Addr: "10.0.0.2:7400"}}, Identity: cluster.Identity(t, "h2"),
		Allow: func(string, string) bool { return true }, Tunnel: s.to.serve, Handler: http.NotFoundHandler(), Logger: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.daemons.Wait()
		if n := s.net.Open(); n != 0 {
			t.Errorf("%d ends of connections are open after the end", n)
		}
		for what, n := range s.to.open {
			t.Errorf("%d tunnels for %s count as open after the end", n, what)
		}
	})
	return s
}

// onItsWay is a state with one VM that goes from h1 to h2, changed by edit.
func onItsWay(edit func(*fsm.State, *fsm.VM)) *fsm.State {
	vm := &fsm.VM{UUID: "u1", Name: "web1", Generation: 3, Owner: &fsm.Placement{Host: "h1", Incarnation: 4, Generation: 3, Phase: fsm.PhaseRunning},
		Move: &fsm.Move{ID: 9, Host: "h2", Incarnation: 7}}
	s := &fsm.State{Hosts: map[string]*fsm.Host{"h1": {Name: "h1", ID: "machine-h1"}, "h2": {Name: "h2", ID: "machine-h2"}}, VMs: map[string]*fsm.VM{vm.UUID: vm}}
	if edit != nil {
		edit(s, vm)
	}
	return s
}

func (s *strait) view() (*fsm.State, uint64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, 1, s.changed
}

func (s *strait) life() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 7, s.trusted
}

func (s *strait) set(state *fsm.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *strait) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *strait) hypervisor(context.Context) (net.Conn, error) {
	s.mu.Lock()
	s.calls++
	s.mu.Unlock()
	ours, theirs := net.Pipe()
	s.daemons.Go(func() {
		defer theirs.Close()
		_, _ = io.Copy(theirs, theirs)
	})
	return ours, nil
}

// takesIn is h2's process that takes in the memory of web1.
func (s *strait) takesIn() {
	s.t.Helper()
	path, _, err := s.to.Memory(s.t.Context(), "u1", "web1")
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close() })
	s.daemons.Go(func() {
		if c, err := l.Accept(); err == nil { // the first, and no other
			defer c.Close()
			_, _ = io.Copy(c, c)
		}
	})
}

// says sends a line through a socket and reads what comes back.
func says(t *testing.T, c net.Conn, line string) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || got != line+"\n" {
		t.Fatalf("the other hypervisor repeats %q (%v), want %q", got, err, line)
	}
}

// isClosed waits until the other end closes.
func isClosed(t *testing.T, what string, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%s: the connection reads %v, want its end", what, err)
	}
}

func (s *strait) connect(path string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestPassageCarries(t *testing.T) {
	s := newStrait(t)
	to, done, err := s.from.reach(t.Context(), "h2", "u1", "web1")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(to.Socket); err != nil || info.Mode().Perm() != 0o600 || to.Host != "h2" {
		t.Errorf("the way is %+v with mode %v (%v), want a socket of h2 with mode 0600", to, info, err)
	}
	if info, err := os.Stat(filepath.Dir(to.Socket)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its directory has %v (%v), want mode 0700", info, err)
	}
	c := s.connect(to.Socket)
	for i := range 3 {
		says(t, c, strings.Repeat("x", i*100_000)+"y")
	}
	done()
	isClosed(t, "done was called", c)
	if _, err := os.Stat(to.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// Memory takes a tunnel of its own, beside what the hypervisors say.
func TestPassageCarriesMemory(t *testing.T) {
	s := newStrait(t)
	s.takesIn()
	left, _, _ := s.from.Memory(t.Context(), "u1", "web1")
	if err := os.WriteFile(left, nil, 0o600); err != nil { // what a move long ago left
		t.Fatal(err)
	}
	to, done, err := s.from.reach(t.Context(), "h2", "u1", "web1")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(to.Memory); err != nil || info.Mode().Perm()&0o022 != 0 || to.Memory != left {
		t.Errorf("the way for memory is %+v with mode %v (%v), want %s, to which only its owner may write", to, info, err, left)
	}
	says(t, s.connect(to.Socket), "hello")
	c := s.connect(to.Memory)
	for i := range 3 {
		says(t, c, strings.Repeat("x", i*1_000_000)+"y")
	}
	if n := s.called(); n != 1 {
		t.Errorf("the hypervisor of h2 was called %d times, want once: not for memory", n)
	}
	isClosed(t, "a second one for the same memory", s.connect(to.Memory))
	done()
	isClosed(t, "done was called", c)
	if _, err := os.Stat(to.Memory); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// A move lets nothing in but itself.
func TestPassageIsForOneVM(t *testing.T) {
	for _, tt := range []struct {
		name string
		what purpose
		want string
	}{
		{"another VM's memory", purpose{legMemory, "u2"}, `h2 knows of no VM "u2" that is on its way from h1`},
		{"the hypervisor for another VM", purpose{legHypervisor, "u2"}, `h2 knows of no VM "u2" that is on its way from h1`},
		{"no VM", purpose{legHypervisor, ""}, `h2 knows of no VM "" that is on its way from h1`},
		{"something else", purpose{"disks", "u1"}, `h2 knows of no tunnels for "disks u1"`},
		{"a process that does not listen", purpose{legMemory, "u1"}, "reach the process that takes in the memory of web1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStrait(t)
			c, err := s.from.call(t.Context(), "h2", tt.what)
			if err == nil {
				_ = c.Close()
			}
			if !errors.Is(err, ErrNoPassage) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("a tunnel for %q: %v, want it refused with %q", tt.what, err, tt.want)
			}
			if n := s.called(); n != 0 {
				t.Errorf("the hypervisor of h2 was called %d times", n)
			}
		})
	}
}

func TestPassageRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		edit    func(*fsm.State, *fsm.VM)
		distrut bool
	}{
		{"no move at all", func(_ *fsm.State, vm *fsm.VM) { vm.Move = nil }, false},
		{"the move goes elsewhere", func(_ *fsm.State, vm *fsm.VM) { vm.Move.Host = "h3" }, false},
		{"the move is another host's", func(_ *fsm.State, vm *fsm.VM) { vm.Owner.Host = "h3" }, false},
		{"the move was to an earlier life", func(_ *fsm.State, vm *fsm.VM) { vm.Move.Incarnation = 6 }, false},
		{"a cold move, without memory", func(_ *fsm.State, vm *fsm.VM) { vm.Move.Cold = true }, false},
		{"the caller is no member", func(s *fsm.State, _ *fsm.VM) { delete(s.Hosts, "h1") }, false},
		{"another machine of that name is the member", func(s *fsm.State, _ *fsm.VM) { s.Hosts["h1"].ID = "machine-x" }, false},
		{"the copy of the state may be old", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStrait(t)
			s.state, s.trusted = onItsWay(tt.edit), !tt.distrut
			_, _, err := s.from.reach(t.Context(), "h2", "u1", "web1")
			if !errors.Is(err, ErrNoPassage) || !strings.Contains(err.Error(), `h2 knows of no VM "u1" that is on its way from h1`) {
				t.Errorf("the way to h2: %v, want it refused by h2 with the reason", err)
			}
			if n := s.called(); n != 0 {
				t.Errorf("the hypervisor of h2 was called %d times", n)
			}
			if left, err := os.ReadDir(s.from.Dir); err != nil || len(left) != 0 {
				t.Errorf("sockets are left: %v, %v", left, err)
			}
		})
	}
}

// The copy of the state at the target may lag behind the source's.
func TestPassageWaitsForTheState(t *testing.T) {
	s := newStrait(t)
	s.state = onItsWay(func(_ *fsm.State, vm *fsm.VM) { vm.Move = nil })
	time.AfterFunc(50*time.Millisecond, func() { s.set(onItsWay(nil)) })
	to, done, err := s.from.reach(t.Context(), "h2", "u1", "web1")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	says(t, s.connect(to.Socket), "hello")
}

func TestPassageEndsWithItsMove(t *testing.T) {
	s := newStrait(t)
	to, done, err := s.from.reach(t.Context(), "h2", "u1", "web1")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	c := s.connect(to.Socket)
	says(t, c, "hello")
	s.set(onItsWay(func(st *fsm.State, _ *fsm.VM) { st.Office.Epoch++ })) // something else changes
	says(t, c, "hello again")
	s.set(onItsWay(func(_ *fsm.State, vm *fsm.VM) { vm.Move = nil }))
	isClosed(t, "the move is over", c)
}

func TestPassageEndsWithItsContext(t *testing.T) {
	s := newStrait(t)
	ctx, cancel := context.WithCancel(t.Context())
	to, done, err := s.from.reach(ctx, "h2", "u1", "web1")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	c := s.connect(to.Socket)
	cancel()
	says(t, c, "what is said to end it in order")
	isClosed(t, "the context has ended", c)
}

func TestPassageIsNarrow(t *testing.T) {
	s := newStrait(t)
	to, done, err := s.from.reach(t.Context(), "h2", "u1", "web1")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for i := range legHypervisor.atOnce() {
		says(t, s.connect(to.Socket), fmt.Sprintf("hello %d", i))
	}
	isClosed(t, "one too many", s.connect(to.Socket))
	if _, _, err := s.from.reach(t.Context(), "h2", "u1", "web1"); !errors.Is(err, ErrNoPassage) || !strings.Contains(err.Error(), "2 of them are open already for hypervisor of web1") {
		t.Errorf("another way for the same move: %v", err)
	}
}
