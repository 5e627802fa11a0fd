package look

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Device says why a device of this host cannot be handed to a guest; empty: it can, as far as
// the kernel's list of devices tells. word names it ("pci:0000:41:00.0", "mdev:UUID",
// "usb:VENDOR:PRODUCT"), and id is what a PCI device is to say that it is; empty: anything.
func (h *Host) Device(word, id string) string {
	kind, name, _ := strings.Cut(word, ":")
	if strings.ContainsAny(name, "/") || name == "" {
		return "it is no device"
	}
	switch kind {
	case "pci":
		dir := h.sys("bus/pci/devices", name)
		if _, err := os.Stat(dir); err != nil {
			return absent(err)
		}
		if is := hexOf(dir, "vendor") + ":" + hexOf(dir, "device"); id != "" && is != id {
			return fmt.Sprintf("it is a %s, and not a %s", is, id)
		}
		return ""
	case "mdev":
		if _, err := os.Stat(h.sys("bus/mdev/devices", name)); err != nil {
			return absent(err)
		}
		return ""
	case "usb":
		dirs, err := os.ReadDir(h.sys("bus/usb/devices"))
		if err != nil {
			return absent(err)
		}
		for _, d := range dirs {
			at := h.sys("bus/usb/devices", d.Name())
			if v := hexOf(at, "idVendor"); v != "" && v+":"+hexOf(at, "idProduct") == name {
				return ""
			}
		}
		return "it is not there"
	}
	return "devices of that kind are not known here"
}

func (h *Host) sys(parts ...string) string {
	return filepath.Join(append([]string{"/", h.Root, "sys"}, parts...)...)
}

func absent(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "it is not there"
	}
	return "it cannot be looked for: " + err.Error()
}

// hexOf is a number as the kernel writes it, without 0x; empty where there is none.
func hexOf(dir, file string) string {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(strings.TrimSpace(string(b)), "0x")
}
