package reach

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// roleEnv is set in the processes that these tests start of themselves: in a network
// namespace of their own, which ends with them, so that nothing is left behind and
// nothing outside can be reached.
const roleEnv = "HOLDFAST_REACH_TEST_ROLE"

// alone runs the test again in a process with a network namespace of its own, and
// reports whether this is that process.
func alone(t *testing.T) bool {
	t.Helper()
	switch os.Getenv(roleEnv) {
	case "test":
		lo, err := netlink.LinkByName("lo")
		must(t, err)
		must(t, netlink.LinkSetUp(lo))
		return true
	case "peer":
		bePeer(t)
		return false
	}
	if os.Getuid() != 0 {
		t.Skip("a network namespace takes root")
	}
	out, err := own(t.Context(), t.Name(), "test").CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM):
		t.Skip("this machine permits no network namespaces")
	case err != nil:
		t.Errorf("in its own network namespace: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in its own network namespace:\n%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()+" "):
		t.Errorf("it did not run in its own network namespace:\n%s", out)
	}
	return false
}

// own is this test in a process and a network namespace of its own. It ends with the
// context, after a minute, and, being a peer, with its standard input.
func own(ctx context.Context, test, role string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+test+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	return cmd
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok, or fails with what was last seen.
func eventually(t *testing.T, what string, ok func() (bool, any)) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		good, seen := ok()
		if good {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s; last seen: %+v", what, seen)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

var (
	loop4 = netip.MustParseAddr("127.0.0.1")
	loop6 = netip.MustParseAddr("::1")
)

func TestEcho(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, addr := range []netip.Addr{loop4, loop6} {
		for _, raw := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, raw %t", addr, raw), func(t *testing.T) {
				if !raw {
					permitICMP(t)
				}
				opened, err := echoBy(t.Context(), addr, 5*time.Second, raw)
				if err != nil || !opened {
					t.Errorf("the socket was opened: %t, error %v", opened, err)
				}
			})
		}
	}
}

// permitICMP opens the unprivileged kind of socket to every group in this namespace.
func permitICMP(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0o644); err != nil {
		t.Skipf("the namespace's settings cannot be written: %v", err)
	}
}

// Without CAP_NET_RAW the other kind of socket is taken, and without either the
// error says what to do.
func TestEchoWithoutPrivilege(t *testing.T) {
	if !alone(t) {
		return
	}
	withoutRaw(t, func() {
		if err := echo(t.Context(), loop4, time.Second); !errors.Is(err, errNotPermitted) {
			t.Errorf("without either kind of socket the error is %v, want %v", err, errNotPermitted)
		}
	})
	permitICMP(t)
	withoutRaw(t, func() {
		for _, addr := range []netip.Addr{loop4, loop6} {
			if err := echo(t.Context(), addr, 5*time.Second); err != nil {
				t.Errorf("without CAP_NET_RAW %v: %v", addr, err)
			}
		}
	})
}

// withoutRaw runs f on a thread that lacks CAP_NET_RAW, and that ends with it.
func withoutRaw(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&hdr, &data[0]); err != nil {
			t.Errorf("read the capabilities: %v", err)
			return
		}
		data[0].Effective &^= 1 << unix.CAP_NET_RAW
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			t.Errorf("give up CAP_NET_RAW: %v", err)
			return
		}
		f()
	}()
	<-done
}

// A request that cannot be sent says why, at once, and ends.
func TestEchoThatCannotBeSent(t *testing.T) {
	if !alone(t) {
		return
	}
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	dst := &net.IPNet{IP: net.IPv4(10, 99, 7, 1), Mask: net.CIDRMask(32, 32)}
	must(t, netlink.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_PROHIBIT}))
	must(t, netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 99, 8, 1), Mask: net.CIDRMask(24, 32)}, Broadcast: net.IPv4(10, 99, 8, 255)}))
	for _, tt := range []struct {
		name, addr string
		want       error
	}{
		{"no route", "10.98.0.1", syscall.ENETUNREACH},
		{"no route, IPv6", "fd00:98::1", syscall.ENETUNREACH},
		{"a route that prohibits it", "10.99.7.1", syscall.EACCES},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			started := time.Now()
			err := echo(t.Context(), netip.MustParseAddr(tt.addr), 30*time.Second)
			if !errors.Is(err, tt.want) || time.Since(started) > 10*time.Second {
				t.Errorf("after %v the error is %v, want %v at once", time.Since(started), err, tt.want)
			}
			eventually(t, "its goroutines end", func() (bool, any) { n := runtime.NumGoroutine(); return n <= before, n })
		})
	}
}

