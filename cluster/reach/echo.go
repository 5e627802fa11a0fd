package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"

	probing "github.com/prometheus-community/pro-bing"
)

// errNotPermitted is a host on which neither kind of ICMP socket may be opened.
var errNotPermitted = errors.New("ICMP is not permitted: it takes CAP_NET_RAW, or the agent's group in net.ipv4.ping_group_range")

// echo sends one request and waits for its answer: nil when it came, errSilent when
// it did not come in time, and what else kept the request from being sent. It uses a raw socket
// where it may, else the kernel's own kind for ICMP.
func echo(ctx context.Context, addr netip.Addr, timeout time.Duration) error {
	opened, err := echoBy(ctx, addr, timeout, true)
	if opened || !errors.Is(err, os.ErrPermission) {
		return err
	}
	opened, err = echoBy(ctx, addr, timeout, false)
	if opened || !errors.Is(err, os.ErrPermission) {
		return err
	}
	return errNotPermitted
}

// echoBy is echo by one kind of socket; opened says that it could be opened.
func echoBy(ctx context.Context, addr netip.Addr, timeout time.Duration, raw bool) (opened bool, err error) {
	p := probing.New("")
	p.SetIPAddr(&net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()})
	p.SetPrivileged(raw)
	p.SetLogger(noBroadcast{})
	p.Count, p.Timeout, p.RecordRtts, p.RecordTTLs = 1, timeout, false, false
	p.OnSetup = func() { opened = true }
	err = p.RunWithContext(ctx)
	s := p.Statistics()
	switch {
	case s.PacketsRecv > 0:
		return opened, nil
	case err != nil:
		return opened, plain(err)
	case s.PacketsSent == 0:
		return opened, fmt.Errorf("%w: the routing table prohibits it, or it is a broadcast address", syscall.EACCES)
	}
	return opened, errSilent
}

// plain leaves of an error what a person can use: the kernel's word.
func plain(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// noBroadcast ends a request that the kernel refuses with EACCES. The library takes
// that for a broadcast address, says so, and sends again for as long as it is
// refused, which a route that prohibits the address makes for ever; nothing but
// its logger hears of it in between. It logs at this level for no other reason that
// a request could go on from.
type noBroadcast struct{ probing.NoopLogger }

// Infof ends the goroutine that sends; the request ends with it, unsent.
func (noBroadcast) Infof(string, ...any) { runtime.Goexit() }
