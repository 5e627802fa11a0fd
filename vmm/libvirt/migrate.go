package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

const (
	// settleTime bounds how long the outcome of a migration that was given up, or
	// whose daemon went away, is waited for.
	settleTime = 20 * time.Second
	// abortEvery is how often the daemon is told again to give a migration up: in
	// some of its phases it does not hear.
	abortEvery = 200 * time.Millisecond
)

// live is how a VM travels. The daemon here drives the migration (peer to peer), so
// that it ends with the connection to the other one; QEMU sends memory over a
// connection of its own; the copy stays paused; a guest that writes faster than the
// network carries is slowed down; and one whose disk fails stays here.
const live = rpc.MigrateLive | rpc.MigratePeer2peer | rpc.MigratePaused |
	rpc.MigratePersistDest | rpc.MigrateAutoConverge | rpc.MigrateAbortOnError

// Migrate sends the VM, memory and all, to the libvirt daemon behind to.Socket and the
// QEMU behind to.Memory, which listens at the same path there: libvirt has one name for
// both ends. The definition goes along and stays here as well. A VM that does not run is refused.
//
// Libvirt holds a copy for complete once the target's daemon has said so, and only
// then ends the process here. When the connection breaks in between it lets the VM
// go on here, and a whole copy may wait there, paused, for somebody to end it.
func (d *Driver) Migrate(ctx context.Context, uuid string, to vmm.Destination) error {
	canonical, err := domainxml.CanonicalUUID(uuid)
	if err != nil {
		return fmt.Errorf("migrate: %w: %w", vmm.ErrNoDomain, err)
	}
	release, err := d.claimMigration(canonical)
	if err == nil {
		err = d.migrate(ctx, canonical, to, release)
	}
	if err != nil {
		return fmt.Errorf("migrate %s to %s: %w", uuid, to.Host, err)
	}
	return nil
}

// claimMigration makes this migration the only one of its VM until release is called.
func (d *Driver) claimMigration(uuid string) (release func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaving[uuid] {
		return nil, errors.New("an earlier migration of it is not answered yet")
	}
	d.leaving[uuid] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.leaving, uuid)
	}, nil
}

