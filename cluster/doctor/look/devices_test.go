package look

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDevice(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"bus/pci/devices/0000:41:00.0/vendor": "0x10de\n", "bus/pci/devices/0000:41:00.0/device": "0x1eb8\n",
		"bus/mdev/devices/c2177883-f1bb-47f0-914d-32a22e3a8804/mdev_type": "",
		"bus/usb/devices/1-2/idVendor":                                    "0529\n", "bus/usb/devices/1-2/idProduct": "0001\n", "bus/usb/devices/1-0:1.0/bInterfaceClass": "",
	} {
		file := filepath.Join(root, "sys", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := &Host{Root: root}
	for _, x := range []struct{ word, id, want string }{
		{"pci:0000:41:00.0", "", ""},
		{"pci:0000:41:00.0", "10de:1eb8", ""},
		{"pci:0000:41:00.0", "10de:2204", "it is a 10de:1eb8, and not a 10de:2204"},
		{"pci:0000:42:00.0", "", "it is not there"},
		{"mdev:c2177883-f1bb-47f0-914d-32a22e3a8804", "", ""},
		{"mdev:c2177883-f1bb-47f0-914d-32a22e3a8805", "", "it is not there"},
		{"usb:0529:0001", "", ""},
		{"usb:0529:0002", "", "it is not there"},
		{"usb::", "", "it is not there"},
		{"pci:../../../etc", "", "it is no device"},
		{"scsi:1", "", "devices of that kind are not known here"},
	} {
		if got := h.Device(x.word, x.id); got != x.want {
			t.Errorf("Device(%q, %q) is %q, want %q", x.word, x.id, got, x.want)
		}
	}
	if got := (&Host{Root: t.TempDir()}).Device("usb:0529:0001", ""); got != "it is not there" {
		t.Errorf("without any USB it is %q", got)
	}
}
