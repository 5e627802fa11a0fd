// Command guest is the whole operating system of a lab VM: /init of its
// initramfs. It writes the witness heartbeat to its disk ten times a second,
// says so on the serial console once a second, and powers off when its power
// button is pressed. It runs under the kernel of the machine that hosts the lab.
package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/integration/lab/witness"
)

const (
	// Two guests that write in step would hide behind each other, so beats come 80 to 120 ms apart.
	beatEvery  = 80 * time.Millisecond
	beatJitter = 40 * time.Millisecond
	saysEvery  = 10 // beats
	diskWait   = 20 * time.Second
	disk       = "/dev/vda"
	moduleList = "/modules/order" // paths of the modules to load, in order
	keyPower   = 116              // KEY_POWER of linux/input-event-codes.h
	eventKey   = 1                // EV_KEY
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest is the first process of a lab VM and does nothing elsewhere")
		os.Exit(64)
	}
	fmt.Println("witness stopped:", run())
	off()
}

func run() error {
	for _, m := range []struct{ kind, dir string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := syscall.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	go watchPowerButton()

	dev, err := openDisk()
	if err != nil {
		return err
	}
	block, err := unix.Mmap(-1, 0, witness.BlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("aligned buffer: %w", err)
	}
	var life witness.Life
	if _, err := rand.Read(life[:]); err != nil {
		return fmt.Errorf("draw a life: %w", err)
	}
	w, err := witness.NewWriter(dev, block, life)
	if err != nil {
		return err
	}
	fmt.Printf("witness begins: %s life %s\n", hostName(), life)
	for {
		time.Sleep(beatEvery + mrand.N(beatJitter))
		count, conflict, err := w.Beat()
		if err != nil {
			return err
		}
		if conflict && count%saysEvery == 0 {
			fmt.Printf("witness %s life %s beat %d: ANOTHER LIFE WRITES TO MY DISK\n", hostName(), life, count)
		} else if count%saysEvery == 1 {
			fmt.Printf("witness %s life %s beat %d\n", hostName(), life, count)
		}
	}
}

func loadModules() error {
	list, err := os.ReadFile(moduleList)
	if err != nil {
		return fmt.Errorf("list of modules: %w", err)
	}
	for path := range strings.FieldsSeq(string(list)) {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("module: %w", err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		_ = f.Close()
		if err != nil && !errors.Is(err, syscall.EEXIST) {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

func openDisk() (*os.File, error) {
	for deadline := time.Now().Add(diskWait); ; time.Sleep(10 * time.Millisecond) {
		f, err := os.OpenFile(disk, os.O_RDWR|syscall.O_DIRECT|syscall.O_DSYNC, 0)
		if err == nil || time.Now().After(deadline) {
			return f, err
		}
	}
}

func hostName() string {
	line, _ := os.ReadFile("/proc/cmdline")
	for word := range strings.FieldsSeq(string(line)) {
		if name, ok := strings.CutPrefix(word, "holdfast.vm="); ok {
			return name
		}
	}
	return "unnamed"
}

// watchPowerButton powers the VM off when a person asks for it (virsh shutdown).
func watchPowerButton() {
	var inputs []string
	for range 100 {
		if inputs, _ = filepath.Glob("/dev/input/event*"); len(inputs) > 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, path := range inputs {
		go func() {
			f, err := os.Open(path)
			if err != nil {
				return
			}
			const size = int(unsafe.Sizeof(syscall.Timeval{})) + 8 // struct input_event
			buf := make([]byte, size)
			for {
				if n, err := f.Read(buf); err != nil || n < size {
					return
				}
				event := buf[size-8:]
				if binary.LittleEndian.Uint16(event) == eventKey && binary.LittleEndian.Uint16(event[2:]) == keyPower {
					fmt.Printf("witness %s: power button\n", hostName())
					off()
				}
			}
		}()
	}
}

func off() {
	syscall.Sync()
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // the first process must not end
}
