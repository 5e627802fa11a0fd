// Package libvirt is vmm.Hypervisor on a real libvirt daemon, over its RPC
// socket (no cgo). It connects when it is first asked, and again after every loss.
// What it says about the life and death of a VM rests on the VM's process, which
// it finds in /proc by QEMU's own "-uuid" argument: so it can prove that a VM is
// gone when the daemon is dead or hangs. It must run as root in the PID namespace
// of the VMs. It knows nothing of leases and decides nothing.
package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// Config says where the daemon and the processes are. The zero value is right for
// a host as distributions install it.
type Config struct {
	// Socket is the path of the daemon's read-write socket. Empty means
	// /run/libvirt/libvirt-sock or, when nobody listens there,
	// /run/libvirt/virtqemud-sock (the daemon of one driver).
	Socket string
	// URI names the driver; empty means qemu:///system.
	URI string
	// Proc is where the proc file system of the VMs' PID namespace is mounted;
	// empty means /proc.
	Proc string
	// Sys is where the sys file system is; empty means /sys.
	Sys string
	// RunDir is where the daemon keeps what belongs to running VMs; empty means /run/libvirt/qemu.
	RunDir string
	// Grace is how long Kill leaves the daemon to end a VM, which makes its own
	// books right, before it kills the process past it; 0 means one second.
	Grace time.Duration
	// Logger gets what is no error of a call; nil means none.
	Logger hclog.Logger
}

// Driver is vmm.Hypervisor on libvirt. Each call has a connection of its own
// while it lasts, so that one that hangs holds up no other, neither here nor in
// the daemon, which works on a few requests of one client at a time only.
type Driver struct {
	cfg   Config
	log   hclog.Logger
	pool  *pool
	links func() ([]net.Interface, error) // of the host

	mu       sync.Mutex               // guards everything below; never held while waiting
	starting map[string]chan struct{} // by UUID; closed when a start that was asked for has been answered
	leaving  map[string]bool          // by UUID; a migration from here that is not answered yet
	parsed   map[string]parsedXML     // by UUID, so that an unchanged definition is read once
	runs     platform                 // what the hypervisor can run
}

var _ vmm.Hypervisor = (*Driver)(nil)

// New returns a driver that has not connected yet: the daemon may come later.
func New(cfg Config) *Driver {
	if cfg.URI == "" {
		cfg.URI = string(rpc.QEMUSystem)
	}
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	if cfg.Sys == "" {
		cfg.Sys = "/sys"
	}
	if cfg.RunDir == "" {
		cfg.RunDir = runDir
	}
	if cfg.Grace <= 0 {
		cfg.Grace = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	sockets := []string{cfg.Socket}
	if cfg.Socket == "" {
		sockets = []string{"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}
	}
	return &Driver{
		cfg: cfg, log: cfg.Logger,
		pool:     newPool(sockets, rpc.ConnectURI(cfg.URI)),
		links:    net.Interfaces,
		starting: make(map[string]chan struct{}),
		leaving:  make(map[string]bool),
		parsed:   make(map[string]parsedXML),
	}
}

// Dial connects to the daemon's socket, for another host's daemon that sends a VM here.
// The caller closes the connection.
func (d *Driver) Dial(ctx context.Context) (net.Conn, error) {
	c, err := d.pool.dialSocket(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", vmm.ErrUnavailable, err)
	}
	return c, nil
}

// Close ends every call and subscription and lets go of the daemon. VMs go on.
// Calls after it return vmm.ErrUnavailable.
func (d *Driver) Close() error {
	d.pool.close()
	return nil
}

// call runs one request on a connection of its own until ctx ends. A request
// that is given up loses its connection, which ends the goroutine that waits for
// its answer; the daemon may carry it out all the same. The error wraps
// vmm.ErrUnavailable unless it is the daemon's own answer (rpc.Error).
func call[T any](ctx context.Context, d *Driver, request func(*rpc.Libvirt) (T, error)) (T, error) {
	var zero T
	c, err := d.pool.get(ctx)
	if err != nil {
		return zero, err
	}
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		defer d.pool.running.Done()
		v, err := request(c.rpc)
		answers <- answer{v, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil && !isAnswer(a.err) {
			d.pool.discard(c)
			return zero, fmt.Errorf("%w: connection lost: %w", vmm.ErrUnavailable, a.err)
		}
		d.pool.put(c)
		if a.err != nil {
			return zero, a.err
		}
		return a.value, nil
	case <-ctx.Done():
		d.pool.discard(c)
		return zero, fmt.Errorf("%w: no answer in time: %w", vmm.ErrUnavailable, ctx.Err())
	}
}

// isAnswer tells the daemon's own words from a broken connection.
func isAnswer(err error) bool {
	var e rpc.Error
	return errors.As(err, &e) || errors.Is(err, rpc.ErrUnsupported) || errors.Is(err, vmm.ErrNoDomain)
}

// hasCode tells whether the daemon answered with one of the codes.
func hasCode(err error, codes ...rpc.ErrorNumber) bool {
	var e rpc.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == uint32(code) {
			return true
		}
	}
	return false
}

// translate makes sentinels of the daemon's answers that have one.
func translate(err error) error {
	if hasCode(err, rpc.ErrNoDomain) {
		return fmt.Errorf("%w: %w", vmm.ErrNoDomain, err)
	}
	return err
}

// reference names a domain to the daemon, which looks at the UUID alone.
func reference(uuid string) (rpc.Domain, error) {
	canonical, err := domainxml.CanonicalUUID(uuid)
	if err != nil {
		return rpc.Domain{}, fmt.Errorf("%w: %w", vmm.ErrNoDomain, err)
	}
	ref := rpc.Domain{Name: canonical, ID: -1}
	hex := 0
	for i := 0; i < len(canonical); i++ {
		if canonical[i] == '-' {
			continue
		}
		digit := canonical[i] - '0'
		if canonical[i] >= 'a' {
			digit = canonical[i] - 'a' + 10
		}
		ref.UUID[hex/2] = ref.UUID[hex/2]<<4 | digit
		hex++
	}
	return ref, nil
}

// simple runs a request about one domain that has no result.
func (d *Driver) simple(ctx context.Context, verb, uuid string, request func(*rpc.Libvirt, rpc.Domain) error) error {
	ref, err := reference(uuid)
	if err == nil {
		_, err = call(ctx, d, func(l *rpc.Libvirt) (struct{}, error) { return struct{}{}, request(l, ref) })
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, uuid, translate(err))
	}
	return nil
}