// A pair of hosts, one of them this process: the other answers, has the link cut and
// mended, and is this one's gateway.
func TestReachOfAPeer(t *testing.T) {
	if !alone(t) {
		return
	}
	// Link-local addresses are on every link: that of the peer takes its zone to be reached.
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "rt8"}, PeerName: "rt9"}))
	for _, name := range []string{"rt8", "rt9"} {
		other, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetUp(other))
	}
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "rt0"}, PeerName: "rt1"}))
	p := startPeer(t)
	far, err := netlink.LinkByName("rt1")
	must(t, err)
	must(t, netlink.LinkSetNsPid(far, p.cmd.Process.Pid))
	p.tell(t, "up")
	link, err := netlink.LinkByName("rt0")
	must(t, err)

	mine := netip.MustParseAddr("10.99.0.2")
	goroutines := runtime.NumGoroutine()
	changes := make(chan struct{}, 1)
	r, err := New(Config{Now: boot, Interval: 50 * time.Millisecond, Timeout: 200 * time.Millisecond, AskGateways: true, Log: hclog.NewNullLogger(),
		Networks: map[string]netip.Addr{"mgmt": mine}, Changed: func() {
			select {
			case changes <- struct{}{}:
			default:
			}
		}})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	see := func(what string, ok func(Snapshot) bool) {
		t.Helper()
		eventually(t, what, func() (bool, any) { s := r.Snapshot(); return ok(s), s })
	}
	answers := func(s Snapshot, addr string) bool {
		age := s.Answers[netip.MustParseAddr(addr)].Age(s.At)
		return age >= 0 && age <= r.cfg.Bound()
	}

	see("no interface has the address yet", func(s Snapshot) bool { return s.Trouble == "" && s.Links["mgmt"].Interface == "" })
	must(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: mine.AsSlice(), Mask: net.CIDRMask(24, 32)}}))
	see("the address is noticed", func(s Snapshot) bool { l := s.Links["mgmt"]; return l.Interface == "rt0" && l.Held && !l.Up })
	must(t, netlink.LinkSetUp(link))
	see("the carrier is noticed", func(s Snapshot) bool { l := s.Links["mgmt"]; return l.Up && l.Carrier })
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.IPv4(10, 99, 0, 1)}))
	see("the gateway is found, and answers", func(s Snapshot) bool {
		return len(s.Gateways) == 1 && s.Gateways[0] == Gateway{netip.MustParseAddr("10.99.0.1"), "rt0", false} && answers(s, "10.99.0.1")
	})
	see("the router's IPv6 address answers by its zone", func(s Snapshot) bool {
		must(t, r.Ask([]netip.Addr{netip.MustParseAddr("fe80::99%rt0")}))
		return answers(s, "fe80::99%rt0")
	})

	p.tell(t, "down")
	see("the loss of the carrier is noticed", func(s Snapshot) bool { l := s.Links["mgmt"]; return l.Up && !l.Carrier && l.Held })
	see("the gateway falls silent", func(s Snapshot) bool { return !answers(s, "10.99.0.1") })
	select {
	case <-changes:
	default:
		t.Error("changes were not told")
	}
	p.tell(t, "up")
	see("carrier and gateway are back", func(s Snapshot) bool { return s.Links["mgmt"].Carrier && answers(s, "10.99.0.1") })

	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.IPv4(10, 99, 0, 1)}
	must(t, netlink.RouteDel(route))
	see("a route that went alone is noticed", func(s Snapshot) bool { return len(s.Gateways) == 1 && s.Gateways[0].Gone })
	must(t, netlink.RouteAdd(route))
	see("a route that came alone is noticed", func(s Snapshot) bool { return len(s.Gateways) == 1 && !s.Gateways[0].Gone })

	must(t, netlink.LinkSetDown(link)) // takes the routes away with it
	see("a gateway that went with its link is still asked", func(s Snapshot) bool {
		a, asked := s.Answers[netip.MustParseAddr("10.99.0.1")]
		return len(s.Gateways) == 1 && s.Gateways[0].Gone && !s.Links["mgmt"].Up && asked && a.Trouble == "network is unreachable"
	})
	must(t, netlink.LinkDel(link))
	see("an interface that is gone is named as the last", func(s Snapshot) bool { l := s.Links["mgmt"]; return l.Interface == "rt0" && !l.Held })

	cancel()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("Run does not end")
	}
	eventually(t, "no goroutine is left", func() (bool, any) {
		buf := make([]byte, 1<<16)
		return runtime.NumGoroutine() <= goroutines, string(buf[:runtime.Stack(buf, true)])
	})
}

// peerProcess is the other host.
type peerProcess struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startPeer(t *testing.T) *peerProcess {
	t.Helper()
	cmd := own(context.WithoutCancel(t.Context()), t.Name(), "peer") // it is to end by itself
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	p := &peerProcess{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		must(t, in.Close()) // ends it
		for p.out.Scan() {
		}
		must(t, cmd.Wait())
	})
	return p
}

// tell has the peer do something, and waits until it has.
func (p *peerProcess) tell(t *testing.T, word string) {
	t.Helper()
	_, err := fmt.Fprintln(p.in, word)
	must(t, err)
	for p.out.Scan() {
		if p.out.Text() == "done "+word {
			return
		}
		t.Log("peer: " + p.out.Text())
	}
	t.Fatalf("the peer ended before it was done with %q", word)
}

// bePeer obeys until its standard input ends.
func bePeer(t *testing.T) {
	t.Helper()
	words := bufio.NewScanner(os.Stdin)
	for words.Scan() {
		link, err := netlink.LinkByName("rt1")
		must(t, err)
		switch words.Text() {
		case "up":
			for _, cidr := range []string{"10.99.0.1/24", "fe80::99/64"} {
				addr, err := netlink.ParseAddr(cidr)
				must(t, err)
				must(t, netlink.AddrReplace(link, addr))
			}
			must(t, netlink.LinkSetUp(link))
		case "down":
			must(t, netlink.LinkSetDown(link))
		}
		fmt.Println("done " + words.Text())
	}
}
