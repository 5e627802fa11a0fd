package libvirt

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inside tells the test binary that it runs in the lab's namespaces.
const inside = "HOLDFAST_LAB_INSIDE"

// prepareHost makes the namespaces a host: everything that libvirt writes is on
// file systems of their own, which end with the namespaces. The shell stays as
// the first process, so it takes over QEMU processes and reaps them.
const prepareHost = `set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
for d in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
	mkdir -p $d; mount -t tmpfs tmpfs $d
done
mkdir -p /run/libvirt /etc/libvirt/hooks
cat > /etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
remember_owner = 0
END
echo 'auth_unix_rw = "none"' > /etc/libvirt/libvirtd.conf
cat > /etc/libvirt/hooks/qemu <<END
#!/bin/sh
[ "\$1 \$2" = "slow prepare" ] && sleep 4
exit 0
END
chmod +x /etc/libvirt/hooks/qemu
"$0" "$@"
`

// TestOnLibvirt runs every test of its own kind, Lab..., on a private libvirtd in
// namespaces of its own.
func TestOnLibvirt(t *testing.T) {
	if os.Getenv("HOLDFAST_LAB") != "1" {
		t.Skip("needs root, libvirtd and QEMU; set HOLDFAST_LAB=1 to run it")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	for _, program := range []string{"libvirtd", "virsh", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: %v", program, err)
		}
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that started it
	defer runtime.UnlockOSThread()
	args := []string{"-c", prepareHost, os.Args[0], "-test.v", "-test.run=^TestLab$"}
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-test.timeout") {
			args = append(args, a)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", args...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // the first process takes the whole PID namespace with it
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	t.Log(out.String())
	if err != nil {
		t.Fatalf("tests on libvirt: %v", err)
	}
	if !strings.Contains(out.String(), "--- PASS: TestLab") {
		t.Fatal("no test ran")
	}
}

// host is the private libvirtd.
type host struct {
	t      *testing.T
	daemon *exec.Cmd
	log    *os.File
}

// start starts libvirtd and waits until it answers.
func (h *host) start() {
	h.t.Helper()
	log, err := os.OpenFile("/var/log/libvirt/daemon.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	h.log = log
	h.daemon = exec.Command("libvirtd")
	h.daemon.Stdout, h.daemon.Stderr = log, log
	if err := h.daemon.Start(); err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, "libvirtd answers", func() bool { return exec.Command("virsh", "-q", "list").Run() == nil })
}

// kill ends libvirtd as a crash does; its VMs go on.
func (h *host) kill() {
	_ = h.daemon.Process.Kill()
	_ = h.daemon.Wait()
	_ = h.log.Close()
}

func (h *host) signal(s os.Signal) {
	h.t.Helper()
	if err := h.daemon.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
}

// virsh is what a person does.
func virsh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("virsh", append([]string{"-q"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("virsh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// powerOffDisk makes a disk from which a guest boots that switches itself off, by
// the ACPI register of QEMU's pc machine: mov dx,0x604; mov ax,0x2000; out dx,ax; hlt.
func powerOffDisk(t *testing.T) string {
	t.Helper()
	sector := make([]byte, 512)
	copy(sector, []byte{0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4})
	sector[510], sector[511] = 0x55, 0xaa
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// labXML is a VM that does nothing; devices are added to it.
func labXML(name string, n int, devices string) string {
	return fmt.Sprintf(`<domain type='qemu'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
<devices><graphics type='vnc' autoport='yes' passwd='pass%d'/>%s</devices></domain>`, name, labUUID(n), n, devices)
}

func labUUID(n int) string { return fmt.Sprintf("11111111-0000-4000-8000-%012d", n) }

const callTime = 30 * time.Second
