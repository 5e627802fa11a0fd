package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	// volumeSize is that of a volume's image: a heartbeat volume for 64 hosts takes
	// 4 MiB of it, and the journal as much.
	volumeSize = 32 << 20
	// goneTimeout is how long a file system may take to be gone after its last user
	// was told to leave it; agents look at a volume that failed every few seconds.
	goneTimeout = 30 * time.Second
)

// Volume is shared storage that fails apart from everything else: an ext4 file
// system in an image of its own, which every host has mounted at the same path.
// All hosts see one file system, so what one writes others read at once, and
// what is done to it is done to all. The image is in memory: a machine whose disk
// is busy would slow all volumes down at once, and the hosts' own disks with them.
//
// It is mounted in the hosts and in the keeper alone, in their own mount
// namespaces, and its loop device goes with its last mount.
type Volume struct {
	// Name is v1, v2, ...; Path is where a heartbeat volume's file belongs.
	Name, Path string

	lab    *Lab
	mount  string // directory that it is mounted on
	device loopDevice
	down   bool // between Fail and Mend
}

// createVolumes makes the images and has the keeper mount them, before the hosts are there.
func (l *Lab) createVolumes(ctx context.Context) error {
	for i := range l.cfg.Volumes {
		name := "v" + strconv.Itoa(i+1)
		v := &Volume{Name: name, lab: l, mount: filepath.Join(l.dir, "volumes", name)}
		v.Path = filepath.Join(v.mount, "heartbeat")
		err := os.MkdirAll(v.mount, 0o755)
		if err == nil {
			err = v.attach(ctx)
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", name, err)
		}
		l.volumes = append(l.volumes, v)
	}
	return nil
}

// attach has the keeper put the image on a loop device and mount it. The first
// time it makes the image as well.
func (v *Volume) attach(ctx context.Context) error {
	answer, err := v.lab.keeper.ask(ctx, request{Op: "attach", Mount: v.mount})
	if err == nil {
		v.device = answer.Device
	}
	return err
}

// Volumes are the volumes in order of their names.
func (l *Lab) Volumes() []*Volume { return l.volumes }

// Freeze makes every write to the volume hang, on all hosts, until Thaw (FIFREEZE):
// whoever writes is in uninterruptible sleep and cannot even be killed. Reads go
// on. A host whose storage hangs has to be released first, since what it has under
// way would keep the file system from being frozen.
func (v *Volume) Freeze(ctx context.Context) error {
	for _, h := range v.lab.hosts {
		if h.hangs() {
			return fmt.Errorf("freeze volume %s: the storage of %s hangs", v.Name, h.name)
		}
	}
	v.lab.log.Info("volume freezes", "volume", v.Name)
	return v.tell(ctx, "freeze")
}

// Thaw undoes Freeze; it may be called when the volume is not frozen.
func (v *Volume) Thaw(ctx context.Context) error {
	v.lab.log.Info("volume thaws", "volume", v.Name)
	return v.tell(ctx, "thaw")
}

// Fail shuts the file system down where it stands: from then on every call fails
// with EIO, on all hosts, until Mend.
func (v *Volume) Fail(ctx context.Context) error {
	v.lab.log.Info("volume fails", "volume", v.Name)
	v.down = true
	return v.tell(ctx, "fail")
}

func (v *Volume) tell(ctx context.Context, op string) error {
	if _, err := v.lab.keeper.ask(ctx, request{Op: op, Mount: v.mount}); err != nil {
		return fmt.Errorf("%s volume %s: %w", op, v.Name, err)
	}
	return nil
}