// migrate asks for the migration on a connection of its own and stays with it, past
// the end of ctx too, until the daemon has answered or settleTime is over.
func (d *Driver) migrate(ctx context.Context, uuid string, to vmm.Destination, release func()) error {
	ref, err := reference(uuid)
	if err != nil {
		release()
		return err
	}
	params, flags, err := d.luggage(ctx, ref, to)
	if err != nil {
		release()
		return translate(err)
	}
	c, err := d.pool.get(ctx)
	if err != nil {
		release()
		return err
	}
	uri := "qemu+unix:///system?socket=" + strings.ReplaceAll(url.QueryEscape(to.Socket), "+", "%20") // as libvirt reads it
	answers := make(chan error, 1)
	go func() {
		defer d.pool.running.Done()
		_, err := c.rpc.DomainMigratePerform3Params(ref, rpc.OptString{uri}, params, nil, flags)
		if err != nil && !isAnswer(err) {
			d.pool.discard(c)
		} else {
			d.pool.put(c)
		}
		release()
		answers <- err
	}()
	select {
	case err := <-answers:
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
		defer cancel()
		return d.outcome(after, uuid, ref, err)
	case <-ctx.Done():
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	tick := time.NewTicker(abortEvery)
	defer tick.Stop()
	for {
		if err := d.abort(after, ref); err != nil {
			d.log.Debug("a migration is not given up yet", "vm", uuid, "error", err)
		}
		select {
		case err := <-answers:
			return d.outcome(after, uuid, ref, err)
		case <-after.Done():
			return fmt.Errorf("%w: it was to be given up (%w), and the daemon has not answered", vmm.ErrNotProven, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// luggage is what a VM that runs takes along: its live definition with the mark, and
// the one that stays when it stops; and the way that its memory takes.
func (d *Driver) luggage(ctx context.Context, ref rpc.Domain, to vmm.Destination) ([]rpc.TypedParam, rpc.DomainMigrateFlags, error) {
	var now, stays string
	var state int32
	_, err := call(ctx, d, func(l *rpc.Libvirt) (struct{}, error) {
		var err error
		if state, _, err = l.DomainGetState(ref, 0); err != nil {
			return struct{}{}, err
		}
		if now, err = l.DomainGetXMLDesc(ref, rpc.DomainXMLSecure|rpc.DomainXMLMigratable); err != nil {
			return struct{}{}, err
		}
		stays, err = l.DomainGetXMLDesc(ref, portable)
		return struct{}{}, err
	})
	if err != nil {
		return nil, 0, err
	}
	if rpc.DomainState(state) != rpc.DomainRunning {
		is, why := stateOf(state, 0)
		if is == vmm.Running {
			why = "it is about to shut down or waits for the host"
		}
		return nil, 0, fmt.Errorf("only a VM whose processors run can be migrated, and this one is %s (%s)", is, why)
	}
	shared, err := domainxml.ParseShared(now)
	if err != nil {
		return nil, 0, err
	}
	marked, err := withMark(now)
	if err != nil {
		return nil, 0, err
	}
	params := []rpc.TypedParam{
		{Field: rpc.MigrateParamDestXML, Value: *rpc.NewTypedParamValueString(marked)},
		{Field: rpc.MigrateParamPersistXML, Value: *rpc.NewTypedParamValueString(withoutMark(stays))},
		{Field: rpc.MigrateParamURI, Value: *rpc.NewTypedParamValueString((&url.URL{Scheme: "unix", Path: to.Memory}).String())},
	}
	if to.Bandwidth > 0 {
		mib := max(1, to.Bandwidth>>20)
		params = append(params, rpc.TypedParam{Field: rpc.MigrateParamBandwidth, Value: *rpc.NewTypedParamValueUllong(mib)})
	}
	flags := live
	if bypassCaches(shared) {
		flags |= rpc.MigrateUnsafe
	}
	return params, flags, nil
}

// bypassCaches tells whether no host keeps anything of the VM's disks to itself. Then
// libvirt is not asked whether it holds their file system for a shared one: it knows
// some kinds by name only, and that disks are shared is what protecting a VM rests on.
// With other modes a host may read what it remembers of a disk: libvirt's word counts.
func bypassCaches(s domainxml.Shared) bool {
	for _, disk := range s.Disks {
		if !disk.ReadOnly && disk.Cache != "none" && disk.Cache != "directsync" {
			return false
		}
	}
	return true
}

// outcome says what became of a migration about which the daemon answered, or did not
// because the connection to it broke.
func (d *Driver) outcome(ctx context.Context, uuid string, ref rpc.Domain, answer error) error {
	if answer != nil && !isAnswer(answer) {
		// The daemon, or the one that comes after it, may be at it still.
		answer = fmt.Errorf("%w: connection lost: %w", vmm.ErrUnavailable, answer)
		if err := d.awaitNoMigration(ctx, ref); err != nil {
			return fmt.Errorf("%w: %w; %w", vmm.ErrNotProven, answer, err)
		}
	}
	tick := time.NewTicker(pollSlice)
	defer tick.Stop()
	resumed := false
	for {
		found, err := scanFor(d.cfg.Proc, uuid)
		if err == nil && answer == nil && len(found) == 0 {
			return nil
		}
		var is vmm.State
		var why vmm.Reason
		if err == nil && answer != nil {
			is, why, err = d.stateHere(ctx, ref)
		}
		switch {
		case err != nil || answer == nil:
		case len(found) == 0 && is == vmm.Stopped && why == vmm.ReasonMigrated:
			return nil
		case len(found) == 0 && is == vmm.Stopped:
			return fmt.Errorf("its process ended on the way (%s): %w", why, answer)
		case len(found) > 0 && is == vmm.Paused && why == vmm.ReasonMigrated && !resumed:
			// Libvirt lets it go on when a migration fails; where that went wrong it would stay so.
			resumed = true
			err = d.Resume(ctx, uuid)
		case len(found) > 0 && is != vmm.Stopped:
			return fmt.Errorf("it stays here: %w", answer)
		}
		select {
		case <-ctx.Done():
			if answer == nil {
				answer = fmt.Errorf("libvirt says that it has left, and process %d is there still", pid(found))
			}
			return fmt.Errorf("%w: %w", vmm.ErrNotProven, errors.Join(answer, err))
		case <-tick.C:
		}
	}
}

func pid(found []qemu) int {
	if len(found) == 0 {
		return 0
	}
	return found[0].PID
}

// stateHere asks the daemon alone; a domain that it does not know counts as stopped.
func (d *Driver) stateHere(ctx context.Context, ref rpc.Domain) (vmm.State, vmm.Reason, error) {
	type state struct{ is, why int32 }
	s, err := call(ctx, d, func(l *rpc.Libvirt) (s state, err error) {
		s.is, s.why, err = l.DomainGetState(ref, 0)
		return s, err
	})
	if hasCode(err, rpc.ErrNoDomain) {
		return vmm.Stopped, vmm.ReasonUnknown, nil
	}
	if err != nil {
		return "", "", err
	}
	is, why := stateOf(s.is, s.why)
	return is, why, nil
}

// AbortMigration ends a migration of the VM from here that no caller waits for, as
// one that an earlier agent began, and returns when none is left. It leaves alone
// what else libvirt does with the VM, such as a backup, and migrations to here.
func (d *Driver) AbortMigration(ctx context.Context, uuid string) error {
	ref, err := reference(uuid)
	if err == nil {
		err = d.awaitNoMigration(ctx, ref)
	}
	if err != nil {
		return fmt.Errorf("abort the migration of %s: %w", uuid, err)
	}
	return nil
}

// awaitNoMigration aborts until there is nothing to abort. A daemon that does not
// answer is asked again until ctx ends.
func (d *Driver) awaitNoMigration(ctx context.Context, ref rpc.Domain) error {
	tick := time.NewTicker(abortEvery)
	defer tick.Stop()
	for {
		err := d.abort(ctx, ref)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

var errMigrates = errors.New("the migration goes on")

// abort tells the daemon to give a migration up, if there is one from here, and
// returns errMigrates while there is.
func (d *Driver) abort(ctx context.Context, ref rpc.Domain) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Grace)
	defer cancel()
	// No domain, one that does not run, and one that comes from elsewhere: nothing leaves here.
	noJob := []rpc.ErrorNumber{rpc.ErrNoDomain, rpc.ErrOperationInvalid}
	goesOn, err := call(ctx, d, func(l *rpc.Libvirt) (bool, error) {
		kind, params, err := l.DomainGetJobStats(ref, 0)
		if hasCode(err, noJob...) || err == nil && rpc.DomainJobType(kind) == rpc.DomainJobNone {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		for _, p := range params {
			v, ok := p.Value.I.(int32)
			if ok && p.Field == rpc.DomainJobOperationStr &&
				rpc.DomainJobOperation(v) != rpc.DomainJobOperationStrMigrationOut {
				return false, nil
			}
		}
		if err := l.DomainAbortJob(ref); err != nil && !hasCode(err, noJob...) {
			return true, err
		}
		return true, nil
	})
	if err == nil && goesOn {
		return errMigrates
	}
	return err
}
