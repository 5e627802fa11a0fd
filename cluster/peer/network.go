package peer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Network is the machine's networks. OS is the real one; a simulation supplies
// its own. network is the name of an HA network; it is empty in Dial when any
// path will do and this host's own networks are not known yet (joining). addr is
// IP:port. Dial must return soon after ctx ends.
type Network interface {
	Listen(network, addr string) (net.Listener, error)
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
}

// DefaultDead is how long a path may be silent before OS breaks a connection
// that waits for it.
const DefaultDead = 5 * time.Second

// OS is the operating system's TCP.
type OS struct {
	// Local is this host's own address on each HA network. A call over a network
	// leaves from that address, so that it uses that network or fails.
	Local map[string]netip.Addr
	// Dead is about how long a path may be dead before connections over it break
	// (TCP_USER_TIMEOUT and keepalive); DefaultDead when 0. Keepalive counts whole
	// seconds, so an idle connection takes at least three.
	Dead time.Duration
}

// Listen listens on addr, also when this host does not have that address yet
// (IP_FREEBIND): an agent that starts before its network is up need not be
// started again.
func (o OS) Listen(network, addr string) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: o.keepalive(), Control: o.control(true)}
	// The context bounds name resolution only, and addresses are numbers.
	l, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", network, err)
	}
	return l, nil
}

// Dial connects to addr over the named network.
func (o OS) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: o.keepalive(), Control: o.control(false)}
	if network != "" {
		local, ok := o.Local[network]
		if !ok {
			return nil, fmt.Errorf("this host is not on network %s", network)
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", network, err)
	}
	return conn, nil
}

func (o OS) dead() time.Duration {
	if o.Dead > 0 {
		return o.Dead
	}
	return DefaultDead
}

// keepalive notices a dead path on a connection that has nothing to send:
// a third of the time idle, then two probes a third apart.
func (o OS) keepalive() net.KeepAliveConfig {
	third := max(o.dead()/3, time.Second)
	return net.KeepAliveConfig{Enable: true, Idle: third, Interval: third, Count: 2}
}

// control sets TCP_USER_TIMEOUT, which notices a dead path on a connection with
// data on the way; accepted connections inherit it from the listener.
func (o OS) control(listen bool) func(_, _ string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(o.dead().Milliseconds()))
			if err == nil && listen {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
			}
		})
		if controlErr != nil {
			return controlErr
		}
		if err != nil {
			return fmt.Errorf("set socket options: %w", err)
		}
		return nil
	}
}