// Mend brings a volume back that has failed: it is unmounted everywhere, and
// mounted anew once nobody has anything of it open. Nothing happens when it has
// not failed.
func (v *Volume) Mend(ctx context.Context) error {
	if !v.down {
		return nil
	}
	if err := v.everywhere(ctx, "unmount"); err != nil {
		return err
	}
	if err := v.tell(ctx, "unmount"); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	if err := poll(waiting, func() error {
		if v.device.carries(v.mount) {
			return fmt.Errorf("%s still carries it: somebody has a file of it open", v.device.Path)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("mend volume %s: %w", v.Name, err)
	}
	if err := v.attach(ctx); err != nil {
		return fmt.Errorf("mend volume %s: %w", v.Name, err)
	}
	if err := v.everywhere(ctx, "mount"); err != nil {
		return err
	}
	v.down = false
	v.lab.log.Info("volume is mended", "volume", v.Name)
	return nil
}

// everywhere has each host that is on mount or unmount the volume.
func (v *Volume) everywhere(ctx context.Context, op string) error {
	for _, h := range v.lab.hosts {
		p, err := h.first()
		if errors.Is(err, ErrOff) {
			continue
		}
		if err == nil {
			_, err = p.ask(ctx, request{Op: op, Mount: v.mount, Device: v.device.Path})
		}
		if err != nil {
			return fmt.Errorf("%s volume %s on %s: %w", op, v.Name, h.name, err)
		}
	}
	return nil
}

// mountVolume mounts a volume's device in the calling process's namespace. Times of
// last access are not kept: a read of a frozen file system must not become a write.
func mountVolume(device, dir string) error {
	return mount(device, dir, "ext4", syscall.MS_NOATIME|syscall.MS_NOSUID|syscall.MS_NODEV)
}

// unmountVolume takes it out of the namespace at once, whoever has it open.
func unmountVolume(dir string) error {
	if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil // EINVAL: it is not mounted
}

// mounts are the volumes that a host mounts when it is switched on.
func (l *Lab) mounts() map[string]string {
	all := map[string]string{}
	for _, v := range l.volumes {
		all[v.mount] = v.device.Path
	}
	return all
}

// SetHang makes all I/O of this host to the volumes hang, reads and writes, or
// lets it go on again; the other hosts do not notice. What hangs is in
// uninterruptible sleep. It stays so over a restart of the agent, but not over a
// power loss.
func (h *Host) SetHang(ctx context.Context, hang bool) error {
	if !h.On() {
		return errOff(h)
	}
	if len(h.lab.volumes) == 0 {
		return errors.New("the lab has no volumes")
	}
	if !canThrottle() {
		return errNoThrottle
	}
	h.mu.Lock()
	h.hanging = hang
	h.mu.Unlock()
	h.lab.log.Info("storage of host", "host", h.name, "hangs", hang)
	devices := make([]loopDevice, 0, len(h.lab.volumes))
	for _, v := range h.lab.volumes {
		if v.down && hang {
			return fmt.Errorf("hang the storage of %s: volume %s has failed", h.name, v.Name)
		}
		devices = append(devices, v.device)
	}
	return h.lab.throttles.of(h.name).set(devices, hang)
}

func (h *Host) hangs() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hanging
}

// UseVolumes makes a heartbeat volume on each of the lab's volumes and names them
// all in the policy, the way a person does: with haadm, on the first host. It
// returns when every host that is on proves by them.
func (l *Lab) UseVolumes(ctx context.Context) error {
	first := l.hosts[0]
	policy, err := first.Adm(ctx, "config", "show", "--secrets")
	if err != nil {
		return err
	}
	for _, v := range l.volumes {
		if _, err := first.Adm(ctx, "storage", "heartbeat", "init", "--create", "--yes", v.Path); err != nil {
			return err
		}
		policy += fmt.Sprintf("\nheartbeat_volume %q {\n  path = %q\n}\n", v.Name, v.Path)
	}
	file := filepath.Join(l.sharedDir(), "cluster.hcl")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		return err
	}
	if _, err := first.Adm(ctx, "config", "apply", file, "--yes"); err != nil {
		return err
	}
	// Volumes may come into use one after the other. Which revision each host proves
	// with stands in its own heartbeats on every volume.
	return poll(ctx, func() error {
		for _, v := range l.volumes {
			proves, err := v.revisions(ctx, first)
			if err != nil {
				return err
			}
			for _, h := range l.hosts {
				if h.On() && proves[h.name] == 0 {
					return fmt.Errorf("%s does not prove by volume %s yet", h.name, v.Name)
				}
			}
		}
		return nil
	})
}

// revisions are the volume sets that hosts prove with, by name, as it stands on the volume.
func (v *Volume) revisions(ctx context.Context, seenBy *Host) (map[string]uint64, error) {
	out, err := seenBy.Adm(ctx, "storage", "heartbeat", "dump", "-o", "json", v.Path)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Slots []struct {
			Host      string `json:"host"`
			Heartbeat *struct {
				SetRevision uint64 `json:"set_revision"`
			} `json:"heartbeat"`
		} `json:"slots"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, permanent{fmt.Errorf("haadm storage heartbeat dump -o json: %w: %s", err, out)}
	}
	found := map[string]uint64{}
	for _, s := range answer.Slots {
		if s.Heartbeat != nil {
			found[s.Host] = s.Heartbeat.SetRevision
		}
	}
	return found, nil
}
