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

// attachLoop puts an image on a free loop device. The device lets go of the image
// when the returned file and every mount of it are closed.
func attachLoop(image string) (loopDevice, *os.File, error) {
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return loopDevice{}, nil, err
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return loopDevice{}, nil, err
	}
	defer control.Close()
	cfg := unix.LoopConfig{Fd: uint32(file.Fd())}
	cfg.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	copy(cfg.Info.File_name[:len(cfg.Info.File_name)-1], image)
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
			return loopDevice{}, nil, fmt.Errorf("put %s on %s: %w", image, path, err)
		}
	}
	return loopDevice{}, nil, errors.New("every loop device that was free was taken by somebody else")
}

// carries reports whether the device has this image.
func (d loopDevice) carries(image string) bool {
	return backing(filepath.Base(d.Path)) == image
}

// backing is the image that a loop device (loop0, ...) has; empty when it has none.
func backing(device string) string {
	text, err := os.ReadFile(filepath.Join("/sys/block", device, "loop/backing_file"))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSpace(string(text)), " (deleted)")
}

// loopsBelow lists the loop devices whose image lies, or lay, in a directory.
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

// fileSystemCall does one ioctl on the file system that is mounted on dir.
func fileSystemCall(dir string, request uint, value int) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if request == ioctlShutdown {
		err = unix.IoctlSetPointerInt(int(d.Fd()), request, value)
	} else {
		err = unix.IoctlSetInt(int(d.Fd()), request, value)
	}
	return err
}

// thaw lets a file system go on; one that is not frozen is no error.
func thaw(dir string) error {
	if err := fileSystemCall(dir, ioctlThaw, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("thaw %s: %w", dir, err)
	}
	return nil
}

// thawOrphans thaws what a lab in dir left frozen whose keeper is gone: a frozen
// file system outlives its last mount, with whoever waits for it. Only file
// systems on images in dir are touched.
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
					err = errors.Join(thaw(dir), unmountVolume(dir))
				}
				all = append(all, err)
			}
			return errors.Join(all...)
		}()
	}()
	return <-done
}
