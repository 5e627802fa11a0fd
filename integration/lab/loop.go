package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Requests of linux/fs.h; the first two are made for an int there, whatever they take.
const (
	ioctlFreeze   = 0xc0045877 // FIFREEZE
	ioctlThaw     = 0xc0045878 // FITHAW
	ioctlShutdown = 0x8004587d // FS_IOC_SHUTDOWN
	// shutdownNow leaves the journal as it is, as storage does that is gone.
	shutdownNow = 2
)

// loopDevice is a loop device of this machine.
type loopDevice struct {
	Path   string // /dev/loop7
	Number string // "7:7", as control groups name it
}

// newImage makes the image of a volume, in memory. It is named after the directory
// of the volume, which says whose it is to whoever looks at the loop device.
func newImage(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make the image of %s: %w", name, err)
	}
	image := os.NewFile(uintptr(fd), name)
	if err := image.Truncate(volumeSize); err != nil {
		return nil, errors.Join(err, image.Close())
	}
	return image, nil
}

// attachLoop puts an image on a free loop device. The device lets go of the image
// when the returned file and every mount of it are closed.
func attachLoop(image *os.File) (loopDevice, *os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return loopDevice{}, nil, err
	}
	defer control.Close()
	cfg := unix.LoopConfig{Fd: uint32(image.Fd())}
	cfg.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	for range 10 { // somebody else may take the free one first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return loopDevice{}, nil, fmt.Errorf("find a free loop device: %w", err)
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		dev, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return loopDevice{}, nil, err
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &cfg)
		if err == nil {
			number, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/dev", n))
			if err != nil {
				return loopDevice{}, nil, errors.Join(err, dev.Close())
			}
			return loopDevice{Path: path, Number: strings.TrimSpace(string(number))}, dev, nil
		}
		_ = dev.Close()
		if !errors.Is(err, unix.EBUSY) {
			return loopDevice{}, nil, fmt.Errorf("put %s on %s: %w", image.Name(), path, err)
		}
	}
	return loopDevice{}, nil, errors.New("every loop device that was free was taken by somebody else")
}

// carries reports whether the device has the image of this name.
func (d loopDevice) carries(image string) bool {
	return backing(filepath.Base(d.Path)) == image
}

// backing is the name of the image in memory that a loop device (loop0, ...) has;
// empty when it has none.
func backing(device string) string {
	text, err := os.ReadFile(filepath.Join("/sys/block", device, "loop/backing_file"))
	if err != nil {
		return ""
	}
	name, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimSpace(string(text)), " (deleted)"), "/memfd:")
	if !ok {
		return ""
	}
	return name
}

// loopsBelow lists the loop devices with the image of a volume below a directory.
func loopsBelow(dir string) []string {
	all, _ := filepath.Glob("/sys/block/loop*")
	var found []string
	for _, path := range all {
		if strings.HasPrefix(backing(filepath.Base(path)), dir+"/") {
			found = append(found, "/dev/"+filepath.Base(path))
		}
	}
	return found
}

// fileSystemCall does one ioctl on the file system that is mounted on dir. It does
// nothing unless that is the volume with this image: on any other the same call
// could stop the whole machine.
func fileSystemCall(dir, image string, request uint, value int) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", dir, err)
	}
	device, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil || backing(filepath.Base(device)) != image {
		return fmt.Errorf("%s: %w", dir, errNotMounted)
	}
	if request == ioctlShutdown {
		err = unix.IoctlSetPointerInt(int(d.Fd()), request, value)
	} else {
		err = unix.IoctlSetInt(int(d.Fd()), request, value)
	}
	return err
}

var errNotMounted = errors.New("its volume is not mounted there")

// thaw lets a volume go on; one that is not frozen, or not mounted, is no error.
func thaw(dir, image string) error {
	err := fileSystemCall(dir, image, ioctlThaw, 0)
	if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errNotMounted) {
		return fmt.Errorf("thaw %s: %w", dir, err)
	}
	return nil
}

// thawOrphans thaws what a lab in dir left frozen whose keeper is gone: a frozen
// file system outlives its last mount, with whoever waits for it. Only file
// systems of volumes in dir are touched.
func thawOrphans(dir string) error {
	loops := loopsBelow(dir)
	if len(loops) == 0 {
		return nil
	}
	done := make(chan error)
	go func() {
		// The thread has a mount namespace of its own from here on, and is not given back.
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("a mount namespace to thaw volumes in: %w", err)
			}
			if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE); err != nil {
				return err
			}
			var all []error
			for _, device := range loops {
				err := mountVolume(device, dir)
				if err == nil {
					err = errors.Join(thaw(dir, backing(filepath.Base(device))), unmountVolume(dir))
				}
				all = append(all, err)
			}
			return errors.Join(all...)
		}()
	}()
	return <-done
}
